"""The figures of an audit, each against a known answer."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted_judges import QUERIES, position, right, table
from scipy.stats import spearmanr

from zelo.auditing.answers import JudgedPairs
from zelo.metrics import judging
from zelo.metrics.length_bias import longer_wins
from zelo.metrics.measure import Measure, Resampling
from zelo.metrics.reliability import INTERVAL, NOMINAL, agreement_of_preferences, alpha
from zelo.records import OUTCOME

DRAWS = Resampling(400, 0)
NAN = math.nan


def test_alpha_is_krippendorffs() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A and C to D: data and results."""
    four = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    ).T
    assert alpha(four, np.arange(12), NOMINAL, DRAWS).value == pytest.approx(0.743, abs=5e-4)
    found = alpha(four, np.arange(12), INTERVAL, DRAWS)
    assert found.value == pytest.approx(0.849, abs=5e-4)
    assert found.count == 11, "a unit with one value is not paired"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.849 < found.high
    two = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], float).T
    assert alpha(two, np.arange(10), NOMINAL, DRAWS).value == pytest.approx(0.095, abs=5e-4)
    assert alpha(np.full((9, 2), 3.0), np.arange(9), INTERVAL, DRAWS).missing == "all answers are the same"
    assert alpha(np.full((9, 2), NAN), np.arange(9), NOMINAL, DRAWS).missing == "no pair was answered by two judges"


def test_agreement_does_not_depend_on_which_document_is_named_first() -> None:
    random = np.random.default_rng(0)
    p = np.clip(random.random((90, 1)) + random.normal(scale=0.1, size=(90, 3)), 0, 1)
    other = np.where(random.random((90, 1)) < 0.5, 1 - p, p)
    query = np.arange(90) // 3
    assert agreement_of_preferences(p, query, DRAWS) == {
        level: Measure(*map(pytest.approx, (one.value, one.low, one.high)), one.count)  # type: ignore[arg-type]
        for level, one in agreement_of_preferences(other, query, DRAWS).items()
    }
    assert agreement_of_preferences(p, query, DRAWS)[INTERVAL].count == 90


def columns(outcomes: pa.Table, name: str) -> tuple[Any, ...]:
    found = JudgedPairs.of(outcomes)
    mine = found.judge == found.judges.index(name)
    return found.pair[mine], found.order[mine], found.p[mine], found.query, DRAWS


def test_order_and_repeats_have_known_answers() -> None:
    outcomes = table({"right": right, "position": position})
    assert judging.position_bias(*columns(outcomes, "position")).value == pytest.approx(0.4)
    assert judging.flips(*columns(outcomes, "position")).value == 1.0
    assert judging.same_again(*columns(outcomes, "position")).value == 1.0
    for measure in (judging.position_bias, judging.flips, judging.change_again):
        assert measure(*columns(outcomes, "right")).value == pytest.approx(0, abs=1e-7)
    assert judging.flips(*columns(outcomes, "right")).high == pytest.approx(1 - 0.025 ** (1 / QUERIES))
    # One pair asked three times in one order and once, with a tie, in the other.
    pair, order, p = np.zeros(4, int), np.array([0, 0, 0, 1]), np.array([0.2, 0.4, 0.9, 0.5])
    one = (pair, order, p, np.zeros(1, int), DRAWS)
    assert judging.change_again(*one).value == pytest.approx((0.2 + 0.7 + 0.5) / 3)
    assert judging.same_again(*one).value == pytest.approx(1 / 3)
    assert judging.flips(*one).value == pytest.approx(0.5)
    assert judging.position_bias(*one).value == pytest.approx((0.5 - 0.5) / 2)
    assert judging.position_bias(*one).low is None, "one query has no interval"
    none = (pair[:1], order[:1], p[:1], np.zeros(1, int), DRAWS)
    assert judging.flips(*none) == Measure.none("no pair was answered in both orders")
    assert judging.same_again(*none) == Measure.none("no pair was answered twice in one order")


