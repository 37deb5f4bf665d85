"""One process of a training that has several: `python -m zelo.rank FOLDER`, started by torchrun's agent, never by hand."""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from zelo.errors import BadInput, LimitReached, ZeloError
from zelo.training.launch import end_with_command


def main(folder: Path) -> None:
    """Does the job, and ends the process; an error is left in the folder for the one who started it."""
    rank = int(os.environ["RANK"])
    end_with_command()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from zelo.pipeline.process import work

        work(folder)
    except BaseException as error:
        kind = next((kind for kind in (LimitReached, BadInput, ZeloError) if isinstance(error, kind)), type(error))
        message = str(error) if isinstance(error, ZeloError) else f"{type(error).__name__}: {error}"
        facts = {"rank": rank, "kind": kind.__name__, "message": message, "time": time.time()}
        half = folder / f"half-{rank}"
        half.write_text(json.dumps(facts | {"traceback": traceback.format_exc()}), encoding="utf-8")
        half.rename(folder / f"error-{rank}.json")
        os._exit(1)  # a process group cannot be left in order when another process has gone
    os._exit(0)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Ends the process by that signal, at once: Lightning would leave it with no status after the batch."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
