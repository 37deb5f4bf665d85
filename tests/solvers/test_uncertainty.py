"""Standard errors against the dense inverse, against each other and against the truth; what a fit says about its data."""

from dataclasses import replace

import numpy as np
import pytest
from fake_comparisons import BOTH, EVERY, comparisons, graphs, made, simulated, solver, stacked
from hypothesis import given, settings

from zelo.errors import BadInput
from zelo.solvers.thurstone import Thurstone


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


COVERAGE = [  # queries, documents, setting of the simulation, of the solver, bounds of the share that 90 % intervals hold
    (1000, 30, {"votes": 1}, {"ridge": 1 / 0.36}, (0.88, 0.92)),
    (1000, 30, {"votes": 3}, {"ridge": 1 / 0.36}, (0.88, 0.92)),
    (1000, 30, {"votes": 3}, {"ridge": 1 / 0.36, "stderr": "two_walk"}, (0.88, 0.92)),
    (1000, 30, {}, {}, (0.85, 0.95)),
    (1000, 30, {"slip": 0.02}, {"lapse": 0.02}, (0.85, 0.95)),
    (100, 100, {"slip": 0.02}, {"lapse": 0.02, "stderr": "two_walk"}, (0.85, 0.95)),
    (100, 100, {"votes": 3}, {"ridge": 1 / 0.36}, (0.88, 0.92)),
]


@pytest.mark.parametrize(("queries", "n", "judge", "setting", "bounds"), COVERAGE)
def test_intervals_hold_the_truth(queries, n, judge, setting, bounds):
    """90 % intervals of all documents: counted votes under the true prior; soft labels, also with uniform noise."""
    truth, case = simulated(queries, n, 8, seed=5, **judge)
    fit = solver(Thurstone, **{"ridge": 1e-3, "tolerance": 1e-6, **setting}).fit(case)
    truth = truth.reshape(queries, n)
    held = np.abs(fit.rating - (truth - truth.mean(1, keepdims=True)).ravel()) < 1.6449 * fit.stderr
    assert bounds[0] < held.mean() < bounds[1]
    assert fit.diagnosis["dispersion"] == 1 if "votes" in judge else fit.diagnosis["dispersion"] < 0.05


def test_a_lapse_that_is_not_taken_out_draws_the_extremes_inwards():
    """What `lapse` is for: without it 2 % of uniform noise costs a third of the accuracy and the intervals' honesty."""
    truth, case = simulated(200, 50, 8, seed=6, slip=0.02)
    truth = truth.reshape(200, 50)
    truth = (truth - truth.mean(1, keepdims=True)).ravel()
    error, held = [], []
    for lapse in (0.0, 0.02):
        fit = solver(Thurstone, ridge=1e-3, tolerance=1e-6, lapse=lapse).fit(case)
        error.append(np.sqrt(np.mean((fit.rating - truth) ** 2)))
        held.append(np.mean(np.abs(fit.rating - truth) < 1.6449 * fit.stderr))
    assert error[1] < 0.8 * error[0]
    assert held[0] < 0.85 < held[1]


# Error of the two-walk standard deviations in % of the exact ones, 100 queries each: mean, deviation, worst.
TWO_WALK = [
    (100, 8, 0, 1e-3, (0.3, 0.8, 8)),
    (100, 8, 3, 1.0, (0.3, 0.8, 8)),
    (100, 4, 3, 1.0, (3.5, 2, 18)),
    (30, 8, 0, 1e-3, (4, 1.5, 8)),
    (30, 4, 3, 1.0, (1, 3, 16)),
]


@pytest.mark.parametrize(("n", "degree", "votes", "ridge", "bounds"), TWO_WALK)
def test_two_walk_errors_are_near_the_exact_ones(n, degree, votes, ridge, bounds):
    _, case = simulated(100, n, degree, seed=7, votes=votes)
    exact, near = (
        solver(Thurstone, ridge, tolerance=1e-6, stderr=kind).fit(case).stderr for kind in ("laplace", "two_walk")
    )
    off = 100 * (near / exact - 1)
    assert abs(off.mean()) < bounds[0]
    assert off.std() < bounds[1]
    assert np.abs(off).max() < bounds[2]


