"""Judges who differ: what is learned of them, and what that is worth against the plain mean of their answers."""

from dataclasses import replace

import numpy as np
import pytest
from certain import certain
from fake_comparisons import made_of, simulated, solver
from scipy.special import ndtr

from zelo.errors import BadInput
from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.thurstone import Thurstone

QUERIES, DOCUMENTS = 60, 50
PURE_NOISE = None
HARD = pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])


def asked(judges, hard: bool, seed: int = 1) -> tuple[np.ndarray, Comparisons, Comparisons]:
    """(true ratings, one row per judge, plain means). judges: (gain, liking for the first, sd of its latent noise) each."""
    truth, pairs = simulated(QUERIES, DOCUMENTS, 8, seed=seed)
    rng = np.random.default_rng(seed + 1)
    gap = truth[pairs.edges[:, 0]] - truth[pairs.edges[:, 1]]
    p, swapped = np.empty((len(gap), len(judges))), rng.random((len(gap), len(judges))) < 0.5
    for m, judge in enumerate(judges):
        if judge is PURE_NOISE:
            p[:, m] = rng.random(len(gap))
            continue
        gain, order, noise = judge
        seen = gain * (gap + rng.normal(0, noise, len(gap))) + order * np.where(swapped[:, m], -1, 1)
        p[:, m] = ndtr(np.sqrt(2) * seen)
    if hard:
        p = (rng.random(p.shape) < p).astype(float)
    count = len(judges)
    rows = Comparisons(
        pairs.sizes,
        np.repeat(pairs.edges, count, axis=0),
        p.ravel(),
        np.ones(p.size),
        np.tile(np.arange(count, dtype=np.int32), len(gap)),
        swapped.ravel(),
    )
    return truth, rows, Comparisons(pairs.sizes, pairs.edges, p.mean(1), np.full(len(gap), float(count)))


def fitted(judges, hard: bool) -> tuple[float, float, dict]:
    """(error of the judge-weighted ratings, of those from plain means; diagnosis): what is left after the best scale."""
    truth, rows, means = asked(judges, hard)
    ridge = 1.0 if hard else 1e-3
    weighted = made_of("judge_weighted", ridge=ridge).fit(rows)
    plain = solver(Thurstone, ridge, tolerance=1e-6).fit(means)
    truth = truth.reshape(QUERIES, DOCUMENTS)
    truth = (truth - truth.mean(1, keepdims=True)).ravel()

    def error(rating: np.ndarray) -> float:
        return float(np.sqrt(np.mean((truth - rating * (truth @ rating) / (rating @ rating)) ** 2)))

    return error(weighted.rating), error(plain.rating), weighted.diagnosis


@HARD
def test_one_judge_of_pure_noise_costs_almost_nothing(hard):
    """Measured: 0.265 against 0.334 of plain means for votes, 0.043 against 0.173 for soft labels."""
    good = (1, 0, 0.15)
    weighted, plain, said = fitted([good, good, (0, 0, 0) if hard else PURE_NOISE], hard)
    assert weighted < (0.85 if hard else 0.35) * plain
    truth, rows, _ = asked([good, good, (0, 0, 0) if hard else PURE_NOISE], hard)
    two = certain(rows.judge) < 2
    alone = replace(rows, edges=rows.edges[two], p=rows.p[two], weight=rows.weight[two], judge=None, swapped=None)
    rating = solver(Thurstone, 1.0 if hard else 1e-3, tolerance=1e-6).fit(alone).rating.reshape(QUERIES, DOCUMENTS)
    truth = truth.reshape(QUERIES, DOCUMENTS)
    truth, rating = (truth - truth.mean(1, keepdims=True)).ravel(), rating.ravel()
    least = np.sqrt(np.mean((truth - rating * (truth @ rating) / (rating @ rating)) ** 2))
    assert weighted < 1.01 * least
    assert said["judges"]["gain"][2] < 0.05
    np.testing.assert_allclose(
        said["judges"]["gain"][:2], 1, atol=0.08
    )  # the scale is that of those who know something


@HARD
def test_equal_judges_lose_nothing(hard):
    weighted, plain, said = fitted([(1, 0, 0.15)] * 3, hard)
    assert weighted < 1.005 * plain
    np.testing.assert_allclose(said["judges"]["gain"], 1, atol=0.08)
    np.testing.assert_allclose(said["judges"]["order"], 0, atol=0.05)


