"""The command `zelo`, also `python -m zelo`: an interruption is told in one line, even while the program is being loaded."""

import os
import signal
import sys
import threading
from types import FrameType

from zelo.streams import escape_unprintable, read_names_as_utf8

INTERRUPTED = 130
PATIENCE = 1.5  # seconds that an interrupted run has to end by itself; a kill loses nothing that is finished


def main() -> int:
    """Loads the program and runs it; returns the exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    read_names_as_utf8()
    escape_unprintable()
    try:
        from zelo import main as program  # takes a while: within reach of the except below

        return program.main()
    except KeyboardInterrupt:
        _tell()
        return INTERRUPTED


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt; if some library swallows that or takes its time, the process ends all the same."""
    timer = threading.Timer(PATIENCE, _end)
    timer.daemon = True
    timer.start()
    signal.default_int_handler(number, frame)


def _end() -> None:
    _tell()
    os._exit(INTERRUPTED)


def _tell() -> None:
    print("\nInterrupted. Finished stages are kept: the same command goes on from there.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
