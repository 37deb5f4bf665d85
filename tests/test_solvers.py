"""Contract of every solver in conf/solver, cases with known answers, and independent programs as oracles."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import choix
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr

from zelo.errors import BadInput
from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.thurstone import Thurstone

CONF = Path(__file__).parents[1] / "conf" / "solver"
EVERY = pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
BOTH = pytest.mark.parametrize("kind", [Thurstone, BradleyTerry])


def made(path: Path):
    """The component that a yaml describes, without Hydra."""
    fields = yaml.safe_load(path.read_text())
    module, name = fields.pop("_target_").rsplit(".", 1)
    return getattr(__import__(module, fromlist=[name]), name)(**fields)


def solver(kind, ridge=0.1, tolerance=1e-10, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0):
    return kind(
        ridge=ridge, tolerance=tolerance, max_steps=max_steps, stderr=stderr, lapse=lapse, held_out=held_out
    )


def comparisons(sizes, edges, p, weight=None) -> Comparisons:
    p = np.asarray(p, float)
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    return Comparisons(np.asarray(sizes), edges, p, np.ones(len(p)) if weight is None else np.asarray(weight, float))


def simulated(queries: int, n: int, degree: int, seed: int = 0, votes: int = 0) -> tuple[np.ndarray, Comparisons]:
    """True ratings (Thurstone units) and `degree` comparisons each: soft with latent noise, or averages of hard votes."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.6, queries * n)
    order = np.argsort(rng.random((queries, degree // 2, n)), axis=2) + (np.arange(queries) * n)[:, None, None]
    edges = np.stack([order, np.roll(order, -1, 2)], 3).reshape(-1, 2)
    gap = truth[edges[:, 0]] - truth[edges[:, 1]]
    noise = 0 if votes else rng.normal(0, 0.09, len(gap))
    p = ndtr(np.sqrt(2) * (gap + noise))
    if votes:
        p = rng.binomial(votes, p) / votes
    return truth, comparisons([n] * queries, edges, p, np.full(len(p), max(votes, 1)))


def stacked(parts: list[Comparisons]) -> Comparisons:
    first = np.cumsum([0] + [int(c.sizes.sum()) for c in parts])
    return Comparisons(
        np.concatenate([c.sizes for c in parts]),
        np.concatenate([c.edges + f for c, f in zip(parts, first[:-1], strict=True)]),
        np.concatenate([c.p for c in parts]),
        np.concatenate([c.weight for c in parts]),
    )


@st.composite
def graphs(draw) -> Comparisons:
    """One query with any graph, connected or not, with repeated pairs, soft and hard preferences, and weights."""
    n, e = draw(st.integers(1, 12)), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    e = e if n > 1 else 0
    a = rng.integers(0, n, e)
    b = (a + rng.integers(1, max(n, 2), e)) % n
    p = np.where(rng.random(e) < 0.5, rng.random(e), rng.integers(0, 2, e))
    return comparisons([n], np.stack([a, b], 1), p, rng.uniform(0.1, 5, e))


# Cases with known answers: three documents, A-B 0.9, B-C 0.7, A-C 0.95 (our derivation note, method section 4.5); "no prior" is
# reached with a ridge far below the printed digits.
TRIPLE = comparisons([3], [[0, 1], [1, 2], [0, 2]], [0.9, 0.7, 0.95])
WINS = comparisons([3], [[0, 1], [1, 2], [0, 2]], [1, 1, 1])
GOLDEN = [
    (BradleyTerry, 1e-9, TRIPLE, [1.72338, -0.44441, -1.27897], 5),
    (BradleyTerry, 0.1, TRIPLE, [1.24924, -0.30293, -0.94631], 5),
    (Thurstone, 1e-9, TRIPLE, [0.69709, -0.17379, -0.52330], 5),
    (Thurstone, 0.1, TRIPLE, [0.65781, -0.16285, -0.49496], 5),
    (BradleyTerry, 0.1, WINS, [1.7584, 0, -1.7584], 4),
    (Thurstone, 0.1, WINS, [1.2479, 0, -1.2479], 4),
    (Thurstone, 0.1, comparisons([2], [[0, 1]], [1], [3]), [0.8635, -0.8635], 4),
]


@pytest.mark.parametrize(("kind", "ridge", "case", "rating", "digits"), GOLDEN)
def test_golden(kind, ridge, case, rating, digits):
    np.testing.assert_array_equal(np.round(solver(kind, ridge).fit(case).rating, digits), np.array(rating))


@EVERY
def test_contract(path):
    made_solver = made(path)
    gap = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(made_solver.link(gap) + made_solver.link(-gap), 1)
    assert (np.diff(made_solver.link(gap)) > 0).all()
    # a query of each awkward kind among ordinary ones; the link's own probabilities give back the ratings
    order, truth = np.arange(9), np.linspace(1, -1, 9)
    pairs = np.stack(np.triu_indices(9, 1), 1)
    case = stacked(
        [
            comparisons([9], pairs, made_solver.link(truth[pairs[:, 0]] - truth[pairs[:, 1]])),
            comparisons([1], [], []),
            comparisons([0], [], []),
            comparisons([4], [[0, 1], [2, 3]], [0.9, 0.6]),  # two parts
            comparisons([3], [], []),
            comparisons([2], [[0, 1]], [1.0]),
        ]
    )
    fit = made_solver.fit(case)
    np.testing.assert_array_equal(np.argsort(-fit.rating[:9]), order)
    np.testing.assert_allclose(fit.rating[:9], truth, atol=0.02)
    first = np.cumsum(np.concatenate([[0], case.sizes]))
    for a, b in pairwise(first):
        assert abs(fit.rating[a:b].sum()) < 1e-9
    assert np.isfinite(fit.stderr).all()
    assert (fit.stderr > 0).all()
    np.testing.assert_array_equal(fit.rating[[9, 14, 15, 16]], 0)
    np.testing.assert_allclose(fit.stderr[[9, 14, 15, 16]], made_solver.ridge**-0.5)
    said = fit.diagnosis
    assert said["gradient_norm"] <= made_solver.tolerance
    assert (said["disconnected_queries"], said["disconnected"]) == (2, [3, 4])
    assert (said["separable_documents"], said["uncompared_documents"]) == (2, 4)
    empty = made_solver.fit(comparisons([], [], []))
    assert len(empty.rating) == len(empty.stderr) == 0


@EVERY
@settings(deadline=None, max_examples=40)
@given(case=graphs(), seed=st.integers(0, 2**32 - 1))
def test_symmetries(path, case, seed):
    made_solver, rng = made(path), np.random.default_rng(seed)
    near = {"atol": 1e-4 / made_solver.ridge * made_solver.tolerance * 100, "rtol": 1e-4}
    fit = made_solver.fit(case)
    swapped = made_solver.fit(replace(case, p=1 - case.p))
    np.testing.assert_allclose(swapped.rating, -fit.rating, **near)
    turned = made_solver.fit(replace(case, edges=case.edges[:, ::-1], p=1 - case.p))
    np.testing.assert_allclose(turned.rating, fit.rating, **near)
    label, rows = rng.permutation(case.sizes[0]), rng.permutation(len(case.p))
    moved = Comparisons(case.sizes, label[case.edges][rows], case.p[rows], case.weight[rows])
    again = made_solver.fit(moved)
    np.testing.assert_allclose(again.rating[label], fit.rating, **near)
    np.testing.assert_allclose(again.stderr[label], fit.stderr, rtol=1e-3, atol=1e-6)
    merged = made_solver.fit(stacked([case, case]))
    np.testing.assert_array_equal(merged.rating, np.tile(fit.rating, 2))


@EVERY
def test_a_query_does_not_feel_its_batch(path):
    """Bit for bit, whatever block or pool it is finished in, and however the rows of different queries are mixed."""
    made_solver, rng = made(path), np.random.default_rng(0)
    parts = [simulated(1, int(n), 6, seed=int(n), votes=int(n % 2) * 3)[1] for n in rng.integers(5, 60, 120)]
    parts[7] = comparisons(
        [80], np.stack([np.arange(79), np.arange(1, 80)], 1), np.tile([0.9, 0.3], 40)[:79]
    )  # a long path
    whole = stacked(parts)
    fit = made_solver.fit(whole)
    first = np.cumsum(np.concatenate([[0], whole.sizes]))
    for q in (0, 7, 8, 60, 119):
        alone, docs = made_solver.fit(parts[q]), slice(first[q], first[q + 1])
        np.testing.assert_array_equal(fit.rating[docs], alone.rating)
        np.testing.assert_array_equal(fit.stderr[docs], alone.stderr)
    rows = np.argsort(rng.random(len(whole.p)))
    query = np.searchsorted(first, whole.edges[rows, 0], side="right")
    mixed = np.empty_like(rows)  # shuffles queries among each other, not the rows within a query
    mixed[np.argsort(query, kind="stable")] = np.arange(len(rows))
    shuffled = Comparisons(whole.sizes, whole.edges[mixed], whole.p[mixed], whole.weight[mixed])
    np.testing.assert_array_equal(made_solver.fit(shuffled).rating, fit.rating)


def test_bradley_terry_agrees_with_choix():
    _, case = simulated(1, 20, 8, seed=3, votes=3)
    won = np.round(case.p * 3).astype(int)
    wins = np.repeat(case.edges, won, axis=0).tolist() + np.repeat(case.edges[:, ::-1], 3 - won, axis=0).tolist()
    theirs = choix.opt_pairwise(20, wins, alpha=0.1, method="Newton-CG", tol=1e-12)  # its penalty has no 1/2
    np.testing.assert_allclose(solver(BradleyTerry, 0.2).fit(case).rating, theirs - theirs.mean(), atol=1e-5)


@pytest.mark.parametrize("votes", [0, 3])
def test_thurstone_agrees_with_a_general_optimiser(votes):
    _, case = simulated(1, 20, 8, seed=4, votes=votes)
    a, b = case.edges.T

    def loss(e):
        z = np.sqrt(2) * (e[a] - e[b])
        terms = case.weight * (case.p * log_ndtr(z) + (1 - case.p) * log_ndtr(-z))
        return 0.02 / 2 * e @ e - terms.sum()

    theirs = minimize(loss, np.zeros(20), method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9, "maxfun": 10**5}).x
    np.testing.assert_allclose(solver(Thurstone, 0.02).fit(case).rating, theirs, atol=2e-5)


@BOTH
def test_the_link_and_its_derivatives_agree_far_into_the_tails(kind):
    link = solver(kind)
    gap = np.concatenate([np.linspace(-3, 3, 25), [-30, -8, -2.5001, -2.4999, 2.4999, 2.5001, 8, 30]])
    p = np.random.default_rng(0).random(len(gap))
    step = 1e-5

    def loss(d):
        ahead, behind = link.log_link(d)
        return -p * ahead - (1 - p) * behind

    slope, curvature = link.derivatives(gap, p)
    np.testing.assert_allclose(slope, (loss(gap + step) - loss(gap - step)) / (2 * step), rtol=1e-6, atol=1e-6)
    further, nearer = link.derivatives(gap + step, p)[0], link.derivatives(gap - step, p)[0]
    np.testing.assert_allclose(curvature, (further - nearer) / (2 * step), rtol=1e-5, atol=1e-8)
    assert (curvature > 0).all()
    near = np.abs(gap) < 3
    np.testing.assert_allclose(np.exp(link.log_link(gap)[0][near]), link.link(gap)[near])
    rate = (link.link(gap + step) - link.link(gap - step)) / (2 * step)
    expected = rate[near] ** 2 / (link.link(gap) * link.link(-gap))[near]
    np.testing.assert_allclose(link.information(gap)[near], expected, rtol=1e-5)


@BOTH
@settings(deadline=None, max_examples=40)
@given(case=graphs())
def test_standard_errors_are_the_dense_inverse_times_the_dispersion(kind, case):
    if not len(case.p):
        return
    made_solver, n = solver(kind, ridge=0.05), int(case.sizes[0])
    fit = made_solver.fit(case)
    gap = fit.rating[case.edges[:, 0]] - fit.rating[case.edges[:, 1]]
    incidence = np.zeros((len(gap), n))
    np.add.at(incidence, (np.arange(len(gap)), case.edges[:, 0]), 1)
    np.add.at(incidence, (np.arange(len(gap)), case.edges[:, 1]), -1)
    slope, curvature = (case.weight * part for part in made_solver.derivatives(gap, case.p))
    centre = np.eye(n) - 1 / n
    precision = incidence.T @ (curvature[:, None] * incidence) + 0.05 * np.eye(n)
    variance = np.diag(centre @ np.linalg.inv(precision) @ centre)
    free = max(len(gap) - (n - 1 - 0.05 * variance.sum()), 0)
    pearson = len(gap) * (slope**2).sum() / (case.weight * made_solver.information(gap)).sum()
    votes = np.array_equal(case.weight, np.rint(case.weight)) and np.isin(case.p, [0, 1]).all()
    phi = 1 if votes else (pearson + 0.1) / (free + 0.1)
    np.testing.assert_allclose(fit.diagnosis["dispersion"], phi, rtol=1e-6)
    np.testing.assert_allclose(fit.stderr, np.sqrt(phi * variance), rtol=1e-6)


@pytest.mark.parametrize("votes", [0, 3])
def test_standard_errors_are_honest(votes):
    """90 % intervals hold 88 to 92 % of the true ratings: of counted votes under the true prior, and of soft labels."""
    truth, case = simulated(150, 60, 8, seed=5, votes=votes)
    fit = solver(Thurstone, ridge=1 / 0.36 if votes else 1e-3, tolerance=1e-6).fit(case)
    truth = truth.reshape(150, 60)
    z = (fit.rating - (truth - truth.mean(1, keepdims=True)).ravel()) / fit.stderr
    assert 0.88 < np.mean(np.abs(z) < 1.6449) < 0.92
    assert (fit.diagnosis["dispersion"] == 1) if votes else (fit.diagnosis["dispersion"] < 0.02)


@EVERY
def test_recovers_a_known_order(path):
    truth, case = simulated(20, 40, 8, seed=6)
    rating = made(path).fit(case).rating.reshape(20, 40)
    ranks, true_ranks = np.argsort(np.argsort(rating)), np.argsort(np.argsort(truth.reshape(20, 40)))
    assert all(np.corrcoef(a, b)[0, 1] > 0.98 for a, b in zip(ranks, true_ranks, strict=True))


@EVERY
def test_parts_of_a_query_are_each_centred(path):
    case = comparisons([5], [[0, 1], [2, 3]], [0.8, 0.9])
    rating = made(path).fit(case).rating
    np.testing.assert_allclose([rating[:2].sum(), rating[2:4].sum(), rating[4]], 0, atol=1e-9)


@BOTH
def test_certainty_is_placed_by_the_prior_alone(kind):
    """A document that won all hard votes goes further up the weaker the prior is, and never out of bounds."""
    star = comparisons([9], [[0, k] for k in range(1, 9)] + [[k, k + 1] for k in range(1, 8)], [1.0] * 8 + [0.5] * 7)
    tops = [solver(kind, ridge).fit(star).rating[0] for ridge in (1, 0.1, 1e-2, 1e-4, 1e-8)]
    assert (np.diff(tops) > 0).all()
    assert np.isfinite(tops).all()
    assert solver(kind).fit(star).diagnosis["separable_documents"] == 1


def test_what_does_not_converge_is_named():
    hard, easy = simulated(1, 30, 8, votes=3)[1], comparisons([2], [[0, 1]], [0.5])
    with pytest.raises(
        BadInput, match=r"1 of 3 queries did not converge \(query numbers 1\): gradient .* after 1 Newton"
    ):
        solver(Thurstone, max_steps=1).fit(stacked([easy, hard, easy]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"p": [0.5, 1.5]}, r"comparison 1 .*outside \[0, 1\]: 1\.5"),
        ({"p": [np.nan, 0.5]}, r"comparison 0 .*outside \[0, 1\]: nan"),
        ({"weight": [1.0, 0.0]}, r"comparison 1 .*weight .*: 0\.0"),
        ({"weight": [np.inf, 1.0]}, r"comparison 0 .*weight .*: inf"),
        ({"edges": [[0, 1], [1, 1]]}, r"comparison 1 .*with itself \[1, 1\]"),
        ({"edges": [[0, 1], [1, 2]]}, r"comparison 1 .*two queries, numbers \[0, 1\]"),
        ({"edges": [[0, 1], [1, 4]]}, r"comparison 1 .*outside 0\.\.3 \[1, 4\]"),
        ({"p": [0.5]}, r"must have the shapes"),
        ({"sizes": [2, -1]}, r"query number 1 has -1 documents"),
    ],
)
def test_unusable_rows_are_named(change, complaint):
    whole = {"sizes": [2, 2], "edges": [[0, 1], [2, 3]], "p": [0.5, 0.5], "weight": [1.0, 1.0]}
    arrays = {name: np.asarray(value) for name, value in {**whole, **change}.items()}
    with pytest.raises(BadInput, match=complaint):
        solver(Thurstone).fit(Comparisons(**arrays))


@BOTH
@pytest.mark.parametrize("setting", ["ridge", "tolerance", "max_steps"])
def test_unusable_settings_are_named(kind, setting):
    with pytest.raises(BadInput, match=f"{setting}=0 must be"):
        solver(kind, **{setting: 0})
