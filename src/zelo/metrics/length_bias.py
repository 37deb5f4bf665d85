"""Whether the longer document wins: a rank correlation with lengths, also beyond what another opinion explains."""

from dataclasses import dataclass

import numpy as np

from zelo.metrics.measure import Measure, Resampling
from zelo.metrics.significance import CELLS

MIN_PAIRS = 10
"""Pairs below which a correlation is not reported."""
DIGITS = 6
"""Means of float32 answers are no more exact: what is left of a tie has a sign, and ranks would believe it."""
MOST_PAIRS = 10_000
"""Of more pairs every n-th is taken: each resample ranks all of them, and the interval is narrow by then."""


def longer_wins(
    lean: np.ndarray, log_ratio: np.ndarray, query: np.ndarray, interval: Resampling, given: np.ndarray | None = None
) -> Measure:
    """Spearman's correlation of preferences with lengths, in [-1, 1]; with `given`, the partial one (Kendall 1942).

    lean: [E] above 0 where the first document is preferred; log_ratio: [E] log of its length over the other's; given: [E]
    another opinion, above 0 for the first document. Pairs with a nan are left out. Each pair counts both ways round, since
    which document is called first means nothing.
    """
    columns = np.stack([lean, log_ratio] if given is None else [lean, log_ratio, given])
    columns = np.round(columns, DIGITS)
    known = np.flatnonzero(~np.isnan(columns).any(axis=0))
    known = known[:: -(-len(known) // MOST_PAIRS) or 1]
    if len(known) < MIN_PAIRS:
        return Measure.none(f"fewer than {MIN_PAIRS} pairs to correlate")
    distinct, place = np.unique(query[known], return_inverse=True)
    ranks = [_Ranks.of(column[known]) for column in columns]

    def statistic(weights: np.ndarray) -> np.ndarray:
        step = max(1, CELLS // (2 * len(place)))
        parts = range(0, len(weights), step)
        return np.concatenate([_correlation(ranks, weights[start : start + step][:, place]) for start in parts])

    return interval.of_draws(statistic, len(distinct), len(place), "all lengths or all answers are the same")


@dataclass(frozen=True)
class _Ranks:
    """N values and their negatives, sorted: what ranks need under any weights."""

    order: np.ndarray  # [2N] places that sort the values and, after them, their negatives
    first: np.ndarray  # [G] where each group of equal values begins
    group: np.ndarray  # [N] group of each value

    @staticmethod
    def of(values: np.ndarray) -> "_Ranks":
        """values: [N]."""
        both = np.concatenate([values, -values])
        distinct, group = np.unique(both, return_inverse=True)
        sizes = np.bincount(group, minlength=len(distinct))
        return _Ranks(np.argsort(both, kind="stable"), np.cumsum(sizes) - sizes, group[: len(values)])

    def centred(self, weights: np.ndarray) -> np.ndarray:
        """[B, N] weight of what lies below each value less that of what lies above it. weights: [B, N]."""
        equal = np.add.reduceat(np.tile(weights, 2)[:, self.order], self.first, axis=1)
        below = np.cumsum(equal, axis=1) - equal
        return (2 * below + equal - equal.sum(axis=1, keepdims=True))[:, self.group]


def _correlation(ranks: list[_Ranks], weights: np.ndarray) -> np.ndarray:
    """[B] correlation of the first two columns' ranks, given the third if there is one. weights: [B, N]."""
    centred = [one.centred(weights) for one in ranks]

    def product(i: int, j: int) -> np.ndarray:
        return (weights * centred[i] * centred[j]).sum(axis=1)

    def r(i: int, j: int) -> np.ndarray:
        return product(i, j) / np.sqrt(product(i, i) * product(j, j))

    if len(ranks) < 3:
        return r(0, 1)
    rest = (1 - r(0, 2) ** 2) * (1 - r(1, 2) ** 2)
    # Where the other opinion explains a column fully, rounding must not make a correlation of what is left.
    return np.where(rest > 1e-9, (r(0, 1) - r(0, 2) * r(1, 2)) / np.sqrt(np.maximum(rest, 1e-300)), np.nan)
