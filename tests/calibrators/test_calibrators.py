"""Calibrators: the contract of every option, exact cases, peers that minimise the same function, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certain import certain
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, log_ndtr

from zelo.calibrators.anchor import Anchor
from zelo.calibrators.documents import nearest, spread
from zelo.calibrators.none import NoCalibration
from zelo.calibrators.offset import Offset
from zelo.calibrators.rubric import Rubric
from zelo.errors import BadInput
from zelo.graphs.cross_query import CrossQuery
from zelo.likelihood.links import Logit, Probit
from zelo.records import Answers, Asks, Rated, starts

OPTIONS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "calibrator").glob("*.yaml"))
GAMMA, BETA = np.array([0.8, 1.2, 1.0, 1.1, 0.9]), np.array([-1.4, -0.7, 0.0, 0.7, 1.4])
LOGIT, PROBIT = Logit(), Probit()
GHOST = -4.0  # relevance of a document of another query, in logits


def offset(**changes) -> Offset:
    fields: dict[str, Any] = {"rounds": 2, "ridge": 0.05, "slope": 1.0, "graph": CrossQuery(degree=2)}
    return Offset(**(fields | changes))


class World:
    """Queries with a level of their own, which zero-mean ratings hide; a judge that knows it, in logits."""

    def __init__(self, queries: int = 60, seed: int = 0, link=LOGIT) -> None:
        rng = np.random.default_rng(seed)
        sizes = rng.integers(3, 30, queries)
        self.query = np.repeat(np.arange(queries), sizes)
        relevance = rng.normal(0, 1.2, sizes.sum())
        relevance -= (np.bincount(self.query, relevance) / sizes)[self.query]
        self.level = rng.normal(0, 1.5, queries)
        self.truth = relevance + self.level[self.query]
        seeds = rng.integers(0, 2**64, queries, dtype=np.uint64)
        domain = rng.integers(0, 3, queries, dtype=np.int32)
        self.rated = Rated(sizes, relevance, np.full(len(relevance), 0.1), seeds, domain, link)

    def probability(self, asks: Asks) -> np.ndarray:
        level = self.truth[asks.a]
        if asks.criterion is not None:
            return expit(GAMMA[asks.criterion] * (level - BETA[asks.criterion]))
        return self.rated.link(level - (self.truth[asks.b] if asks.across else GHOST))

    def answers(self, calibrator, votes: int = 0, seed: int = 0) -> Answers | None:
        """Answers to all that it asks: probabilities, or the mean of so many votes."""
        rng, answers = np.random.default_rng(seed), None
        while hasattr(calibrator, "asks") and (asks := calibrator.asks(self.rated, answers)) is not None:
            p = self.probability(asks)
            new = Answers(asks, rng.binomial(votes, p) / votes if votes else p, np.full(len(p), max(votes, 1.0)))
            answers = new if answers is None else answers.and_then(new)
        return answers


@pytest.mark.parametrize("option", OPTIONS)
def test_contract(option, component):
    calibrator, world = component(f"calibrator/{option}"), World()
    answers = world.answers(calibrator)
    scale = calibrator.fit(world.rated, answers)
    assert scale.offset.shape == scale.scale.shape == scale.stderr.shape == (60,)
    assert np.isfinite(scale.offset).all()
    assert (scale.scale > 0).all()
    if option == "none":
        assert answers is None
        assert not scale.offset.any()
        return
    assert (scale.stderr > 0).all()
    found = world.rated.rating * scale.scale[world.query] + scale.offset[world.query]
    assert np.corrcoef(world.rated.rating, world.truth)[0, 1] < 0.7
    assert np.corrcoef(found, world.truth)[0, 1] > 0.93


@pytest.mark.parametrize("option", OPTIONS)
def test_the_order_of_queries_does_not_matter(option, component):
    calibrator, world = component(f"calibrator/{option}"), World()
    first, order = starts(world.rated.sizes), np.random.default_rng(1).permutation(60)
    rows = np.concatenate([np.arange(int(first[q]), int(first[q + 1])) for q in order])
    other = World()
    other.truth, other.query = world.truth[rows], np.repeat(np.arange(60), world.rated.sizes[order])
    rated = world.rated
    other.rated = Rated(
        rated.sizes[order], rated.rating[rows], rated.stderr[rows], rated.seeds[order], rated.domain[order], rated.link
    )
    one, another = world.answers(calibrator), other.answers(calibrator)
    if one is not None and another is not None:
        asked = {(a, b) for a, b in zip(one.asks.a.tolist(), one.asks.b.tolist(), strict=True)}
        assert asked == {(rows[a], rows[b]) for a, b in zip(another.asks.a, another.asks.b, strict=True)}
    one, another = calibrator.fit(world.rated, one), calibrator.fit(other.rated, another)
    np.testing.assert_allclose(another.offset, one.offset[order], atol=1e-6)
    np.testing.assert_allclose(another.scale, one.scale[order], atol=1e-6)


@pytest.mark.parametrize(
    "calibrator",
    [
        offset(ridge=1e-7),
        Anchor(by="grades", documents=5, criteria=5, ridge=1.0),
        Anchor(by="ghost", documents=5, criteria=5, ridge=1e-7),
    ],
    ids=["offset", "grades", "ghost"],
)
def test_a_constant_added_to_the_ratings_of_a_query_is_taken_out_again(calibrator):
    world = World()
    answers = certain(world.answers(calibrator))
    shift = np.random.default_rng(2).normal(0, 1, 60)
    moved = replace(world.rated, rating=world.rated.rating + shift[world.query])
    before, after = calibrator.fit(world.rated, answers).offset, calibrator.fit(moved, answers).offset
    change = after + shift - before
    np.testing.assert_allclose(change, change.mean(), atol=2e-4)


def test_two_queries_differ_by_what_the_answer_says_beyond_the_ratings():
    rated = Rated(
        np.array([1, 1]), np.array([0.7, -0.2]), np.ones(2), np.arange(2, dtype=np.uint64), np.zeros(2), PROBIT
    )
    answers = Answers(Asks(np.array([0]), np.array([1]), True), np.array([0.8]), np.array([1.0]))
    scale = offset(ridge=1e-9).fit(rated, answers)
    # Phi(sqrt 2 D) = 0.8 at D = 0.8416212 / sqrt 2
    assert scale.offset[0] - scale.offset[1] == pytest.approx(0.8416212 / np.sqrt(2) - 0.9, abs=1e-4)
    assert scale.offset.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("slope", [1.0, None])
@pytest.mark.parametrize(
    ("link", "log_link"),
    [(LOGIT, lambda d: -np.logaddexp(0, -d)), (PROBIT, lambda d: log_ndtr(np.sqrt(2) * d))],
    ids=["bradley_terry", "thurstone"],
)
def test_offset_is_the_mode_of_the_posterior(link, log_link, slope):
    world = World(queries=25, seed=3, link=link)
    calibrator = offset(ridge=0.3, slope=slope)
    answers = certain(world.answers(calibrator, votes=2))
    asks, weight, p = answers.asks, answers.weight, answers.p
    handicap = world.rated.rating[asks.a] - world.rated.rating[asks.b]
    first, second = world.query[asks.a], world.query[asks.b]

    def loss(x):
        gap = (x[-1] if slope is None else slope) * handicap + x[first] - x[second]
        data = -np.sum(weight * (p * log_link(gap) + (1 - p) * log_link(-gap)))
        return data + 0.15 * np.sum(x[:-1] ** 2) + (x[-1] - 1) ** 2 / 2

    peer = minimize(loss, np.append(np.zeros(25), 1.0), method="BFGS", options={"gtol": 1e-5, "maxiter": 500}).x
    scale = calibrator.fit(world.rated, answers)
    np.testing.assert_allclose(scale.offset, peer[:-1] / peer[-1], atol=2e-4)
    assert scale.diagnosis["slope"] == pytest.approx(peer[-1], abs=1e-4)


def test_standard_errors_of_offsets_hold_for_votes():
    world = World(queries=600, seed=4)
    calibrator = offset(rounds=1, ridge=0.4, graph=CrossQuery(degree=4))
    scale = calibrator.fit(world.rated, world.answers(calibrator, votes=3))
    z = (scale.offset - (world.level - world.level.mean())) / scale.stderr
    assert 0.9 < z.std() < 1.1
    assert scale.diagnosis["log_loss"] < scale.diagnosis["log_loss_without"]


def test_what_failed_is_left_out_and_asked_no_more():
    world, calibrator = World(), offset()
    answers = certain(world.answers(calibrator))
    lost = np.arange(len(answers.p)) % 7 == 3
    failed = replace(answers, p=np.where(lost, np.nan, answers.p), weight=np.where(lost, np.nan, answers.weight))
    asks = Asks(answers.asks.a[~lost], answers.asks.b[~lost], True)
    without = Answers(asks, answers.p[~lost], answers.weight[~lost])
    np.testing.assert_array_equal(
        calibrator.fit(world.rated, failed).offset, calibrator.fit(world.rated, without).offset
    )
    assert calibrator.asks(world.rated, failed) is None


def test_the_second_round_asks_for_what_is_predicted_to_be_equal():
    world, calibrator = World(), offset()
    first = certain(calibrator.asks(world.rated, None))
    answers = Answers(first, world.probability(first), np.ones(len(first.a)))
    second = certain(calibrator.asks(world.rated, answers))
    gap = np.abs(world.truth[second.a] - world.truth[second.b])
    assert np.median(gap) < 0.25 * np.median(np.abs(world.truth[first.a] - world.truth[first.b]))
    again = certain(calibrator.asks(world.rated, answers))
    np.testing.assert_array_equal(again.a, second.a)
    np.testing.assert_array_equal(again.b, second.b)


def test_a_single_query_needs_no_answers():
    world = World(queries=1)
    assert offset().asks(world.rated, None) is None
    assert offset().fit(world.rated, None).offset.tolist() == [0.0]


ratings = st.lists(st.lists(st.integers(-4, 4), min_size=1, max_size=9), min_size=1, max_size=5)


def rated_lists(lists: list[list[int]]) -> Rated:
    sizes, flat = np.array([len(row) for row in lists]), np.concatenate(lists).astype(float)
    return Rated(sizes, flat, np.ones(len(flat)), np.arange(len(lists), dtype=np.uint64), np.zeros(len(lists)), LOGIT)


@given(ratings, st.integers(-5, 5))
def test_nearest_is_nearest(lists, wanted):
    rated = rated_lists(lists)
    queries = np.arange(len(lists))
    found = nearest(rated, queries, np.full(len(lists), wanted + 0.4))
    for q, (row, document) in enumerate(zip(lists, found - starts(rated.sizes)[:-1], strict=True)):
        assert 0 <= document < len(row), q
        assert abs(row[document] - wanted - 0.4) == min(abs(value - wanted - 0.4) for value in row)


@given(ratings, st.integers(2, 6))
def test_documents_are_spread_over_the_ratings(lists, count):
    rated = rated_lists(lists)
    chosen = spread(rated, count)
    assert len(set(chosen.tolist())) == len(chosen)
    for row, begin in zip(lists, starts(rated.sizes)[:-1], strict=True):
        mine = [row[d - begin] for d in chosen if begin <= d < begin + len(row)]
        assert len(mine) == min(count, len(row))
        assert mine == sorted(mine, reverse=True)
        assert mine[0] == max(row)
        assert len(row) == 1 or mine[-1] == min(row)


def test_rubric_is_the_mode_of_its_posterior():
    world = World(queries=12, seed=5)
    calibrator = Rubric(criteria=5, documents=6)
    answers = certain(world.answers(calibrator, votes=1))
    theta, query = world.rated.rating[answers.asks.a], world.query[answers.asks.a]
    criterion, met = answers.asks.criterion, answers.p

    def curves(x):
        raw, alpha, free, beta = np.split(x, [12, 24, 29])
        gamma = 5 * np.exp(free) / np.exp(free).sum()
        return np.logaddexp(0, raw), alpha, gamma, beta - beta.mean()

    def loss(x):
        tau, alpha, gamma, beta = curves(x)
        z = gamma[criterion] * (tau[query] * theta + alpha[query] - beta[criterion])
        data = np.sum(np.logaddexp(0, z) - met * z)
        return data + np.sum((tau - 1) ** 2) / 2 + np.sum(alpha**2) / 8 + 0.5e-4 * np.sum(x[24:] ** 2)

    peer = curves(minimize(loss, np.full(34, 0.1), method="BFGS", options={"gtol": 1e-6, "maxiter": 2000}).x)
    scale = calibrator.fit(world.rated, answers)
    np.testing.assert_allclose(scale.scale, peer[0], atol=1e-3)
    np.testing.assert_allclose(scale.offset, peer[1], atol=1e-3)
    np.testing.assert_allclose(scale.diagnosis["discrimination"], peer[2], atol=1e-3)
    np.testing.assert_allclose(scale.diagnosis["difficulty"], peer[3], atol=1e-3)
    assert sum(scale.diagnosis["discrimination"]) == pytest.approx(5, abs=1e-6)
    assert sum(scale.diagnosis["difficulty"]) == pytest.approx(0, abs=1e-6)


def test_the_rubric_says_the_same_in_any_unit_of_the_ratings():
    """A link that is twice as steep has ratings half as large; their standing in logits is the same."""
    world, calibrator = World(queries=12, seed=5), Rubric(criteria=5, documents=6)
    answers = certain(world.answers(calibrator, votes=1))

    class Steep(Logit):
        slope = 0.5

    steep = replace(world.rated, rating=world.rated.rating / 2, link=Steep())
    one, two = calibrator.fit(world.rated, answers), calibrator.fit(steep, answers)
    np.testing.assert_allclose(two.scale, one.scale, atol=1e-5)
    np.testing.assert_allclose(2 * two.offset, one.offset, atol=1e-5)


def test_rubric_criteria_are_found():
    world = World(queries=400, seed=6)
    calibrator = Rubric(criteria=5, documents=10)
    diagnosis = calibrator.fit(world.rated, world.answers(calibrator, votes=1)).diagnosis
    np.testing.assert_allclose(diagnosis["discrimination"], GAMMA, atol=0.12)
    np.testing.assert_allclose(diagnosis["difficulty"], BETA, atol=0.15)


def test_a_document_without_all_its_grades_counts_for_nothing_and_is_counted():
    world, calibrator = World(), Anchor(by="grades", documents=5, criteria=5, ridge=1.0)
    answers = certain(world.answers(calibrator))
    p = answers.p.copy()
    p[3] = np.nan
    found = calibrator.fit(world.rated, replace(answers, p=p))
    assert found.diagnosis["incomplete"] == 1
    assert found.diagnosis["graded"] == len(p) / 5 - 1


def spoilt(change):
    """Answers to the first round of offsets, spoilt."""
    world = World()
    asks = certain(offset().asks(world.rated, None))
    answers = Answers(asks, np.full(len(asks.a), 0.5), np.ones(len(asks.a)))
    return world.rated, change(answers)


def put(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values = values.copy()
    values[row] = value
    return values


def without_query(answers: Answers) -> Answers:
    query = World().query
    touched = (query[answers.asks.a] == 17) | (query[answers.asks.b] == 17)
    return replace(answers, p=np.where(touched, np.nan, answers.p))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: replace(a, p=put(a.p, 4, 1.2)), "answer number 4 is 1.2"),
        (lambda a: replace(a, p=put(a.p, 4, -0.1)), "answer number 4 is -0.1"),
        (lambda a: replace(a, weight=put(a.weight, 5, -1)), "answer number 5 is -1"),
        (lambda a: replace(a, weight=put(a.weight, 5, np.inf)), "answer number 5 is inf"),
        (lambda a: replace(a, asks=replace(a.asks, b=put(a.asks.b, 6, 10**6))), "question number 6 is 1000000"),
        (lambda a: replace(a, asks=replace(a.asks, b=a.asks.a)), "pair number 0 .* within one query"),
        (lambda a: replace(a, asks=replace(a.asks, across=False)), "within one query"),
        (without_query, r"60 queries in 2 disconnected parts: 1 are outside the largest \(query numbers 17\)"),
        (lambda a: None, r"60 queries in 60 disconnected parts: 59 are outside"),
    ],
)
def test_offset_refuses(change, message):
    rated, answers = spoilt(change)
    with pytest.raises(BadInput, match=message):
        offset().fit(rated, answers)


def test_answers_that_contradict_the_ratings_are_refused():
    world = World(queries=40)
    calibrator = offset(slope=None)
    answers = certain(world.answers(calibrator))
    handicap = world.rated.rating[answers.asks.a] - world.rated.rating[answers.asks.b]
    with pytest.raises(BadInput, match="against the ratings"):
        calibrator.fit(world.rated, replace(answers, p=expit(-3 * handicap)))


@pytest.mark.parametrize(
    "calibrator",
    [
        Rubric(criteria=5, documents=5),
        Anchor(by="grades", documents=5, criteria=5, ridge=1.0),
        Anchor(by="ghost", documents=5, criteria=5, ridge=1.0),
    ],
    ids=["rubric", "grades", "ghost"],
)
def test_a_query_without_answers_is_named(calibrator):
    world = World()
    answers = certain(world.answers(calibrator))
    gone = np.isin(world.query[answers.asks.a], [3, 40])
    with pytest.raises(BadInput, match=r"2 of 60 queries have no .* \(query numbers 3, 40\)"):
        calibrator.fit(world.rated, replace(answers, p=np.where(gone, np.nan, answers.p)))
    with pytest.raises(BadInput, match="60 of 60 queries"):
        calibrator.fit(world.rated, None)


def test_answers_on_other_criteria_are_refused():
    world = World()
    answers = certain(world.answers(Rubric(criteria=5, documents=3)))
    for calibrator in (Rubric(criteria=3, documents=3), Anchor(by="grades", documents=3, criteria=3, ridge=1.0)):
        with pytest.raises(BadInput, match="criterion 3 of 3"):
            calibrator.fit(world.rated, answers)
    with pytest.raises(BadInput, match="own questions"):
        Anchor(by="ghost", documents=3, criteria=3, ridge=1.0).fit(world.rated, answers)
    with pytest.raises(BadInput, match="own questions"):
        Rubric(criteria=5, documents=3).fit(world.rated, world.answers(offset()))


def test_a_rating_that_is_no_number_is_named():
    rated = replace(World().rated, rating=put(World().rated.rating, 8, np.nan))
    with pytest.raises(BadInput, match="rating number 8 is nan"):
        offset().fit(rated, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"rounds": 0},
        {"ridge": 0.0},
        {"ridge": np.nan},
        {"slope": -1.0},
    ],
)
def test_offset_settings(fields):
    with pytest.raises(BadInput, match=f"{next(iter(fields))}="):
        offset(**fields)


def test_other_settings():
    for make in (
        lambda: Rubric(criteria=1, documents=5),
        lambda: Rubric(criteria=5, documents=1),
        lambda: Anchor(by="stars", documents=5, criteria=5, ridge=1.0),  # type: ignore[reportArgumentType]  # refused
        lambda: Anchor(by="ghost", documents=1, criteria=5, ridge=1.0),
        lambda: Anchor(by="ghost", documents=5, criteria=5, ridge=0.0),
    ):
        with pytest.raises(BadInput, match="calibrator="):
            make()
    assert not hasattr(NoCalibration(), "asks"), "whoever asks nobody needs no key"