def test_two_walk_errors_merge_pairs_and_leave_small_queries_exact():
    _, case = simulated(1, 40, 6, seed=8)
    twice = comparisons(
        case.sizes, np.concatenate([case.edges, case.edges[:, ::-1]]), np.concatenate([case.p, 1 - case.p])
    )
    near = [
        solver(Thurstone, stderr="two_walk").fit(one)
        for one in (twice, comparisons(case.sizes, case.edges, case.p, np.full(len(case.p), 2.0)))
    ]
    by_itself = [fit.stderr / np.sqrt(fit.queries["dispersion"][0]) for fit in near]
    np.testing.assert_allclose(by_itself[0], by_itself[1], rtol=1e-6)
    _, small = simulated(5, 10, 4, seed=9)
    exact, near_small = (solver(Thurstone, stderr=kind).fit(small).stderr for kind in ("laplace", "two_walk"))
    np.testing.assert_array_equal(near_small, exact)


def test_exact_errors_of_a_query_that_is_too_large_are_refused():
    path = comparisons([20_001], [[0, 1]], [0.7])
    with pytest.raises(BadInput, match=r"20,001 documents, too many for exact .*two_walk"):
        solver(Thurstone).fit(path)
    assert np.isfinite(solver(Thurstone, stderr="two_walk").fit(path).stderr).all()


@BOTH
def test_triads_and_curl_of_known_graphs(kind):
    link = solver(kind).link
    circle = comparisons([3], [[0, 1], [1, 2], [2, 0]], link(np.array([0.5, 0.5, 0.5])))
    order = comparisons([3], [[0, 1], [1, 2], [0, 2]], link(np.array([0.5, 0.3, 0.8])))
    # 0 > 1 > 2 > 0 and 3 below all: of four triangles one is a circle; a lost majority and a tie count for nothing
    four = comparisons(
        [4],
        [[0, 1], [1, 2], [2, 0], [0, 3], [1, 3], [2, 3], [1, 0]],
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.6],
    )
    tied = comparisons([3], [[0, 1], [1, 2], [0, 2]], [0.9, 0.9, 0.5])
    open_path = comparisons([3], [[0, 1], [1, 2]], [0.9, 0.2])
    fit = solver(kind).fit(stacked([circle, order, four, tied, open_path, comparisons([2], [], [])]))
    np.testing.assert_array_equal(fit.queries["triads"], [1, 0, 0.25, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(fit.queries["curl"][[0, 1, 4]], [1, 0, 0], atol=1e-5)
    assert fit.queries["curl"][2] > 0.05
    assert np.isnan(fit.queries["curl"][5])


@EVERY
def test_what_nobody_asked_for_is_not_computed_and_moves_nothing_else(path):
    _, case = simulated(4, 12, 6, seed=3)
    whole = made(path).fit(case)
    part = replace(made(path), stderr=None).fit(replace(case, diagnosed=np.array([False, True, False, True])))
    np.testing.assert_array_equal(part.rating, whole.rating)
    np.testing.assert_array_equal(part.curvature, whole.curvature)
    assert np.isnan(part.stderr).all()
    for name in ("triads", "curl"):
        np.testing.assert_array_equal(part.queries[name], np.where([0, 1, 0, 1], whole.queries[name], np.nan))
    for name in ("components", "separable", "log_loss", "steps"):
        np.testing.assert_array_equal(part.queries[name], whole.queries[name])
    assert (whole.diagnosis["diagnosed_queries"], part.diagnosis["diagnosed_queries"]) == (4, 2)
    assert part.diagnosis["dispersion"] is None
    assert part.diagnosis["not_one_dimensional_queries"] is None


@pytest.mark.parametrize("votes", [0, 3])
def test_queries_that_are_not_one_dimensional_are_named(votes):
    """Two of 60 queries have documents on a ring, each preferred to those that follow it: no rating explains that."""
    _, plain = simulated(58, 40, 8, seed=10, votes=votes)
    rng = np.random.default_rng(0)
    rings = []
    for _ in range(2):
        _, ring = simulated(1, 40, 8, seed=11, votes=votes)
        turn = (ring.edges[:, 1] - ring.edges[:, 0]) * (2 * np.pi / 40)
        p = np.clip(0.5 + 0.4 * np.sin(turn) + rng.normal(0, 0.02, len(turn)), 0, 1)
        ring = comparisons(ring.sizes, ring.edges, rng.binomial(votes, p) / votes if votes else p, ring.weight)
        rings.append(ring)
    fit = solver(Thurstone, ridge=0.1, tolerance=1e-6).fit(stacked([plain, *rings]))
    assert sorted(fit.diagnosis["not_one_dimensional"]) == [58, 59]
    assert fit.diagnosis["not_one_dimensional_queries"] == 2
    assert fit.queries["curl"][58:].min() > fit.queries["curl"][:58].max()
    assert fit.queries["triads"][58:].min() > np.nanmedian(fit.queries["triads"][:58])
    assert not solver(Thurstone, ridge=0.1, tolerance=1e-6).fit(plain).diagnosis["not_one_dimensional"]
