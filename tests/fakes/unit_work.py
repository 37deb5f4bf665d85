"""Work of which each unit writes down where it ran, and that fails on some numbers."""

import os
import time
from pathlib import Path

from zelo.errors import ModelNotFound
from zelo.facts import Facts
from zelo.progress import Advance


def unit(folder: Path, seconds: float, number: int, advance: Advance) -> Facts:
    """Takes so long, unless it is done already; the line that it leaves names the process."""
    done = folder / f"{number}.txt"
    if not done.exists():
        time.sleep(seconds)
        with done.open("a") as file:
            file.write(f"{os.getpid()}\n")
    if number == 92:
        os._exit(1)
    if number == 90:
        raise ModelNotFound("m", "there is none")
    if number == 91:
        raise KeyError("broken")
    return {"square": number**2}
