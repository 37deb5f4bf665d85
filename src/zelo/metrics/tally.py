"""What the calls of each judge came to: how many ended how, and what the usable ones cost."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.facts import Facts
from zelo.metrics.judging import TIE
from zelo.records import ANSWERED, FAILED, STATUSES, UNSENT

COLUMNS = ["judge", "weight", "status", "tokens", "cost", "p", "swapped", "criterion"]
"""What is read of OUTCOME."""
ROWS = 1 << 20
"""Rows of a file counted at a time."""
FREE = "free"
"""What the judge stage notes as the price of an endpoint that takes no money."""


@dataclass
class Tally:
    """One judge's outcomes, added up."""

    status: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    usable: float = 0.0  # comparisons that its answers count as
    tokens: int = 0
    usd: float = 0.0  # what all its outcomes cost, in whichever run they were paid for
    decided: int = 0  # pairs, as they were presented, in which it prefers one document
    first: int = 0  # of these, in which it prefers the one shown first

    def add(self, more: "Tally") -> None:
        """Outcomes of the same judge."""
        for status, count in more.status.items():
            self.status[status] += count
        self.usable, self.tokens, self.usd = self.usable + more.usable, self.tokens + more.tokens, self.usd + more.usd
        self.decided, self.first = self.decided + more.decided, self.first + more.first

    @property
    def asked(self) -> int:
        """Questions that were put to it."""
        return sum(self.status.values()) - self.status[UNSENT]

    @property
    def answered(self) -> float | None:
        """Share of the questions put to it that it answered; None where there were none."""
        return self.status[ANSWERED] / self.asked if self.asked else None

    @property
    def shown_first(self) -> float | None:
        """Share of its preferences that go to the document shown first, about 1/2 by itself: the order is drawn."""
        return self.first / self.decided if self.decided else None

    def usd_per_question(self, free: bool) -> float | None:
        """What a question put to it cost; None where that is not known: tokens that cost nothing had no price.

        free: its endpoint is known to take no money.
        """
        priced = self.usd > 0 or self.tokens == 0 or free
        return self.usd / self.asked if self.asked and priced else None

    def usd_per_preference(self, free: bool) -> float | None:
        """What a usable preference cost, failures that were paid for included; None where that is not known."""
        return None if self.usd_per_question(free) is None or not self.usable else self.usd / self.usable

    def facts(self) -> Facts:
        """For a JSON file."""
        return {
            "status": {status: count for status, count in self.status.items() if count},
            "asked": self.asked,
            "answered": self.answered,
            "usable": self.usable,
            "tokens": self.tokens,
            "usd": self.usd,
            "decided": self.decided,
            "shown_first": self.shown_first,
        }


def of_files(paths: Iterable[Path]) -> dict[str, Tally]:
    """As `tally`, of the shards of an OUTCOME table."""

    def parts() -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(ROWS, columns=COLUMNS)

    return tally(parts())


def tally(outcomes: Iterable[pa.RecordBatch | pa.Table]) -> dict[str, Tally]:
    """Judge -> its tally, sorted by name. outcomes: parts of an OUTCOME table, at least the COLUMNS; read one by one."""
    return added(_of_part(part) for part in outcomes)


def added(parts: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """Judge -> its tallies of all parts together, sorted by name."""
    found: dict[str, Tally] = {}
    for part in parts:
        for name, tally in part.items():
            found.setdefault(name, Tally()).add(tally)
    return dict(sorted(found.items()))


def _of_part(part: pa.RecordBatch | pa.Table) -> dict[str, Tally]:
    judge, status = part["judge"].cast(pa.string()), part["status"].cast(pa.string())
    names = pc.unique(judge).to_pylist()
    who = pc.index_in(judge, pa.array(names, pa.string())).to_numpy(zero_copy_only=False)
    how = pc.index_in(status, pa.array(STATUSES)).to_numpy(zero_copy_only=False)
    counts = np.bincount(who * len(STATUSES) + how, minlength=len(names) * len(STATUSES))
    weight, tokens, usd = (part[name].to_numpy(zero_copy_only=False) for name in ("weight", "tokens", "cost"))
    usable = np.where(how == STATUSES.index(ANSWERED), weight, 0.0)
    p, swapped = (part[name].to_numpy(zero_copy_only=False) for name in ("p", "swapped"))
    lean = np.where(swapped, -1.0, 1.0) * (p.astype(np.float64) - 0.5)  # nan where there is no answer
    pairs = part["criterion"].is_null().to_numpy(zero_copy_only=False)
    decided = pairs & (np.abs(lean) > TIE)
    sums = [np.bincount(who, column, len(names)) for column in (usable, tokens, usd, decided, decided & (lean > 0))]
    return {
        name: Tally(
            status=dict(zip(STATUSES, counts.reshape(len(names), -1)[place].tolist(), strict=True)),
            usable=float(sums[0][place]),
            tokens=int(sums[1][place]),
            usd=float(sums[2][place]),
            decided=int(sums[3][place]),
            first=int(sums[4][place]),
        )
        for place, name in enumerate(names)
    }


def why_nothing(tallies: Mapping[str, Tally], quorum: int) -> str:
    """Why no pair has a preference, and what to do."""
    ended = {status: sum(one.status[status] for one in tallies.values()) for status in STATUSES}
    if ended[ANSWERED]:
        return f"no pair has the quorum of {quorum} judges; lower quorum or add judges."
    counts = ", ".join(f"{count:,} {status}" for status, count in ended.items() if count) or "nothing was asked"
    if not ended[UNSENT] + ended[FAILED]:
        return f"no judge answered ({counts}); pipeline=audit shows what they say. Fix them or choose others."
    fix = "see above what went wrong, fix it and run again: only what failed or was not sent is asked then"
    if ended[UNSENT] > ended[FAILED]:
        fix = "raise the budget that stopped them, or, where answers are replayed, name the judge and the file that they are of"
    return f"no judge answered ({counts}), so there is no preference; {fix}."
