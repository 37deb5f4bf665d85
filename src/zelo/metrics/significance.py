"""Intervals and paired tests over queries: every row of a table shares one set of resamples, so a table costs one product."""

from collections.abc import Iterator

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


def sign_flip(differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[T] two-sided p-values of the paired permutation test: is the mean difference over queries 0? differences: [T, Q].

    Under the null hypothesis the two systems of a query may be swapped, which flips its sign. p = (b + 1) / (N + 1), b of N
    random flips having a mean at least as far from 0 (Smucker, Allan and Carterette, CIKM 2007; Phipson and Smyth 2010).
    """
    tests, queries = differences.shape
    observed = np.abs(differences.sum(axis=1))
    slack = 1e-9 * np.abs(differences).sum(axis=1)  # sums that are equal but for rounding are equal
    random = np.random.default_rng([seed, 1])
    farther = np.zeros(tests, np.int64)
    for rows in _blocks(resamples, queries):
        signs = random.integers(0, 2, size=(rows, queries), dtype=np.int8) * 2.0 - 1.0
        farther += (np.abs(signs @ differences.T) >= observed - slack).sum(axis=0)
    return (farther + 1) / (resamples + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """[T] p-values corrected for T tests (Holm 1979): the chance of one false claim among all stays below the level."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _blocks(resamples: int, queries: int) -> Iterator[int]:
    size = max(1, CELLS // max(queries, 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
