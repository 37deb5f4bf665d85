"""Contract of every graph in conf/graph, and what each promises beyond it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from certain import certain
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr

from zelo.errors import BadInput
from zelo.graphs.bipartite import Bipartite
from zelo.graphs.complete import Complete
from zelo.graphs.cross_query import CrossQuery
from zelo.graphs.cycles import Cycles
from zelo.graphs.expected_loss import expected_loss
from zelo.graphs.gold import Gold
from zelo.graphs.groups import all_pairs
from zelo.graphs.information import Information
from zelo.graphs.matching import best
from zelo.graphs.random_cycles import RandomCycles
from zelo.graphs.random_pairs import RandomPairs
from zelo.graphs.round_trips import walecki
from zelo.graphs.smallest_gap import SmallestGap
from zelo.graphs.staged import Staged
from zelo.records import Comparisons, Fit, starts
from zelo.solvers.thurstone import Thurstone

CONF = Path(__file__).parents[2] / "conf" / "graph"
ADAPTIVE = {"information", "smallest_gap", "staged"}
UNCONNECTED = {"gold"}
OVER_QUERIES = {"cross_query"}
SOLVER = Thurstone(ridge=1.0, tolerance=1e-8, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0)
SIZES = np.array([100, 1, 2, 3, 37, 100, 9, 10, 11, 0, 60, 4, 12])


def made(path: Path):
    """The component that a yaml describes, without Hydra."""
    fields: dict[str, Any] = yaml.safe_load(path.read_text())
    if "defaults" in fields:
        fields = {key: value for key, value in fields.items() if key != "defaults"} | {"solver": SOLVER}
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


def check_simple(edges: np.ndarray) -> None:
    assert (edges[:, 0] != edges[:, 1]).all()
    assert len(np.unique(np.sort(edges, 1), axis=0)) == len(edges)


def check_connected(edges: np.ndarray, n: int) -> None:
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    assert connected_components(graph, directed=False)[0] == 1


def rated(sizes: np.ndarray, own_seeds: np.ndarray, edges: np.ndarray) -> Fit:
    """Three hard votes on each pair, made of the query's seed and the pair, whatever else there is."""
    first = starts(sizes)
    query = np.searchsorted(first, edges[:, 0], side="right") - 1
    low, high = np.sort(edges, 1).T
    p = np.empty(len(edges))
    for q in np.unique(query):
        rng, n, own = np.random.default_rng(own_seeds[q]), sizes[q], query == q
        truth = 0.6 * rng.standard_normal(n)
        votes = rng.binomial(3, ndtr(np.sqrt(2) * (truth[:, None] - truth))) / 3
        p[own] = votes[low[own] - first[q], high[own] - first[q]]
    p = np.where(edges[:, 0] == low, p, 1 - p)
    return SOLVER.fit(Comparisons(sizes, edges, p, np.full(len(p), 3.0)))