def test_triads_and_circles() -> None:
    edges = np.stack(np.triu_indices(5, 1), axis=1)
    found = judging.triads(edges[::-1])
    assert len(found) == 10
    a_b, b_c, a_c = (edges[::-1][found[:, side]] for side in range(3))
    assert (a_b[:, 0] == a_c[:, 0]).all()
    assert (a_b[:, 1] == b_c[:, 0]).all()
    assert (b_c[:, 1] == a_c[:, 1]).all()
    assert not len(judging.triads(np.array([[0, 1], [1, 2], [2, 3], [0, 3]])))
    assert not len(judging.triads(np.empty((0, 2), int)))
    three, query = np.array([[0, 1], [0, 2], [1, 2]]), np.zeros(3, int)
    triad = judging.triads(three)
    for p, expected in (([0.9, 0.1, 0.9], 1.0), ([0.9, 0.9, 0.9], 0.0), ([0.1, 0.9, 0.1], 1.0)):
        assert judging.circles(np.array(p), triad, query, DRAWS).value == expected
    for p in ([0.9, 0.5, 0.9], [0.9, NAN, 0.9]):
        assert "without a tie" in judging.circles(np.array(p), triad, query, DRAWS).missing
    random = np.random.default_rng(0)
    many = np.concatenate([three + 3 * n for n in range(4000)])
    chance = judging.circles(random.random(12_000), judging.triads(many), np.arange(12_000) // 3, DRAWS)
    assert chance.value == pytest.approx(judging.CHANCE_OF_A_CIRCLE, abs=0.02)


def test_the_histogram_is_fair_to_both_sides() -> None:
    score = np.array([-1, -0.6, -0.2, 0.0, 0.2, 0.6, 1, 0.55, -0.55], np.float32)
    counts = judging.histogram(score)
    assert counts.tolist() == counts[::-1].tolist()
    assert counts.sum() == len(score)
    assert judging.histogram(np.array([0.0])).tolist() == [0, 0, 0, 0, 0.5, 0.5, 0, 0, 0, 0]
    even, one = np.full(10, 3.0), np.eye(10)[0]
    assert (judging.fullest(even), judging.evenness(even)) == (pytest.approx(0.1), pytest.approx(1))
    assert (judging.fullest(one), f"{judging.evenness(one):.2f}") == (1, "0.00"), "not -0.00"


def test_length_bias_is_spearmans_and_what_others_explain_is_taken_out() -> None:
    random = np.random.default_rng(1)
    length, relevance = random.normal(size=(2, 600))
    query = np.arange(600) // 3
    lean = length + random.normal(size=600)
    found = longer_wins(lean, length, query, DRAWS)
    both = spearmanr(np.concatenate([lean, -lean]), np.concatenate([length, -length])).statistic
    assert found.value == pytest.approx(both)
    assert found.low is not None
    assert found.high is not None
    assert found.low < both < found.high
    flipped = np.where(random.random(600) < 0.5, -1, 1)
    assert longer_wins(lean * flipped, length * flipped, query, DRAWS).value == pytest.approx(both)
    explained = relevance + 0.7 * length  # relevant documents are longer: no bias of a judge that sees relevance
    fair, biased = explained + 0.1 * random.normal(size=600), explained + 0.5 * length
    assert longer_wins(fair, length, query, DRAWS).value > 0.4  # type: ignore[operator]
    assert abs(longer_wins(fair, length, query, DRAWS, explained).value) < 0.15  # type: ignore[arg-type]
    assert longer_wins(biased, length, query, DRAWS, explained).value > 0.4  # type: ignore[operator]
    assert longer_wins(length, length, query, DRAWS, length).missing
    noise = np.where(length > 0, 1e-9, -1e-9)  # what is left of ties
    assert longer_wins(noise, length, query, DRAWS).missing
    assert "fewer than 10" in longer_wins(lean[:9], length[:9], query[:9], DRAWS).missing


def test_intervals_are_of_queries() -> None:
    """Copies of a query's pairs are no new evidence."""
    random = np.random.default_rng(0)
    few, query = random.random(20), np.arange(20)
    once, often = DRAWS.mean(few, query, ""), DRAWS.mean(np.tile(few, 9), np.tile(query, 9), "")
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    assert often.count == 180
    assert DRAWS.mean(np.empty(0), np.empty(0, int), "why").facts() == {"not_measured": "why"}
    assert DRAWS.share(np.ones(60), np.arange(60) // 3, "").low == pytest.approx(0.832, abs=1e-3)


def test_answers_undo_naming_and_order() -> None:
    outcomes = table({"right": right, "position": position})
    turned = pa.table(
        {
            **{name: outcomes[name] for name in OUTCOME.names},
            "doc_a": outcomes["doc_b"],
            "doc_b": outcomes["doc_a"],
            "p": pa.array(1 - outcomes["p"].to_numpy(), pa.float32()),
            "swapped": pa.array(~outcomes["swapped"].to_numpy()),
        },
        schema=OUTCOME,
    )
    one, other = (
        JudgedPairs.of(outcomes),
        JudgedPairs.of(turned.take(np.random.default_rng(0).permutation(len(turned)))),
    )
    assert one.doc_id.equals(other.doc_id)
    assert one.averaged() == pytest.approx(other.averaged())
    assert one.disagreements(9, 1).equals(one.disagreements(9, 1))
    for name in ("right", "position"):
        mine, theirs = (judging.position_bias(*columns(rows, name)) for rows in (outcomes, turned))
        assert mine.value == pytest.approx(theirs.value)
    nodes = one.nodes(pa.chunked_array([["q3", "q3", "no", "q3"]]), pa.chunked_array([["d2", "d0", "d1", "no"]]))
    assert [one.doc_id[n].as_py() for n in nodes[:2]] == ["d2", "d0"]
    assert (nodes[2:] == -1).all()
    pair = one.pairs(nodes[:1], nodes[1:2])[0]
    assert sorted(one.edges[pair]) == sorted(nodes[:2])
    assert one.pairs(nodes[:1], nodes[:1])[0] == -1
