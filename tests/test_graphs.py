"""Contract of every graph in conf/graph, and what random cycles promise."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zelo.errors import BadInput
from zelo.graphs.random_cycles import RandomCycles, walecki
from zelo.records import Fit

CONF = Path(__file__).parents[1] / "conf" / "graph"


def made(path: Path):
    """The component that a yaml describes, without Hydra."""
    fields = yaml.safe_load(path.read_text())
    module, name = fields.pop("_target_").rsplit(".", 1)
    return getattr(__import__(module, fromlist=[name]), name)(**fields)


def seeds(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def cut(edges: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Each query's edges, in its own document numbers."""
    first = np.concatenate([[0], np.cumsum(sizes)])
    query = np.searchsorted(first, edges, side="right") - 1
    assert (query[:, 0] == query[:, 1]).all(), "an edge joins two queries"
    assert (np.diff(query[:, 0]) >= 0).all(), "edges are not grouped by query"
    return [edges[query[:, 0] == q] - first[q] for q in range(len(sizes))]


def check_simple_and_connected(edges: np.ndarray, n: int) -> None:
    assert (edges[:, 0] != edges[:, 1]).all()
    assert len(np.unique(np.sort(edges, 1), axis=0)) == len(edges)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    assert connected_components(graph, directed=False)[0] == 1


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_contract(path):
    graph = made(path)
    sizes = np.array([100, 1, 2, 3, 37, 100, 9, 10, 11, 0, 60])
    edges = graph.propose(sizes, seeds(len(sizes)), None)
    assert edges.dtype == np.int64
    for n, own in zip(sizes, cut(edges, sizes), strict=True):
        if n > 1:
            check_simple_and_connected(own, n)
        else:
            assert len(own) == 0
    np.testing.assert_array_equal(edges, graph.propose(sizes, seeds(len(sizes)), None))
    assert not np.array_equal(edges, graph.propose(sizes, seeds(len(sizes), 1), None))
    assert graph.propose(sizes, seeds(len(sizes)), Fit(np.zeros(433), np.ones(433), np.tanh)) is None


@settings(deadline=None, max_examples=200)
@given(n=st.integers(1, 40), half=st.integers(1, 6), seed=st.integers(0, 2**64 - 1))
def test_random_cycles_are_regular_or_complete(n, half, seed):
    degree = 2 * half
    edges = RandomCycles(degree=degree).propose(np.array([n]), np.array([seed], np.uint64), None)
    if n > 1:
        check_simple_and_connected(edges, n)
    np.testing.assert_array_equal(np.bincount(edges.ravel(), minlength=n), min(degree, n - 1))


def test_each_cycle_visits_every_document_once_and_closes():
    edges = RandomCycles(degree=6).propose(np.array([23]), seeds(1), None)
    for cycle in edges.reshape(3, 23, 2):
        assert sorted(cycle[:, 0]) == list(range(23))
        np.testing.assert_array_equal(np.roll(cycle[:, 0], -1), cycle[:, 1])


def test_a_query_does_not_feel_its_batch():
    sizes = np.random.default_rng(0).integers(0, 40, 200)
    own_seeds, graph = seeds(200), RandomCycles(degree=8)
    together = cut(graph.propose(sizes, own_seeds, None), sizes)
    for q in range(0, 200, 7):
        alone = graph.propose(sizes[q : q + 1], own_seeds[q : q + 1], None)
        np.testing.assert_array_equal(together[q], alone)


def test_golden():
    """Edges are part of the identity of paid judgements: the same seed must give the same pairs for ever."""
    edges = RandomCycles(degree=4).propose(np.array([7]), np.array([42], np.uint64), None)
    first = [[3, 1], [1, 2], [2, 5], [5, 6], [6, 0], [0, 4], [4, 3]]
    second = [[5, 4], [4, 2], [2, 3], [3, 6], [6, 1], [1, 0], [0, 5]]
    assert edges.tolist() == first + second


def test_pairs_are_spread_evenly():
    """Over many queries each pair is drawn equally often: two cycles on 12 documents hold a pair with probability 4 / 11."""
    sizes = np.full(5000, 12)
    edges = np.sort(RandomCycles(degree=4).propose(sizes, seeds(5000), None) % 12, 1)
    share = np.bincount(edges[:, 0] * 12 + edges[:, 1], minlength=144).reshape(12, 12)[np.triu_indices(12, 1)] / 5000
    np.testing.assert_allclose(share, 4 / 11, atol=5 * np.sqrt(4 / 11 * 7 / 11 / 5000))


def test_walecki_cycles_share_no_pair():
    for n in range(3, 30):
        cycles = walecki(n)
        edges = np.stack([cycles, np.roll(cycles, -1, 1)], 2).reshape(-1, 2)
        assert len(np.unique(np.sort(edges, 1), axis=0)) == n * ((n - 1) // 2)


@pytest.mark.parametrize(("degree", "better"), [(3, 4), (0, 2), (-2, 2), (1, 2)])
def test_bad_degree_is_named(degree, better):
    with pytest.raises(BadInput, match=rf"degree={degree} must be even.*graph\.degree={better}"):
        RandomCycles(degree=degree)