def driven(graph, sizes: np.ndarray, own_seeds: np.ndarray) -> list[list[np.ndarray]]:
    """Per round, each query's new pairs."""
    found, edges, fit = [], np.empty((0, 2), np.int64), None
    while (new := graph.propose(sizes, own_seeds, fit)) is not None:
        assert new.dtype == np.int64
        assert len(new) or fit is None, "a round without pairs"
        found.append(cut(new, sizes))
        edges = np.concatenate([edges, new])
        fit = rated(sizes, own_seeds, edges)
    return found


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_contract(path):
    graph, name, own_seeds = made(path), path.stem, seeds(len(SIZES))
    if name in OVER_QUERIES:
        with pytest.raises(BadInput, match=r"calibrator\.graph"):
            certain(graph.propose(SIZES, own_seeds, None))
        return
    found = driven(graph, SIZES, own_seeds)
    assert (len(found) > 1) == (name in ADAPTIVE)
    most = graph.most(SIZES)
    for q, n in enumerate(SIZES):
        own = np.concatenate([new[q] for new in found])
        check_simple(own)
        assert own.size == 0 or (own.min() >= 0 and own.max() < n)
        if n > 1 and name not in UNCONNECTED:
            check_connected(found[0][q], n)
        assert len(own) <= most[q]
        if name != "random_cycles":
            assert len(own) == most[q]
        if n < 5 and name not in UNCONNECTED:
            assert len(own) == n * (n - 1) // 2, "more is wanted than there is: all pairs"
    if name != "complete":
        other = certain(graph.propose(SIZES, seeds(len(SIZES), 1), None))
        assert not np.array_equal(certain(graph.propose(SIZES, own_seeds, None)), other)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_query_does_not_feel_its_batch(path):
    """Alone or among others in another order, a query gets the same pairs in every round."""
    graph, name = made(path), path.stem
    if name in OVER_QUERIES:
        return
    sizes = np.array([30, 12, 30, 30, 5, 30, 30])
    own_seeds = seeds(len(sizes), 3)
    together, turned = driven(graph, sizes, own_seeds), driven(graph, sizes[::-1], own_seeds[::-1])
    for q in range(0, len(sizes), 3):
        alone = driven(graph, sizes[q : q + 1], own_seeds[q : q + 1])
        for k, new in enumerate(together):
            np.testing.assert_array_equal(new[q], turned[k][len(sizes) - 1 - q])
            np.testing.assert_array_equal(new[q], alone[k][0] if k < len(alone) else np.empty((0, 2)))


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_a_killed_run_goes_on_with_the_same_pairs(name):
    """A fresh graph that is handed the fit of a round asks what the first one asked then: there is no memory."""
    sizes, own_seeds = np.array([40, 7, 25]), seeds(3, 5)
    found = driven(made(CONF / f"{name}.yaml"), sizes, own_seeds)
    first = starts(sizes)
    for k in range(1, len(found)):
        edges = np.concatenate([new[q] + first[q] for new in found[:k] for q in range(3)])
        again = made(CONF / f"{name}.yaml").propose(sizes, own_seeds, rated(sizes, own_seeds, edges))
        for before, now in zip(found[k], cut(again, sizes), strict=True):
            np.testing.assert_array_equal(before, now)


@settings(deadline=None, max_examples=200)
@given(n=st.integers(1, 40), half=st.integers(1, 6), seed=st.integers(0, 2**64 - 1))
def test_cycles_are_regular_or_complete(n, half, seed):
    degree = 2 * half
    edges = certain(Cycles(degree=degree).propose(np.array([n]), np.array([seed], np.uint64), None))
    check_simple(edges)
    if n > 1:
        check_connected(edges, n)
    np.testing.assert_array_equal(np.bincount(edges.ravel(), minlength=n), min(degree, n - 1))


def test_each_cycle_visits_every_document_once_and_closes():
    edges = certain(Cycles(degree=6).propose(np.array([23]), seeds(1), None))
    for cycle in edges.reshape(3, 23, 2):
        assert sorted(cycle[:, 0]) == list(range(23))
        np.testing.assert_array_equal(np.roll(cycle[:, 0], -1), cycle[:, 1])


def test_golden():
    """Edges are part of the identity of paid judgements: the same seed must give the same pairs for ever."""
    edges = certain(Cycles(degree=4).propose(np.array([7]), np.array([42], np.uint64), None))
    first = [[3, 1], [1, 2], [2, 5], [5, 6], [6, 0], [0, 4], [4, 3]]
    second = [[5, 4], [4, 2], [2, 3], [3, 6], [6, 1], [1, 0], [0, 5]]
    assert edges.tolist() == first + second


@pytest.mark.parametrize(
    ("graph", "pairs"), [(Cycles(degree=4), 24), (Cycles(degree=10), 60), (RandomPairs(degree=6), 36)]
)
def test_pairs_are_spread_evenly(graph, pairs):
    """Over many queries each pair is drawn equally often: 24 of 66 pairs hold a pair with probability 24 / 66."""
    sizes = np.full(5000, 12)
    edges = np.sort(certain(graph.propose(sizes, seeds(5000), None)) % 12, 1)
    share = np.bincount(edges[:, 0] * 12 + edges[:, 1], minlength=144).reshape(12, 12)[np.triu_indices(12, 1)] / 5000
    expected = pairs / 66
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(expected * (1 - expected) / 5000))


