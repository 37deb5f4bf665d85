"""Weights of judges from their log odds for known answers."""

import numpy as np
import pytest

from zelo.judge_weights import LEAST, learned

OTHERS = 12


def odds(items: int, *noise: float, seed: int = 0) -> np.ndarray:
    """[I, K, M]: judge m scores the answer 1 and every other document 0, blurred by N(0, noise[m]^2)."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(items, 1 + OTHERS, len(noise))) * noise
    score[:, 0] += 1
    return score[:, :1] - score[:, 1:]


def with_judge(known: np.ndarray, judge: np.ndarray) -> np.ndarray:
    return np.concatenate([known, judge[..., None]], axis=2)


def test_judges_of_known_noise_weigh_as_their_precisions() -> None:
    """The likelihood ratio of independent normal scores weighs each by 1 / variance."""
    noise = np.array([1.0, 1.5, 3.0])
    precision = noise**-2
    np.testing.assert_allclose(learned(odds(1000, *noise)).weights, precision / precision.mean(), atol=0.15)


def test_little_evidence_leaves_weights_nearly_equal_and_more_moves_them() -> None:
    """Mean distance from equal weights over draws; the truth is 0.38 away."""
    apart = [
        np.mean([abs(learned(odds(items, 1.0, 1.5, seed=seed)).weights[0] - 1) for seed in range(draws)])
        for items, draws in ((12, 8), (60, 8), (600, 2))
    ]
    assert apart[0] < apart[1] < apart[2]
    assert apart[0] < 0.2
    assert apart[2] == pytest.approx(0.38, abs=0.1)


def test_judges_that_are_alike_stay_so_however_few_items_there_are() -> None:
    for items in (10, 60):
        weights = np.array([learned(odds(items, 1.5, 1.5, 1.5, seed=seed)).weights for seed in range(6)])
        assert np.median(np.abs(weights - 1).max(1)) < 0.15
        np.testing.assert_allclose(weights.mean(0), 1, atol=0.2)


def test_four_copies_of_a_judge_are_one_voice() -> None:
    once = odds(400, 1.0, 1.3)
    copies = np.concatenate([once, np.repeat(once[..., 1:], 3, axis=2)], axis=2)
    one, many = learned(once).weights, learned(copies).weights
    np.testing.assert_allclose(many[1:], many[1], atol=0.02)
    assert many[1:].sum() / many[0] == pytest.approx(one[1] / one[0], rel=0.1)
    preferred = once @ one, copies @ many
    assert np.corrcoef(preferred[0].ravel(), preferred[1].ravel())[0, 1] > 0.999


def test_who_knows_nothing_gets_nearly_nothing() -> None:
    good = odds(300, 1.0)
    coin = np.random.default_rng(1).choice([-0.85, 0.85], good.shape[:2])  # always A, in an order that is drawn
    found = learned(with_judge(with_judge(good, coin), np.zeros(good.shape[:2]))).weights
    assert found[0] > 2.8
    assert found[1] < 0.15
    assert found[2] == LEAST


def test_the_order_of_judges_and_missing_answers_do_not_matter() -> None:
    known = odds(200, 1.0, 2.0, 1.5)
    known[np.random.default_rng(2).random(known.shape) < 0.3] = 0  # no answer, no information
    order = [2, 0, 1]
    np.testing.assert_allclose(learned(known[..., order]).weights, learned(known).weights[order], atol=0.02)
    known[:, 5:] = np.inf  # of a few other documents only
    weights = learned(known).weights
    assert weights[0] > weights[2] > weights[1]


@pytest.mark.parametrize("judges", [1, 10])
def test_any_number_of_judges_weighs_one_on_average(judges: int) -> None:
    found = learned(odds(60, *np.linspace(0.8, 2, judges)))
    assert found.weights.mean() == pytest.approx(1, abs=0.02)
    assert (found.weights >= LEAST).all()
    assert found.held_out.shape == (60, judges)
