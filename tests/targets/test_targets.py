"""Targets and selections: the contract of every option, known values, and what is refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, expit

from zelo.errors import BadInput
from zelo.protocols import CrossQueryTarget
from zelo.records import Rated, starts
from zelo.targets.all import All
from zelo.targets.link import Link
from zelo.targets.quantile import Quantile
from zelo.targets.rubric_gain import RubricGain
from zelo.targets.stratified import Stratified

CONF = Path(__file__).parents[2] / "conf"
TARGETS = sorted(path.stem for path in (CONF / "target").glob("*.yaml"))
SELECTIONS = sorted(path.stem for path in (CONF / "selection").glob("*.yaml"))
CRITERIA = np.array([[1.0, -1.0], [1.5, 0.0], [0.5, 1.0]])
EVERY = All(var0=None)


def probability(difference: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + erf(difference))


def rated(rating, stderr, sizes, seeds, link, criteria: np.ndarray | None = CRITERIA) -> Rated:
    return Rated(sizes, rating, stderr, seeds, np.zeros(len(sizes), np.int32), link, criteria)


@pytest.mark.parametrize("option", TARGETS)
def test_target_contract(option, component):
    made = component(f"target/{option}")
    rating = np.sort(np.random.default_rng(0).normal(size=50))
    sizes, seeds = np.array([20, 30]), np.array([1, 2], np.uint64)
    target, weight = made.targets(rated(rating, np.full(50, 0.1), sizes, seeds, probability))
    assert target.shape == weight.shape == (50,)
    assert ((target >= 0) & (target <= 1)).all()
    assert (np.diff(target) > 0).all(), "a better document has no higher target"
    assert (weight == 1).all()
    if not isinstance(made, CrossQueryTarget):
        alone = made.targets(rated(rating[:20], np.full(20, 0.1), sizes[:1], seeds[:1], probability))
        assert (np.stack(alone) == np.stack([target, weight])[:, :20]).all(), "other queries count"
    with pytest.raises(BadInput, match="rating number 7 is nan"):
        made.targets(rated(np.where(np.arange(50) == 7, np.nan, rating), rating, sizes, seeds, probability))


@pytest.mark.parametrize("option", TARGETS)
def test_a_target_weighs_as_its_selection_says(option, component):
    made = component(f"target/{option}", selection={"_target_": "zelo.targets.all.All", "var0": 0.04})
    stderr = np.array([0.0, 0.2, 0.6])
    _, weight = made.targets(rated(np.zeros(3), stderr, np.array([3]), np.ones(1, np.uint64), expit))
    np.testing.assert_allclose(weight, [1, 1 / 2, 1 / 10])


def test_link_is_the_probability_of_beating_the_mean_document():
    rating, sizes, seeds = np.array([-1.0, 0.0, 2.0]), np.array([3]), np.ones(1, np.uint64)
    target, weight = Link(temperature=1.0, selection=EVERY).targets(rated(rating, np.ones(3), sizes, seeds, expit))
    np.testing.assert_allclose(target, [1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2))])
    np.testing.assert_array_equal(weight, 1)
    warm = Link(temperature=2.0, selection=EVERY).targets(rated(rating, np.ones(3), sizes, seeds, expit))[0]
    np.testing.assert_allclose(warm, expit(rating / 2))
    with pytest.raises(BadInput, match="temperature=0"):
        Link(temperature=0, selection=EVERY)


def test_quantile_counts_equal_ratings_half():
    rating = np.array([0.3, -2.0, 0.3, 5.0])
    found = Quantile(selection=EVERY).targets(
        rated(rating, np.ones(4), np.array([1, 3]), np.ones(2, np.uint64), expit)
    )[0]
    np.testing.assert_allclose(found, [0.5, 0.125, 0.5, 0.875])
    nothing = Quantile(selection=EVERY).targets(rated(np.empty(0), np.empty(0), np.empty(0, int), np.empty(0), expit))
    assert [len(part) for part in nothing] == [0, 0]


def test_rubric_gain_is_the_expected_share_of_criteria_met():
    gain, one, seed = RubricGain(selection=EVERY), np.array([1]), np.ones(1, np.uint64)
    rating = np.array([0.4])
    found = gain.targets(rated(rating, np.ones(1), one, seed, expit))[0]
    assert found[0] == pytest.approx((expit(1.4) + 1.5 * expit(0.6) + 0.5 * expit(-0.3)) / 3)
    with pytest.raises(BadInput, match="calibrator=rubric"):
        gain.targets(rated(rating, np.ones(1), one, seed, expit, None))


@pytest.mark.parametrize("option", SELECTIONS)
def test_selection_contract(option, component):
    """What a query keeps follows from itself: alone, in another order or in a batch it is the same."""
    selection = component(f"selection/{option}")
    rng = np.random.default_rng(1)
    sizes = np.array([100, 3, 60, 0, 100, 1, 46, 45])
    first, seeds = starts(sizes), rng.integers(0, 2**64, len(sizes), dtype=np.uint64)
    rating, stderr = rng.normal(size=sizes.sum()), rng.random(sizes.sum())
    together = selection.weights(rating, stderr, sizes, seeds)
    assert together.shape == rating.shape
    assert ((together >= 0) & (together <= 1)).all()
    for q, size in enumerate(sizes):
        rows = slice(first[q], first[q + 1])
        alone = selection.weights(rating[rows], stderr[rows], np.array([size]), seeds[[q]])
        np.testing.assert_array_equal(alone, together[rows])
        assert size == 0 or alone.any()


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(0, 2**64 - 1),
)
def test_stratified_takes_the_best_and_one_of_each_equal_part_of_the_rest(values, documents, top, seed):
    top = min(top, documents)
    rating, n = np.array(values, float), len(values)
    selection = Stratified(documents=documents, top=top, var0=None)
    weight = selection.weights(rating, np.ones(n), np.array([n]), np.array([seed], np.uint64))
    assert set(weight.tolist()) <= {0.0, 1.0}
    assert weight.sum() == min(n, documents)
    if n <= documents:
        return
    ranked = weight[np.argsort(-rating, kind="stable")]
    assert ranked[:top].all()
    parts = documents - top
    edges = [top + part * (n - top) // parts for part in range(parts)] + [n] if parts else []
    assert all(ranked[a:b].sum() == 1 for a, b in pairwise(edges))


def test_stratified_draws_all_heights_alike():
    n, queries = 100, 2000
    selection = Stratified(documents=45, top=10, var0=None)
    seeds = np.random.default_rng(2).integers(0, 2**64, queries, dtype=np.uint64)
    rating = np.tile(np.arange(n)[::-1].astype(float), queries)
    often = selection.weights(rating, np.ones(n * queries), np.full(queries, n), seeds).reshape(queries, n).mean(0)
    assert (often[:10] == 1).all()
    blocks = often[10:].reshape(10, 9).mean(1)
    np.testing.assert_allclose(blocks, 35 / 90, atol=0.04)
    assert (often[10:] > 0.25).all()


def test_stratified_weighs_by_certainty():
    selection = Stratified(documents=2, top=1, var0=1.0)
    weight = selection.weights(
        np.array([3.0, 2.0, 1.0]), np.array([1.0, 3.0, 3.0]), np.array([3]), np.ones(1, np.uint64)
    )
    assert weight[0] == 0.5
    assert sorted(weight[1:]) == [0.0, 0.1]


def test_selection_refuses():
    for make, message in (
        (lambda: All(var0=0.0), "var0=0"),
        (lambda: Stratified(documents=0, top=0, var0=None), "documents=0"),
        (lambda: Stratified(documents=5, top=6, var0=None), "top=6"),
        (lambda: Stratified(documents=5, top=1, var0=np.nan), "var0=nan"),
    ):
        with pytest.raises(BadInput, match=message):
            make()
    with pytest.raises(BadInput, match="standard error number 1 is nan"):
        All(var0=1.0).weights(np.zeros(2), np.array([1.0, np.nan]), np.array([2]), np.ones(1, np.uint64))
