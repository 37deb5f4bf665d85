"""How a node sees that node 0 still works: a file in the store that they share changes as long as it does.

Clocks of machines differ, and so do the times that a network file system shows: what counts is that the content changes, by the
clock of the one who looks.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zelo.errors import ZeloError

FOLDER = "nodes"  # of the store
BEAT = 5.0  # seconds between two changes
SILENCE = (
    300.0  # seconds without one: a network file system shows a change after a minute at the latest, by its defaults
)
FINISHED, FAILED = "finished", "failed"


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """What node 0 works under; at its end the file says how it went."""
    run, ended = uuid.uuid4().hex, threading.Event()
    path.parent.mkdir(exist_ok=True)
    _write(path, f"{run} 0")

    def beat() -> None:
        number = 0
        while not ended.wait(BEAT):
            number += 1
            with suppress(OSError):  # a beat is missed
                _write(path, f"{run} {number}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    state = FAILED
    try:
        yield
        state = FINISHED
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            _write(path, f"{run} {state}")


class Watch:
    """What another node sees of node 0 from now on; what an earlier run has left there is no sign of it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.clock = path, clock
        self.seen, self.since, self.begun = _read(path), clock(), False

    def ended(self) -> str | None:
        """FINISHED or FAILED when node 0 has ended, None while it works. Raises ZeloError when it gives no sign of life."""
        now = _read(self.path)
        if now != self.seen:
            self.seen, self.since, self.begun = now, self.clock(), True
        state = self.seen.rpartition(" ")[2]
        if self.begun and state in (FINISHED, FAILED):
            return state
        if self.clock() - self.since > SILENCE:
            what = "given no sign of life" if self.begun else "not begun"
            raise ZeloError(
                f"Node 0 has {what} for {SILENCE:.0f} s ({self.path} does not change), so this node ends. Start the same command"
                " on all nodes, with one ZELO_HOME that they share: it goes on from the last checkpoint."
            )
        return None


def _write(path: Path, text: str) -> None:
    half = path.with_suffix(".half")
    half.write_text(text, encoding="utf-8")
    half.rename(path)


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""
