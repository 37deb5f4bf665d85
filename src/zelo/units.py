"""The units of a stage, one after the other in this process: what an executor does where nobody asks for more."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from zelo.facts import Facts
from zelo.progress import Advance
from zelo.protocols import Executor, Work
from zelo.store.table import Table


class UnitProgress:
    """How far all units are, for one line: what each counts, however much of it was told while it ran."""

    def __init__(self, sizes: Mapping[int, int], advance: Advance) -> None:
        self.left = dict(sizes)
        self.advance = advance

    def some(self, unit: int, n: int, note: str = "") -> None:
        """A part of a unit is done; one that runs again after a failure counts once."""
        n = min(n, self.left.get(unit, 0))
        if n:
            self.left[unit] -= n
            self.advance(n, note)

    def whole(self, unit: int) -> None:
        """All of it is."""
        self.advance(self.left.pop(unit, 0))


class OneByOne:
    """Runs each unit here, in their order."""

    @property
    def where(self) -> None:
        """In this process."""

    @property
    def workers(self) -> int:
        """One unit at a time."""
        return 1

    def check(self) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing was started."""

    def run(self, work: Work, sizes: Mapping[int, int], advance: Advance, *, model: bool = False) -> dict[int, Facts]:
        """As of an Executor."""
        shown, facts = UnitProgress(sizes, advance), {}
        for unit in sizes:
            facts[unit] = work(unit, lambda n, note="", unit=unit: shown.some(unit, n, note))
            shown.whole(unit)
        return facts


HERE = OneByOne()


def of_shards(tables: Mapping[str, Table], above: Mapping[str, int], role: str, name: str) -> int | None:
    """The units of a stage of which each is a shard of an input, as of a SpreadStage. name: of the table with shards."""
    return len(tables[role].shards(name)) if role in tables else above.get(role)


ACTIVE: list[Executor] = []  # of the stages that this process makes, one inside the other


@contextmanager
def active(executor: Executor) -> Iterator[None]:
    """What has units and is made in this block, such as the vectors of a corpus, is run by this executor."""
    ACTIVE.append(executor)
    try:
        yield
    finally:
        ACTIVE.pop()


def current() -> Executor:
    """The innermost executor that is active; none is in a worker, which runs everything where it is."""
    return ACTIVE[-1] if ACTIVE else HERE
