"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere. All of it goes to stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

AFFECTS_RESULTS = False  # What is shown goes to the terminal only.

SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """To be called after each `n` finished units; the note stands at the end of the line."""

    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """Yields what is to be called as work is done. Work under ten seconds shows nothing off a terminal."""
    if sys.stderr.isatty():
        with _bar(label, total, unit) as advance_bar:
            yield advance_bar
        return
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