def test_random_cycles_lose_the_pairs_that_cycles_share():
    """A cycle holds a pair with probability 2 / (n - 1), so four of 100 documents hold 4,950 (1 - (97 / 99)^4) = 388 pairs."""
    found = [
        len(own)
        for own in cut(certain(RandomCycles(degree=8).propose(np.full(500, 100), seeds(500), None)), np.full(500, 100))
    ]
    assert abs(np.mean(found) - 4950 * (1 - (97 / 99) ** 4)) < 5 * np.std(found) / np.sqrt(500)


def test_random_pairs_are_repaired_by_as_few_pairs_as_can_be():
    """At a degree of 2, n pairs are hardly ever connected by chance; then all but the pairs of one loop are bridges."""
    sizes = np.full(300, 20)
    for own in cut(certain(RandomPairs(degree=2).propose(sizes, seeds(300), None)), sizes):
        assert len(own) == 20
        check_simple(own)
        check_connected(own, 20)


def test_bipartite_joins_each_hub_with_every_other_document():
    edges = certain(Bipartite(degree=6).propose(np.array([20]), seeds(1), None))
    hubs = np.unique(edges[:, 0])
    assert len(hubs) == 3
    np.testing.assert_array_equal(np.bincount(edges.ravel(), minlength=20)[hubs], 17)
    check_simple(edges)
    assert len(edges) == 3 * 17
    assert not np.isin(edges[:, 1], hubs).any()


def test_gold_depth_is_drawn_with_weight_one_over_k():
    """P(both of the first 10) = sum over k of (1 / k) / (sum of 1 / k) * C(10, 2) / C(k, 2)."""
    k = np.arange(10, 41)
    expected = np.sum((1 / k) * 90 / (k * (k - 1))) / np.sum(1 / k)
    edges = certain(Gold(depth=10).propose(np.full(20000, 40), seeds(20000), None)) % 40
    assert len(edges) == 20000
    share = np.mean(edges.max(1) < 10)
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 20000)
    assert edges.max() == 39


