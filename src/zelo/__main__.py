"""The command `zelo`, also `python -m zelo`: an interruption is told in one line, even while the program is being loaded."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Loads the program and runs it; returns the exit status."""
    try:
        from zelo import main as program  # takes a while: within reach of the except below

        return program.main()
    except KeyboardInterrupt:
        print("\nInterrupted. Finished stages are kept: the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
