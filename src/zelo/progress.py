"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere. All of it goes to stderr.

A logger may watch: work that says so is reported to it at the same pace.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

AFFECTS_RESULTS = False  # What is shown goes to the terminal and to loggers only.

SECONDS_BETWEEN_LINES = 10.0
SILENT: list[bool] = [False]  # whether this process shows nothing: somebody else shows what it does
WATCHERS: "list[Watcher]" = []  # of this process, one inside the other: the innermost is told

Figures = Callable[[], Mapping[str, float]]  # what the work came to so far, beside how far it is
Watcher = Callable[[int, Mapping[str, float]], None]  # gets what is done, and figures of it


class Advance(Protocol):
    """To be called after each `n` finished units; the note stands at the end of the line."""

    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Reports the work of this block that has figures to the watcher: every ten seconds, and when it ends."""
    WATCHERS.append(watcher)
    try:
        yield
    finally:
        WATCHERS.pop()


@contextmanager
def progress(label: str, total: int, unit: str, figures: Figures | None = None) -> Iterator[Advance]:
    """Yields what is to be called as work is done. Work under ten seconds shows nothing off a terminal.

    figures: says that loggers may be told of this work, and what beside its rate.
    """
    if SILENT[0]:
        yield silent
        return
    with _bar(label, total, unit) if sys.stderr.isatty() else _plain_lines(label, total, unit) as shown:
        if figures is None or not WATCHERS:
            yield shown
            return
        now = time.monotonic()
        watched = _Watched(unit, figures, shown, now, now)
        yield watched.advance
        watched.tell()


@dataclass
class _Watched:
    """Tells the innermost watcher."""

    unit: str
    figures: Figures
    shown: Advance
    start: float
    last: float
    done: int = 0

    def advance(self, n: int, note: str = "") -> None:
        self.shown(n, note)
        self.done += n
        if time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.tell()

    def tell(self) -> None:
        self.last = time.monotonic()
        rate = self.done / max(self.last - self.start, 1e-9)
        WATCHERS[-1](self.done, {f"{self.unit}_per_second": rate, **self.figures()})


@contextmanager
def _plain_lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(n: int, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate if rate else float("inf")
            line = f"{label}: {done:,} of {total:,} {unit}, {_rate(rate)} {unit}/s, {left:.0f} s left"
            print(f"{line}, {note}" if note else line, file=sys.stderr, flush=True)

    yield advance


def _rate(rate: float) -> str:
    """Whole numbers from ten on, two digits below."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def hush() -> None:
    """From now on work in this process shows nothing."""
    SILENT[0] = True


def silent(n: int, note: str = "") -> None:
    """An Advance that shows nothing, for work whose progress somebody else shows."""


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=total, rate="", note="")
        start = time.monotonic()

        def advance(n: int, note: str = "") -> None:
            finished = bars.tasks[task].completed + n
            rate = finished / max(time.monotonic() - start, 1e-9)
            bars.update(task, advance=n, rate=f"{_rate(rate)} {unit}/s", note=note)

        yield advance
