"""The settings that a sweep compares, from the files that its jobs have left: dev selects the best, and says what is as good.

Jobs that differ in the seed only are repeats of one setting.
"""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from zelo.evaluation.paired import ALPHA
from zelo.evaluation.verdict import FEWEST
from zelo.facts import Facts
from zelo.metrics.significance import bootstrap, holm, sign_flip
from zelo.records import DEV, TEST
from zelo.reporting import compared

SEED = "seed"  # the option whose values are repeats
RESAMPLES = 10_000
VALUES = {DEV: ("selected_by", "value"), TEST: ("test", "test_value")}  # split -> columns: name of the figure, value


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats with its 95 % interval: over seeds by Student's t, of one seed over queries by the bootstrap."""

    value: float
    low: float | None
    high: float | None


@dataclass
class Setting:
    """Jobs that differ in their seed only. p: of the difference to the best on dev, corrected by Holm over the grid."""

    options: dict[str, str]
    rows: list[dict[str, str]]
    estimates: dict[str, Estimate] = field(default_factory=dict)  # by split
    per_query: dict[str, float] = field(default_factory=dict)  # of dev, the mean over seeds
    against: str | None = None  # the labels or ratings that measured dev, where they are the same for all seeds
    p: float | None = None

    @property
    def jobs(self) -> str:
        """The numbers of its jobs."""
        return ", ".join(row["job"] for row in self.rows)

    @property
    def name(self) -> str:
        """What was chosen, in words."""
        return " ".join(f"{key}={value}" for key, value in self.options.items()) or f"job {self.jobs}"

    @property
    def measured(self) -> int:
        """Repeats that have a dev figure."""
        return sum(bool(row.get("value")) for row in self.rows)

    def mean(self, column: str) -> float | None:
        """Of a column of numbers over the repeats that have one."""
        known = [float(row[column]) for row in self.rows if row.get(column)]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Comparison:
    """All settings in the order of their first jobs; the best on dev, if there is one; why nothing was tested, if so."""

    settings: list[Setting]
    best: Setting | None
    untested: str
    queries: int = 0  # of dev, that the tests are over

    @property
    def alike(self) -> list[Setting]:
        """The settings from which no difference to the best is shown, the nearest first."""
        few = self.queries < FEWEST
        found = [one for one in self.settings if one.p is not None and (few or one.p >= ALPHA)]
        return sorted(found, key=lambda one: -one.estimates[DEV].value)


def compare(folder: Path, rows: list[dict[str, str]]) -> Comparison:
    """Of a sweep's folder. rows: of sweep.csv."""
    names = option_names(rows)
    found: dict[tuple[str, ...], Setting] = {}
    for row in rows:
        options = {name: row[name] for name in names if name != SEED}
        same = tuple(options.values()) if SEED in names else (row["job"],)
        found.setdefault(same, Setting(options, [])).rows.append(row)
    settings = list(found.values())
    for one in settings:
        _measure(one, [_left(folder, row) for row in one.rows if row.get("value")])
    measured = [one for one in settings if DEV in one.estimates]
    if len({row["selected_by"] for one in measured for row in one.rows if row.get("value")}) != 1:
        return Comparison(settings, None, "")
    best = max(measured, key=lambda one: one.estimates[DEV].value)
    untested = _untested(measured)
    if not untested:
        _test(best, [one for one in measured if one is not best])
    return Comparison(settings, best, untested, len(best.per_query))


def option_names(rows: list[dict[str, str]]) -> list[str]:
    """The columns of what was varied; all that was named where nothing differs."""
    names = list(rows[0])[1 : list(rows[0]).index("status")] if rows else []
    return [name for name in names if len({row[name] for row in rows}) > 1] or names


def _left(folder: Path, row: dict[str, str]) -> Facts:
    """What a job has left for this comparison; empty where it has left nothing that can be read."""
    try:
        return json.loads((folder / row["folder"] / compared.FILE).read_text(encoding="utf-8")) if row["folder"] else {}
    except (OSError, ValueError):
        return {}


def _measure(one: Setting, left: list[Facts]) -> None:
    for split, (_, column) in VALUES.items():
        values = [float(row[column]) for row in one.rows if row.get(column)]
        if not values:
            continue
        queries = [facts.get("per_query", {}).get(split, {}) for facts in left]
        low = high = None
        if len(values) > 1:
            reach = float(stdtrit(len(values) - 1, 1 - ALPHA / 2)) * np.std(values, ddof=1) / len(values) ** 0.5
            low, high = np.mean(values) - reach, np.mean(values) + reach
        elif queries and len(queries[0]) > 1:
            low, high = _interval(tuple(queries[0].values()))
        one.estimates[split] = Estimate(
            float(np.mean(values)), *(None if end is None else float(end) for end in (low, high))
        )
        if split == DEV and len({frozenset(part) for part in queries}) == 1 and queries[0]:
            one.per_query = {name: float(np.mean([part[name] for part in queries])) for name in sorted(queries[0])}
            against = {facts["against"][DEV] for facts in left}
            one.against = against.pop() if len(against) == 1 else None


@functools.lru_cache(maxsize=10_000)  # a page is written again as jobs end
def _interval(values: tuple[float, ...]) -> tuple[float, float]:
    """The 95 % interval of their mean. values: of a setting's queries."""
    low, high = bootstrap(np.array([values]), RESAMPLES, 0)
    return float(low[0]), float(high[0])


def _untested(measured: list[Setting]) -> str:
    """Why these settings cannot be tested against each other query by query; empty where they can be."""
    if len(measured) < 2:
        return "there is nothing to test it against"
    if not all(one.per_query for one in measured):
        return "the jobs left no values of single queries"
    if len({one.against for one in measured}) > 1 or measured[0].against is None:
        return "each job is measured by ratings of its own"
    if len({frozenset(one.per_query) for one in measured}) > 1:
        return "the jobs are measured on different queries"
    return ""


def _test(best: Setting, others: list[Setting]) -> None:
    values = np.array([list(one.per_query.values()) for one in (best, *others)])
    for one, p in zip(others, holm(sign_flip(values[1:] - values[0], RESAMPLES, 0)), strict=True):
        one.p = float(p)
