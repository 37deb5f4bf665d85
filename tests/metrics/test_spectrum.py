"""The spectrum of a graph against graphs whose spectrum is known (Brouwer and Haemers, Spectra of Graphs, 2012, section 1.4)."""

import math
from typing import Any

import numpy as np
import pytest

from zelo.metrics.spectrum import Spectrum, random_regular_diameter, random_regular_lambda_2, spectrum


def near(value: float) -> Any:
    """pytest.approx, where a float is asked for."""
    return pytest.approx(value)


def cycle(n: int) -> np.ndarray:
    """0 - 1 - ... - n - 1 - 0."""
    return np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)


def test_cycles() -> None:
    for n in (3, 4, 9, 100):
        found = spectrum(n, cycle(n))
        assert found == Spectrum(n, n, 2, 2.0, 2, 1, n // 2, near(2 - 2 * math.cos(2 * math.pi / n)))


def test_complete_bipartite_star_and_path() -> None:
    i, j = np.triu_indices(12, 1)
    assert spectrum(12, np.stack([j, i], 1)) == Spectrum(12, 66, 11, 11.0, 11, 1, 1, near(12))
    left, right = (part.ravel() for part in np.meshgrid(np.arange(4), 4 + np.arange(7)))
    found = spectrum(11, np.stack([left, right], 1))
    assert found == Spectrum(11, 28, 4, 56 / 11, 7, 1, 2, near(4))
    star = np.stack([np.zeros(8, int), 1 + np.arange(8)], 1)
    assert spectrum(9, star) == Spectrum(9, 8, 1, 16 / 9, 8, 1, 2, near(1))
    path = cycle(10)[:-1]
    assert spectrum(10, path).lambda_2 == pytest.approx(2 - 2 * math.cos(math.pi / 10))
    assert spectrum(10, path).diameter == 9


def test_a_pair_counts_once_and_itself_never() -> None:
    edges = np.concatenate([cycle(6), cycle(6)[:, ::-1], [[2, 2]]])
    assert spectrum(6, edges) == spectrum(6, cycle(6))


def test_parts_and_few_documents() -> None:
    two = spectrum(6, np.array([[0, 1], [1, 2], [3, 4]]))
    assert two == Spectrum(6, 3, 0, 1.0, 2, 3, math.inf, 0.0)
    assert spectrum(1, np.empty((0, 2))) == Spectrum(1, 0, 0, 0.0, 0, 1, 0.0, math.inf)
    assert spectrum(2, np.array([[1, 0]])) == Spectrum(2, 1, 1, 1.0, 1, 1, 1.0, near(2))


def test_random_regular_graphs_keep_the_bounds() -> None:
    random = np.random.default_rng(0)
    bound, best = random_regular_diameter(100, 8), random_regular_lambda_2(8)
    assert bound is not None
    assert best is not None
    assert bound == pytest.approx(math.log(100, 7) + math.log(math.log(100), 7) + math.log(140, 7))
    assert best == pytest.approx(8 - 2 * math.sqrt(7))
    for _ in range(10):
        found = spectrum(100, np.concatenate([random.permutation(100)[cycle(100)] for _ in range(4)]))
        assert found.diameter <= bound
        assert 0.6 * best < found.lambda_2 < 1.3 * best
    assert random_regular_diameter(100, 2) is None
    assert random_regular_diameter(2, 8) is None
    assert random_regular_lambda_2(2) is None
