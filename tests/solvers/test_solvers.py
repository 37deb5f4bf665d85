"""Contract of every solver in conf/solver, cases with known answers, and independent programs as oracles."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import choix
import evalica
import numpy as np
import pytest
from fake_comparisons import BOTH, EVERY, comparisons, graphs, made, made_of, simulated, solver, stacked
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_ndtr

from zelo.errors import BadInput
from zelo.likelihood.blocks import hidden
from zelo.likelihood.covariance import covariances
from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.thurstone import Thurstone

# Cases with known answers: three documents, A-B 0.9, B-C 0.7, A-C 0.95; "no prior" is reached with a ridge far below the
# printed digits.
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


# The iteration of zbench's utils.py (github zeroentropy-ai/zbench, HEAD 7e9d787), run on the same cases with its own settings.
ITERATED = [(TRIPLE, [1.70637, -0.43814, -1.26823], 5, 7), (WINS, [5.3768, 0, -5.3768], 4, 83)]


@pytest.mark.parametrize(("case", "rating", "digits", "steps"), ITERATED)
def test_golden_fixed_point(case, rating, digits, steps):
    fit = made_of("fixed_point").fit(stacked([case, TRIPLE, WINS]))
    np.testing.assert_array_equal(np.round(fit.rating[:3], digits) + 0.0, rating)
    assert fit.queries["steps"].tolist() == [steps, 7, 83]


def test_fixed_point_approaches_the_optimum_without_prior_and_refuses_what_does_not_stop():
    _, case = simulated(5, 20, 8, seed=4, votes=30)
    best = solver(BradleyTerry, 1e-9).fit(case)
    assert best.diagnosis["separable_documents"] == 0
    near = [
        np.abs(made_of("fixed_point", tolerance=t).fit(case).rating - best.rating).max() for t in (1e-4, 1e-8, 1e-12)
    ]
    assert near[0] > near[1] > near[2]
    assert near[2] < 1e-4
    with pytest.raises(
        BadInput, match=r"fixed_point: 5 queries \(numbers 0, 1, 2, 3, 4\) have not stopped after 3 steps"
    ):
        made_of("fixed_point", max_steps=3).fit(case)


@EVERY
def test_contract(path):
    made_solver = made(path)
    if made_solver.ridge > 0.01:  # made for votes: its prior is felt where labels are exact
        made_solver = replace(made_solver, ridge=0.001)
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
    if path.stem != "fixed_point":  # whose tolerance is not one of the gradient
        assert said["gradient_norm"] <= made_solver.tolerance
    assert fit.queries["components"].tolist() == [1, 1, 0, 2, 3, 1]
    assert fit.queries["separable"].tolist() == [0, 0, 0, 0, 0, 2]
    for name in ("components", "separable", "log_loss", "triads", "curl", "gradient", "steps"):
        assert fit.queries[name].shape == (6,)
    # what adaptive graphs need: the comparisons as given, and the curvature of each, from which the errors follow
    np.testing.assert_array_equal(fit.edges, case.edges)
    assert (len(fit.curvature), fit.ridge, fit.sizes.tolist()) == (len(case.p), made_solver.ridge, case.sizes.tolist())
    filled, place = np.flatnonzero(fit.sizes), np.cumsum(fit.sizes > 0) - 1
    query = place[np.searchsorted(first, fit.edges[:, 0], side="right") - 1]
    found = covariances(fit.sizes[filled], query, fit.edges, fit.curvature, fit.ridge)
    for number, matrix in zip(filled.tolist(), found, strict=True):
        if case.sizes[number] > 1 and fit.queries["components"][number] < case.sizes[number]:
            scale = fit.queries["dispersion"][number]
            docs = slice(*fit_range(fit.sizes, number))
            np.testing.assert_allclose(fit.stderr[docs] ** 2, scale * np.diag(matrix), rtol=1e-5)
    assert (said["disconnected_queries"], said["disconnected"]) == (2, [3, 4])
    assert (said["separable_documents"], said["uncompared_documents"]) == (2, 4)
    empty = made_solver.fit(comparisons([], [], []))
    assert len(empty.rating) == len(empty.stderr) == 0


def fit_range(sizes, query):
    first = np.cumsum(np.concatenate([[0], sizes]))
    return first[query], first[query + 1]


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
    if path.stem == "fixed_point":
        made_solver = replace(made_solver, max_steps=20_000)  # the path takes it a while
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
        for name, figures in fit.queries.items():
            np.testing.assert_array_equal(figures[q], alone.queries[name][0])
    rows = np.argsort(rng.random(len(whole.p)))
    query = np.searchsorted(first, whole.edges[rows, 0], side="right")
    mixed = np.empty_like(rows)  # shuffles queries among each other, not the rows within a query
    mixed[np.argsort(query, kind="stable")] = np.arange(len(rows))
    shuffled = Comparisons(whole.sizes, whole.edges[mixed], whole.p[mixed], whole.weight[mixed])
    again = made_solver.fit(shuffled)
    np.testing.assert_array_equal(again.rating, fit.rating)
    np.testing.assert_array_equal(again.curvature, fit.curvature[mixed])


def test_bradley_terry_agrees_with_choix():
    _, case = simulated(1, 20, 8, seed=3, votes=3)
    won = np.round(case.p * 3).astype(int)
    wins = np.repeat(case.edges, won, axis=0).tolist() + np.repeat(case.edges[:, ::-1], 3 - won, axis=0).tolist()
    theirs = choix.opt_pairwise(20, wins, alpha=0.1, method="Newton-CG", tol=1e-12)  # its penalty has no 1/2
    np.testing.assert_allclose(solver(BradleyTerry, 0.2).fit(case).rating, theirs - theirs.mean(), atol=1e-5)


@pytest.mark.parametrize("votes", [0, 3])
def test_bradley_terry_agrees_with_evalica(votes):
    """Which has no prior: where a document wins all it has no answer, and what it returns depends on its limit."""
    _, case = simulated(1, 20, 8, seed=4, votes=votes)
    a, b = ([str(k) for k in side] * 2 for side in case.edges.T.tolist())
    winners = [evalica.Winner.X] * len(case.p) + [evalica.Winner.Y] * len(case.p)
    weights = np.concatenate([case.p, 1 - case.p]).tolist()  # a soft preference: two wins with weights
    scores = evalica.bradley_terry(a, b, winners, weights=weights, tolerance=1e-12, limit=10**5).scores
    theirs = np.log([scores[str(k)] for k in range(20)])
    fit = solver(BradleyTerry, 1e-9).fit(replace(case, weight=np.ones(len(case.p))))
    assert fit.diagnosis["separable_documents"] == 0
    np.testing.assert_allclose(fit.rating, theirs - theirs.mean(), atol=1e-6)


def test_thurstone_agrees_with_expectation_propagation_of_choix():
    """The posterior mean and deviation; the mode is off the mean by the skewness, here by up to 0.12 deviations."""
    _, case = simulated(1, 12, 8, seed=4, votes=30)
    won = np.round(case.p * 30).astype(int)
    wins = np.repeat(case.edges, won, axis=0).tolist() + np.repeat(case.edges[:, ::-1], 30 - won, axis=0).tolist()
    mean, covariance = choix.ep_pairwise(12, wins, alpha=0.5, model="probit")  # its noise has the variance 1, ours 1/2
    centre = np.eye(12) - 1 / 12
    deviation = np.sqrt(np.diag(centre @ covariance @ centre))
    fit = solver(Thurstone, 1.0).fit(case)
    np.testing.assert_allclose(np.sqrt(2) * fit.stderr, deviation, rtol=0.01)
    assert (np.abs(np.sqrt(2) * fit.rating - centre @ mean) < 0.15 * deviation).all()


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
        return link.loss(d, p)

    slope, curvature = link.derivatives(gap, p)
    np.testing.assert_allclose(slope, (loss(gap + step) - loss(gap - step)) / (2 * step), rtol=1e-6, atol=1e-6)
    further, nearer = link.derivatives(gap + step, p)[0], link.derivatives(gap - step, p)[0]
    np.testing.assert_allclose(curvature, (further - nearer) / (2 * step), rtol=1e-5, atol=1e-8)
    assert (curvature > 0).all()
    near = np.abs(gap) < 3
    np.testing.assert_allclose(np.exp(link.log(gap)[near]), link.link(gap)[near])
    rate = (link.link(gap + step) - link.link(gap - step)) / (2 * step)
    expected = rate[near] ** 2 / (link.link(gap) * link.link(-gap))[near]
    np.testing.assert_allclose(link.information(gap)[near], expected, rtol=1e-5)


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
        ({"weight": [-1.0, 1.0]}, r"comparison 0 .*weight .*: -1\.0"),
        ({"p": [0.5]}, r"must have the shapes"),
        ({"judge": [0]}, r"judge must have the shape \[2\]"),
        ({"judge": [0, -1]}, r"comparison 1 .*judge with a negative number: -1"),
        ({"sizes": [2, -1]}, r"query number 1 has -1 documents"),
    ],
)
def test_unusable_rows_are_named(change, complaint):
    whole = {"sizes": [2, 2], "edges": [[0, 1], [2, 3]], "p": [0.5, 0.5], "weight": [1.0, 1.0]}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in {**whole, **change}.items()}
    with pytest.raises(BadInput, match=complaint):
        solver(Thurstone).fit(Comparisons(**arrays))


@BOTH
@pytest.mark.parametrize(
    ("setting", "value"),
    [("ridge", 0), ("tolerance", 0), ("max_steps", 0), ("stderr", "exact"), ("lapse", 1), ("held_out", -0.1)],
)
def test_unusable_settings_are_named(kind, setting, value):
    with pytest.raises(BadInput, match=f"{setting}={value} must be"):
        solver(kind, **{setting: value})


@BOTH
def test_held_out_pairs_are_predicted_by_a_fit_that_never_saw_them(kind):
    """Against the same done by hand; the ratings are those of all pairs, and a query alone loses the same ones."""
    _, case = simulated(3, 30, 8, seed=8)
    fit = solver(kind, held_out=0.2).fit(case)
    np.testing.assert_array_equal(fit.rating, solver(kind).fit(case).rating)
    out = hidden(case.edges % 30, 0.2)
    assert 0.1 < out.mean() < 0.3
    np.testing.assert_array_equal(out, hidden(case.edges[:, ::-1] % 30, 0.2))  # all rows of a pair, either way round
    seen = solver(kind).fit(comparisons(case.sizes, case.edges[~out], case.p[~out]))
    gap = seen.rating[case.edges[out, 0]] - seen.rating[case.edges[out, 1]]
    loss = solver(kind).loss(gap, case.p[out])
    said = fit.diagnosis
    np.testing.assert_allclose(said["held_out_log_loss"], loss.mean(), rtol=1e-8)
    assert said["held_out_log_loss_at_best"] < said["held_out_log_loss"] < 0.9 * said["held_out_log_loss_of_a_half"]
    query = case.edges[out, 0] // 30
    np.testing.assert_allclose(fit.queries["held_out_log_loss"], [loss[query == q].mean() for q in range(3)])