@settings(deadline=None, max_examples=100)
@given(n=st.integers(2, 12), cap=st.integers(1, 4), levels=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_local_bests_are_the_greedy_choice(n, cap, levels, seed):
    rng = np.random.default_rng(seed)
    pairs = all_pairs(n)
    score = rng.integers(0, levels, (3, len(pairs))) / 32  # with ties
    judged = rng.random((3, n, n)) < 0.3
    judged |= judged.transpose(0, 2, 1) | np.eye(n, dtype=bool)
    wanted = rng.integers(1, n + 2, 3)
    query, found = best(np.arange(3), score, judged, wanted, cap)
    for q in range(3):
        room, expected = np.full(n, cap), []
        for k in np.argsort(-score[q], kind="stable"):
            i, j = pairs[k].tolist()
            if len(expected) < wanted[q] and not judged[q, i, j] and room[i] and room[j]:
                expected.append([i, j])
                room[[i, j]] -= 1
        assert found[query == q].tolist() == expected


def test_information_asks_what_tells_most():
    """A greedy matching by p (1 - p) Var(e_i - e_j), with Var from the pseudo-inverse of the centred Hessian."""
    n, own_seeds = 15, seeds(1, 8)
    graph = Information(degree=6, batch=1, per_document=1, solver=SOLVER, stop_at=None)
    edges = certain(graph.propose(np.array([n]), own_seeds, None))
    fit = rated(np.array([n]), own_seeds, edges)
    hessian = fit.ridge * np.eye(n)
    for (i, j), c in zip(fit.edges, fit.curvature, strict=True):
        hessian[[i, j], [i, j]] += c
        hessian[[i, j], [j, i]] -= c
    centre = np.eye(n) - 1 / n
    covariance = np.linalg.pinv(centre @ hessian @ centre)
    p = fit.link(fit.rating[:, None] - fit.rating)
    variance = np.diag(covariance)
    worth = p * (1 - p) * (variance[:, None] + variance - 2 * covariance)
    worth[edges[:, 0], edges[:, 1]] = worth[edges[:, 1], edges[:, 0]] = 0
    expected = []
    while len(expected) < n // 2:
        i, j = sorted(int(k) for k in np.unravel_index(worth.argmax(), worth.shape))
        expected.append([i, j])
        worth[[i, j]] = worth[:, [i, j]] = 0
    assert certain(graph.propose(np.array([n]), own_seeds, fit)).tolist() == expected


def test_smallest_gap_asks_about_neighbours():
    own_seeds, graph = seeds(1, 9), SmallestGap(degree=6, batch=1, per_document=1, solver=SOLVER, stop_at=None)
    edges = certain(graph.propose(np.array([20]), own_seeds, None))
    fit = rated(np.array([20]), own_seeds, edges)
    gap = np.abs(fit.rating[:, None] - fit.rating) + np.diag(np.full(20, np.inf))
    gap[edges[:, 0], edges[:, 1]] = gap[edges[:, 1], edges[:, 0]] = np.inf
    new = certain(graph.propose(np.array([20]), own_seeds, fit))
    assert sorted(new[0]) == sorted(np.unravel_index(gap.argmin(), gap.shape))
    assert (np.diff(np.abs(np.diff(fit.rating[new], axis=1)[:, 0])) >= 0).all()


def test_staged_compares_the_leaders():
    graph = Staged(cycles=1, stages=[[12, 2], [6, 1]], solver=SOLVER, stop_at=None)
    sizes, own_seeds = np.array([40]), seeds(1, 2)
    edges = certain(graph.propose(sizes, own_seeds, None))
    for leaders, pairs in ((12, 24), (6, 6)):
        fit = rated(sizes, own_seeds, edges)
        new = certain(graph.propose(sizes, own_seeds, fit))
        assert len(new) == pairs
        assert set(new.ravel()) == set(np.argsort(-fit.rating)[:leaders])
        edges = np.concatenate([edges, new])
    assert graph.propose(sizes, own_seeds, rated(sizes, own_seeds, edges)) is None


def test_staged_takes_pairs_from_elsewhere_into_account():
    graph, sizes, own_seeds = (
        Staged(cycles=1, stages=[[12, 2]], solver=SOLVER, stop_at=None),
        np.array([40]),
        seeds(1, 2),
    )
    edges = certain(graph.propose(sizes, own_seeds, None))
    last = np.argsort(rated(sizes, own_seeds, edges).rating)[:6]
    more = np.stack([last[:5], last[1:]], 1)
    foreign = more[~np.isin(np.sort(more, 1) @ [40, 1], np.sort(edges, 1) @ [40, 1])]
    assert len(foreign) > 0
    new = certain(graph.propose(sizes, own_seeds, rated(sizes, own_seeds, np.concatenate([edges, foreign]))))
    assert len(new) == 24 - len(foreign)


def test_staged_finds_other_pairs_where_leaders_have_none_left():
    """Five leaders have 10 pairs; 20 are wanted. The first nine have 36, of which a cycle has judged at most 9."""
    graph, sizes, own_seeds = (
        Staged(cycles=1, stages=[[5, 4]], solver=SOLVER, stop_at=None),
        np.array([30]),
        seeds(1, 4),
    )
    edges = certain(graph.propose(sizes, own_seeds, None))
    fit = rated(sizes, own_seeds, edges)
    new = certain(graph.propose(sizes, own_seeds, fit))
    assert len(new) == 20
    rank = np.argsort(np.argsort(-fit.rating))
    assert rank[new].max() < 9
    found = np.concatenate([edges, new])
    check_simple(found)
    leaders = rank[found].max(1) < 5
    assert leaders.sum() == 10, "not all pairs of the leaders"


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_pairs_that_are_missing_or_were_not_asked_for_do_no_harm(name):
    """A pair without an answer may be absent, one may come twice and one from elsewhere: no repeat, no end before the budget."""
    graph, sizes, own_seeds = made(CONF / f"{name}.yaml"), np.array([40, 22]), seeds(2, 6)
    edges = certain(graph.propose(sizes, own_seeds, None))
    strange = np.stack([np.zeros(9, np.int64), np.arange(1, 10)], 1)
    edges = np.concatenate([edges[3:], edges[5:9], strange[~np.isin(strange @ [99, 1], np.sort(edges, 1) @ [99, 1])]])
    while (new := graph.propose(sizes, own_seeds, rated(sizes, own_seeds, edges))) is not None:
        assert not np.isin(np.sort(new, 1) @ [99, 1], np.sort(edges, 1) @ [99, 1]).any()
        edges = np.concatenate([edges, new])
    found = np.unique(np.sort(edges, 1), axis=0)
    np.testing.assert_array_equal(np.bincount(found[:, 0] >= 40), graph.most(sizes))


def test_expected_loss_of_two_documents():
    """By quadrature over the difference d ~ N(m, 4 v): the ranking is wrong where d < 0 and loses the gains' difference there."""
    m, v = 0.4, 0.15
    d = m + np.sqrt(4 * v) * np.linspace(-9, 9, 200_001)
    density = np.exp(-0.5 * np.linspace(-9, 9, 200_001) ** 2)
    gain = [ndtr(np.sqrt(2) * side * d / 2) for side in (1, -1)]
    discount = 1 / np.log2(3)
    ratio = (gain[0] + gain[1] * discount) / (np.maximum(*gain) + np.minimum(*gain) * discount)
    expected = np.sum(density * (1 - ratio)) / np.sum(density)
    many = 4000
    covariance = np.tile(v * np.array([[1.0, -1.0], [-1.0, 1.0]]), (many, 1, 1))
    rating, stderr = np.tile([m / 2, -m / 2], (many, 1)), np.full((many, 2), np.sqrt(v))
    found = expected_loss(rating, stderr, 7 * covariance, seeds(many), lambda x: ndtr(np.sqrt(2) * x))
    assert abs(found.mean() - expected) < 5 * found.std() / np.sqrt(many)
    assert found.std() < 0.35 * expected, "one query's estimate is worth something"


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_a_query_that_has_stopped_stays_so(name):
    """Every query ends at its budget or at the first round after which its expected loss is low enough, whoever goes on."""
    graph, sizes, own_seeds = replace(made(CONF / f"{name}.yaml"), stop_at=0.025), np.full(20, 40), seeds(20, 7)
    found = driven(graph, sizes, own_seeds)
    counts = np.array([[len(own) for own in new] for new in found])
    going = counts > 0
    assert (np.diff(going.astype(int), axis=0) <= 0).all(), "a query resumed"
    total = counts.sum(0)
    assert (total < graph.most(sizes)).any(), "no query stopped before its budget"
    assert len(np.unique(total)) > 1, "all queries stopped together"


def test_soft_labels_stop_sooner_as_their_errors_are_smaller():
    """The stopping rule believes the solver's standard errors, which know that a soft label is no single vote."""
    graph = SmallestGap(degree=8, batch=1, per_document=1, solver=SOLVER, stop_at=0.02)
    sizes, own_seeds = np.full(5, 40), seeds(5, 1)
    fit = rated(sizes, own_seeds, certain(graph.propose(sizes, own_seeds, None)))
    assert graph.propose(sizes, own_seeds, fit) is not None
    assert graph.propose(sizes, own_seeds, replace(fit, stderr=fit.stderr / 20)) is None


def test_cross_query_joins_all_queries_and_half_of_its_cycles_cross_domains():
    own_seeds, domain = seeds(301), np.random.default_rng(0).choice(5, 301, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    graph = CrossQuery(degree=4)
    edges = graph.over(own_seeds, domain)
    check_simple(edges)
    check_connected(edges[:301], 301)
    assert 4 * 301 - 40 < len(edges) <= 4 * 301
    across = domain[edges[:, 0]] != domain[edges[:, 1]]
    assert across.mean() > 0.5 + 0.5 * (1 - np.sum((np.bincount(domain) / 301) ** 2)) - 0.05
    order = np.random.default_rng(1).permutation(301)
    turned = order[graph.over(own_seeds[order], 9 - domain[order])]
    np.testing.assert_array_equal(turned, edges)
    assert not np.array_equal(graph.over(seeds(301, 1), domain), edges)


@settings(deadline=None, max_examples=150)
@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=5), seed=st.integers(0, 2**32))
def test_cross_query_cycles_alternate_as_far_as_sizes_allow(counts, seed):
    """On a ring of Q queries the largest domain, of m, must meet itself 2 m - Q times if that is positive; no other need."""
    rng, queries, largest = np.random.default_rng(seed), sum(counts), max(counts)
    domain = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    own_seeds = rng.integers(0, 2**64, queries, dtype=np.uint64)
    edges = CrossQuery(degree=2).over(own_seeds, domain)
    check_simple(edges)
    if queries > 1:
        check_connected(edges, queries)
    if queries > 2:
        second = edges[queries:]  # without what the first cycle has already
        same = int((domain[second[:, 0]] == domain[second[:, 1]]).sum())
        assert same <= max(0, 2 * largest - queries) + queries % 2