@HARD
def test_order_bias_is_learned_and_taken_out(hard):
    weighted, plain, said = fitted([(1, 0.3, 0.15), (1, -0.1, 0.15), (1, 0.6, 0.15)], hard)
    assert weighted < (0.97 if hard else 0.5) * plain
    np.testing.assert_allclose(said["judges"]["order"], [0.3, -0.1, 0.6], atol=0.06)


@HARD
def test_judges_who_differ_in_sharpness_or_noise_are_distinguished(hard):
    sharp, plain, said = fitted([(2, 0, 0.15), (1, 0, 0.15), (0.5, 0, 0.15)], hard)
    assert sharp < 0.95 * plain
    gain = np.array(said["judges"]["gain"])
    assert (np.diff(gain) < -0.15).all()
    if not hard:  # votes overstate the differences; only soft answers show a noise of their own
        known = np.array([2, 1, 0.5])
        known /= np.sqrt(1 + 2 * known**2 * 0.15**2)  # E F(a (D + N)): latent noise flattens the sharper judge more
        np.testing.assert_allclose(gain / gain[1], known / known[1], rtol=0.02)
        noisy, plain, said = fitted([(1, 0, 0.1), (1, 0, 0.3), (1, 0, 0.9)], hard)
        assert noisy < 0.5 * plain
        weight = said["judges"]["weight"]
        assert weight[0] > 4 * weight[1] > 12 * weight[2]


def test_a_judge_who_always_says_the_same_moves_nothing():
    """Always a half and always the first: no noise at all, and nothing known."""
    good = (1, 0, 0.15)
    two, _, _ = fitted([good, good], hard=False)
    for constant in ((0, 0, 0), (0, 1.0, 0)):
        three, _, said = fitted([good, good, constant], hard=False)
        assert three < 1.01 * two
        assert said["judges"]["gain"][2] < 0.01


@pytest.mark.parametrize(("model", "kind"), [("thurstone", Thurstone), ("bradley_terry", BradleyTerry)])
def test_one_judge_without_order_is_the_plain_model(model, kind):
    _, case = simulated(5, 20, 8, seed=2)
    weighted = made_of("judge_weighted", model=model, tolerance=1e-10)
    plain = solver(kind, weighted.ridge).fit(case)
    np.testing.assert_array_equal(weighted.fit(case).rating, plain.rating)
    one = replace(case, judge=np.zeros(len(case.p), np.int32))
    np.testing.assert_allclose(weighted.fit(one).rating, plain.rating, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weighted.fit(one).stderr, plain.stderr, rtol=1e-9)


def test_intervals_hold_the_truth_though_judges_are_learned():
    for hard in (True, False):
        truth, rows, _ = asked([(1, 0.2, 0.1), (1, 0, 0.3), (0, 0, 0) if hard else PURE_NOISE], hard)
        fit = made_of("judge_weighted", ridge=1 / 0.36 if hard else 1e-3).fit(rows)
        truth = truth.reshape(QUERIES, DOCUMENTS)
        truth = (truth - truth.mean(1, keepdims=True)).ravel()
        scale = (truth @ fit.rating) / (fit.rating @ fit.rating) if not hard else 1.0
        assert 0.85 < np.mean(np.abs(scale * fit.rating - truth) < 1.6449 * scale * fit.stderr) < 0.95


def test_rows_in_any_order_and_what_is_held_out():
    _, rows, _ = asked([(1, 0.3, 0.15), (1, 0, 0.15), PURE_NOISE], hard=False)
    fit = made_of("judge_weighted", held_out=0.2).fit(rows)
    mixed = np.random.default_rng(0).permutation(len(rows.p))
    columns = ("edges", "p", "weight", "judge", "swapped")
    again = made_of("judge_weighted").fit(replace(rows, **{name: getattr(rows, name)[mixed] for name in columns}))
    plain = made_of("judge_weighted").fit(rows)
    np.testing.assert_allclose(again.rating, plain.rating, atol=1e-4)
    said = fit.diagnosis
    assert said["held_out_log_loss_at_best"] < said["held_out_log_loss"] < said["held_out_log_loss_of_a_half"]
    np.testing.assert_allclose(fit.rating, plain.rating, atol=0.02)  # the judges were learned from four fifths


@pytest.mark.parametrize(
    ("setting", "value"), [("model", "elo"), ("judge_ridge", 0), ("ridge", 0), ("stderr", "none"), ("lapse", -1)]
)
def test_unusable_settings_are_named(setting, value):
    with pytest.raises(BadInput, match=f"judge_weighted: {setting}={value} must be"):
        made_of("judge_weighted", **{setting: value})
