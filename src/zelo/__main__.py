"""The command `zelo`, also `python -m zelo`: an interruption is told in one line, even while the program is being loaded."""

import os
import signal
import sys
import threading
from types import FrameType

from zelo.streams import escape_unprintable, read_names_as_utf8

STOPS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}
COMPLETES = ("-sc", "--shell-completion")
PATIENCE = 1.5  # seconds that an interrupted run has to end by itself; a kill loses nothing that is finished


class Stop:
    """The signal that ended the run; the exit status and the message follow it, whatever a library raises."""

    number = signal.SIGINT


def main() -> int:
    """Loads the program and runs it; returns the exit status."""
    for number in STOPS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _interrupted)
    sys.unraisablehook = _unraisable
    read_names_as_utf8()
    escape_unprintable()
    try:
        if sys.argv[1:2] and sys.argv[1] in COMPLETES:
            from zelo import completion as program
        else:
            from zelo import main as program  # takes a while: within reach of the except below

        return program.main()
    except KeyboardInterrupt:
        _tell()
        return 128 + Stop.number
    except SystemExit as error:
        if error.code is not None:
            raise
        print("zelo: a library ended the process and did not say why. Run again with debug=true.", file=sys.stderr)
        return 1


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt; if some library swallows that or takes its time, the process ends all the same."""
    Stop.number = signal.Signals(number)
    timer = threading.Timer(PATIENCE, _end)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Says nothing of an interruption that came while an object was deleted: it is lost there, and the timer ends the process."""
    if what.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(what)


def _end() -> None:
    _tell()
    os._exit(128 + Stop.number)


def _tell() -> None:
    what = STOPS[Stop.number]
    print(f"\n{what}. Finished stages are cached: the same command resumes.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