def test_walecki_cycles_share_no_pair():
    for n in range(3, 30):
        cycles = walecki(n)
        edges = np.stack([cycles, np.roll(cycles, -1, 1)], 2).reshape(-1, 2)
        assert len(np.unique(np.sort(edges, 1), axis=0)) == n * ((n - 1) // 2)


@pytest.mark.parametrize("graph", [Cycles, RandomCycles, Bipartite])
@pytest.mark.parametrize(("degree", "better"), [(3, 4), (0, 2), (-2, 2), (1, 2)])
def test_odd_degree_is_named(graph, degree, better):
    with pytest.raises(BadInput, match=rf"degree={degree} must be even.*graph\.degree={better}"):
        graph(degree=degree)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RandomPairs(degree=1), r"graph=random_pairs: degree=1 .*graph\.degree=2"),
        (
            lambda: Information(degree=0, batch=1, per_document=1, solver=SOLVER, stop_at=None),
            r"graph=information: degree=0 ",
        ),
        (
            lambda: Information(degree=8, batch=0, per_document=1, solver=SOLVER, stop_at=None),
            r"batch=0 .*graph\.batch=1",
        ),
        (
            lambda: SmallestGap(degree=8, batch=2, per_document=1, solver=SOLVER, stop_at=None),
            r"per_document=1 is below batch=2",
        ),
        (
            lambda: SmallestGap(degree=8, batch=1, per_document=1, solver=SOLVER, stop_at=0.0),
            r"stop_at=0\.0 .*graph\.stop_at=",
        ),
        (lambda: Staged(cycles=0, stages=[], solver=SOLVER, stop_at=None), r"cycles=0 must be at least 1"),
        (
            lambda: Staged(cycles=1, stages=[[2, 1]], solver=SOLVER, stop_at=None),
            r"\[2, 1\] in stages .*graph\.stages=",
        ),
        (lambda: Staged(cycles=1, stages=[[20]], solver=SOLVER, stop_at=None), r"\[20\] in stages"),
        (lambda: Gold(depth=1), r"graph=gold: depth=1 .*graph\.depth=10"),
        (lambda: CrossQuery(degree=0), r"graph=cross_query: degree=0 "),
    ],
)
def test_bad_fields_are_named(make, says):
    with pytest.raises(BadInput, match=says):
        make()


def test_complete_is_complete():
    edges = certain(Complete().propose(np.array([5, 2]), seeds(2), None))
    assert len(edges) == 11
    check_simple(edges)
