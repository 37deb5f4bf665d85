"""One figure of an audit with its interval, or, where there is nothing to measure, the reason."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zelo.facts import Facts
from zelo.metrics.significance import drawn

MIN_QUERIES = 5
"""Queries below which no interval is given: resamples of fewer repeat each other."""
LEVEL = 0.95

Statistic = Callable[[np.ndarray], np.ndarray]
"""[..., K] totals over queries -> [...] figures."""


@dataclass(frozen=True)
class Measure:
    """A figure of `count` pairs (or whatever it is made of), or None and `missing`, the reason why there is none."""

    value: float | None
    low: float | None = None  # 95 % interval; None where there are too few queries
    high: float | None = None
    count: int = 0
    missing: str = ""

    @staticmethod
    def none(missing: str) -> "Measure":
        """Nothing to measure, because of `missing`."""
        return Measure(None, missing=missing)

    def facts(self) -> Facts:
        """For a JSON file."""
        if self.value is None:
            return {"not_measured": self.missing}
        return {"value": self.value, "ci_low": self.low, "ci_high": self.high, "count": self.count}


@dataclass(frozen=True)
class Resampling:
    """Percentile intervals over whole queries, whose pairs are not independent (Davison and Hinkley 1997, 3.8)."""

    resamples: int
    seed: int

    def measure(self, rows: np.ndarray, query: np.ndarray, statistic: Statistic, missing: str) -> Measure:
        """The statistic of the rows' totals. rows: [N, K]; query: [N] int, which query each belongs to."""
        distinct, place = np.unique(query, return_inverse=True)
        sums = np.stack([np.bincount(place, column, len(distinct)) for column in rows.T], axis=1)
        return self.of_draws(lambda weights: statistic(weights @ sums), len(distinct), len(rows), missing)

    def mean(self, values: np.ndarray, query: np.ndarray, missing: str) -> Measure:
        """Of N values; each counts alike, whatever query it belongs to. values, query: [N]."""
        rows = np.stack([values, np.ones(len(values))], axis=1)
        return self.measure(rows, query, lambda totals: totals[..., 0] / totals[..., 1], missing)

    def share(self, values: np.ndarray, query: np.ndarray, missing: str) -> Measure:
        """As `mean`, of values in [0, 1]. All or nothing has no spread to resample: the interval is then the exact one.

        (Clopper and Pearson 1934, each query counted once.)
        """
        found = self.mean(values, query, missing)
        if found.low is None or found.low != found.high or found.value not in (0.0, 1.0):
            return found
        reach = ((1 - LEVEL) / 2) ** (1 / len(np.unique(query)))
        low, high = (reach, 1.0) if found.value else (0.0, 1 - reach)
        return Measure(found.value, low, high, found.count)

    def of_draws(
        self, statistic: Callable[[np.ndarray], np.ndarray], queries: int, count: int, missing: str
    ) -> Measure:
        """statistic: [B, Q] times that each query counts -> [B] figures, nan where there is none."""
        if not count:
            return Measure.none(missing)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(np.ones((1, queries)))[0])
            if not math.isfinite(value):
                return Measure.none(missing)
            if queries < MIN_QUERIES:
                return Measure(value, count=count)
            found = np.concatenate([statistic(weights) for weights in drawn(queries, self.resamples, self.seed)])
        found = found[np.isfinite(found)]
        low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(found) else (None, None)
        return Measure(value, low, high, count)
