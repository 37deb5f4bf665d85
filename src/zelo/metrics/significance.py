"""Intervals and paired tests over queries: every row of a table shares one set of resamples, so a table costs one product."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CELLS = 4_000_000
"""Largest block of resamples x queries held at once: 32 MB."""


def bootstrap(values: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """([T] low, [T] high) of the 95 % percentile interval of the mean over queries (Efron 1979). values: [T, Q]."""
    queries = values.shape[1]
    means = [counts @ values.T / queries for counts in drawn(queries, resamples, seed)]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def drawn(queries: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """[B, Q] float64, how often each of Q queries is in each resample, block by block; equal arguments give equal draws."""
    random = np.random.default_rng([seed, 0])
    for rows in _blocks(resamples, queries):
        places = random.integers(0, queries, size=(rows, queries)) + np.arange(rows)[:, None] * queries
        yield np.bincount(places.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float64)


@dataclass(frozen=True)
class FlipTest:
    """The paired permutation test of T mean differences over queries, at every hypothesis at once: p-values and intervals agree.

    Under the hypothesis that a mean difference is c, a query's difference less c may have either sign. The two-sided p-value is
    (b + 1) / (N + 1), b of N random flips giving a mean at least as far from 0 as the one found (Smucker, Allan and
    Carterette, CIKM 2007; Phipson and Smyth 2010). For c below the mean that is so where the smaller mean of the flipped and of
    the other queries is at most c, for c above it where the larger one is at least c (Hartigan, JASA 1969).
    """

    low: np.ndarray  # [T, N] the smaller mean of the two parts, ascending; -inf where one part is empty
    high: np.ndarray  # [T, N] the larger one, ascending; inf where one part is empty
    mean: np.ndarray  # [T]; 0 where it is so but for rounding

    @staticmethod
    def of(differences: np.ndarray, resamples: int, seed: int) -> "FlipTest":
        """differences: [T, Q]; all tests share the flips."""
        tests, queries = differences.shape
        total = differences.sum(axis=1)
        slack = 1e-9 * np.abs(differences).sum(axis=1)  # sums that are equal but for rounding are equal
        random = np.random.default_rng([seed, 1])
        low, high = np.empty((tests, resamples)), np.empty((tests, resamples))
        done = 0
        for rows in _blocks(resamples, queries):
            signs = random.integers(0, 2, size=(rows, queries), dtype=np.int8) * 2.0 - 1.0
            flipped = (queries - signs.sum(axis=1)) / 2
            mean = np.full((2, tests, rows), np.nan)
            product = differences @ signs.T
            for part, (sign, size) in enumerate(((-1, flipped), (1, queries - flipped))):
                sums = (total[:, None] + sign * product) / 2
                sums[np.abs(sums) <= slack[:, None]] = 0.0
                np.divide(sums, size, out=mean[part], where=size > 0)
            there = slice(done, done + rows)
            low[:, there] = np.where(np.isnan(mean).any(axis=0), -np.inf, mean.min(axis=0))
            high[:, there] = np.where(np.isnan(mean).any(axis=0), np.inf, mean.max(axis=0))
            done += rows
        low.sort(axis=1)
        high.sort(axis=1)
        return FlipTest(low, high, np.where(np.abs(total) <= slack, 0.0, total / queries))

    def p(self) -> np.ndarray:
        """[T] two-sided p-values of the hypothesis that the mean difference is 0."""
        below, above = (self.low <= 0).sum(axis=1), (self.high >= 0).sum(axis=1)
        farther = np.where(self.mean > 0, below, np.where(self.mean < 0, above, self.low.shape[1]))
        return (farther + 1) / (self.low.shape[1] + 1)

    def interval(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([T] low, [T] high): the mean differences whose p-value is at least the level; 0 is inside exactly where `p` is.

        level: [T], such as 0.05 for a 95 % interval. An end that so few queries do not bound is infinite.
        """
        resamples = self.low.shape[1]
        least = np.ceil(level * (resamples + 1) - 1 - 1e-9).astype(np.int64)  # flips that a hypothesis needs to be kept
        row, bound = np.arange(len(level)), least > 0
        place = np.clip(least, 1, resamples)
        low = np.where(bound, self.low[row, place - 1], -np.inf)
        high = np.where(bound, self.high[row, resamples - place], np.inf)
        return np.minimum(low, self.mean), np.maximum(high, self.mean)


def sign_flip(differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[T] two-sided p-values of the paired permutation test: is the mean difference over queries 0? differences: [T, Q]."""
    return FlipTest.of(differences, resamples, seed).p()


def holm(p: np.ndarray) -> np.ndarray:
    """[T] p-values corrected for T tests (Holm 1979): the chance of one false claim among all stays below the level."""
    return np.minimum(holm_factor(p) * p, 1.0)


def holm_factor(p: np.ndarray) -> np.ndarray:
    """[T] what Holm's correction multiplies each p-value by, from 1 to T; an interval at level / factor fits the corrected p."""
    order = np.argsort(p, kind="stable")
    factor = np.empty(len(p))
    factor[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) / p[order]
    return factor


def _blocks(resamples: int, queries: int) -> Iterator[int]:
    size = max(1, CELLS // max(queries, 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
