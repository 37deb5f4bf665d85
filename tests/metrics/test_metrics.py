"""Metrics, agreement with the judge, and the tests over queries: golden cases and the libraries as oracles."""

import itertools
import math

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from zelo.errors import BadInput, ZeloError
from zelo.metrics.agreement import agreement, judged_gains, ndcg
from zelo.metrics.ir_measure import IrMeasure, positions, ranked, values_of
from zelo.metrics.significance import FlipTest, bootstrap, holm, holm_factor, sign_flip
from zelo.records import EXAMPLE, QREL, SCORED


def run_of(**queries: dict[str, float]) -> pa.Table:
    rows = [(query, doc, score) for query, docs in queries.items() for doc, score in docs.items()]
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=SCORED.names)


def qrels_of(**queries: dict[str, int]) -> pa.Table:
    rows = [
        {"query_id": query, "doc_id": doc, "relevance": relevance, "split": "test"}
        for query, docs in queries.items()
        for doc, relevance in docs.items()
    ]
    return pa.Table.from_pylist(rows, schema=QREL)


def test_metrics_of_a_case_worked_by_hand():
    run = run_of(q={"a": 4.0, "x": 3.0, "b": 2.0, "c": 1.0})
    qrels = qrels_of(q={"a": 1, "b": 2, "c": 0, "missed": 1}, absent={"a": 1})
    dcg = 1 / math.log2(2) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert IrMeasure(name="nDCG@10").values(run, qrels) == {"q": pytest.approx(dcg / ideal), "absent": 0.0}
    assert IrMeasure(name="R@1").values(run, qrels)["q"] == pytest.approx(1 / 3)
    assert IrMeasure(name="R@100").values(run, qrels)["q"] == pytest.approx(2 / 3)
    assert IrMeasure(name="Judged@2").values(run, qrels)["q"] == 0.5
    assert IrMeasure(name="Judged@10").values(run, qrels)["q"] == 0.75


@pytest.mark.parametrize("queries", [3, 60])
def test_measures_over_columns_are_those_of_ir_measures_to_the_last_bit(queries: int, monkeypatch: pytest.MonkeyPatch):
    names = [
        "nDCG@10",
        "nDCG",
        "nDCG(judged_only=True)@10",
        "R@5",
        "R@100",
        "P@5",
        "RR@10",
        "RR",
        "AP",
        "AP@5",
        "Judged@10",
    ]
    names += ["Success@5", "nDCG(judged_only=True)@3", "AP(rel=2)"]  # the first and the last by the library itself
    monkeypatch.setattr("zelo.metrics.ir_measure.QUERIES_AT_ONCE", 7)
    random = np.random.default_rng(queries)
    run, judged = {}, {}
    for number in random.permutation(queries).tolist():
        draw = random.permutation(40)
        some = draw[: random.integers(1, 40)].tolist()
        grades = random.integers(-1, 4, 40) if number % 4 else np.zeros(40, int)
        judged[f"q{number}"] = {f"d{doc}": int(grades[doc]) for doc in random.permutation(40)[: random.integers(1, 25)]}
        if number % 5:  # else the run lacks the query
            run[f"q{number}"] = {f"d{doc}": round(float(random.standard_normal()), 1) for doc in some}
    run["unjudged"] = {"d0": 1.0}
    strict = ranked(run_of(**run))
    asked = {
        q: dict(zip(*(part[name].to_pylist() for name in ("doc_id", "score")), strict=True))
        for q in run
        for part in [strict.filter(pc.equal(strict["query_id"], q))]
    }
    ids, found = values_of({name: IrMeasure(name=name) for name in names}, strict, qrels_of(**judged))
    assert ids == sorted(judged)
    for name in names:
        expected = dict.fromkeys(ids, 0.0)
        for one in ir_measures.iter_calc([ir_measures.parse_measure(name)], judged, asked):
            expected[one.query_id] = one.value
        assert found[name].tolist() == [expected[query] for query in ids], name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ndcg@10", "nDCG@10"),
        ("recall@10", "R@10"),
        ("NDCG@10", "nDCG@10"),
        ("nDCG@0", "cutoff"),
        ("nDCG@ten", "nDCG@10"),
        ("NumRet", "mean"),
        ("zzz", "nDCG@10"),
        ("", "nDCG@10"),
    ],
)
def test_a_wrong_metric_name_is_bad_input_with_near_names(name: str, hint: str):
    with pytest.raises(BadInput, match=hint):
        IrMeasure(name=name)


def test_ties_are_decided_by_doc_id_and_read_the_same_everywhere():
    run = run_of(q={"c": 1.0, "b": 1.0, "d": 0.0, "a": 1.0, "e": -0.0, "f": -2.0})
    found = ranked(run)
    assert found["doc_id"].to_pylist() == ["a", "b", "c", "d", "e", "f"]
    assert found.schema == SCORED
    score = found["score"].to_numpy()
    assert (np.diff(score) < 0).all()
    np.testing.assert_allclose(score, [1, 1, 1, 0, 0, -2], atol=1e-6)
    # trec_eval puts the larger doc_id first in a tie, so an unranked constant run would put "z" first
    qrels = qrels_of(q={"z": 1})
    constant = run_of(q={"z": 5.0, "a": 5.0})
    assert IrMeasure(name="nDCG@1").values(constant, qrels) == {"q": 0.0}


def test_scores_that_differ_in_64_bits_only_keep_their_order():
    found = ranked(run_of(q={"a": 1.0, "b": 1.0 + 1e-12, "c": 1.0 + 2e-12}))
    assert found["doc_id"].to_pylist() == ["c", "b", "a"]


SCORES = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-12, 1e-45, -1e-45, 3e38, -3e38, 0.1, 7.0])


@given(
    st.dictionaries(
        st.sampled_from("pqr"), st.dictionaries(st.sampled_from("abcdefgh"), SCORES, min_size=1), min_size=1
    )
)
def test_ranked_is_strict_idempotent_and_blind_to_the_order_of_rows(queries: dict[str, dict[str, float]]):
    run = run_of(**queries)
    found = ranked(run)
    expected = [
        (query, doc)
        for query in sorted(queries)
        for doc in sorted(queries[query], key=lambda d: (-queries[query][d], d))
    ]
    assert list(zip(found["query_id"].to_pylist(), found["doc_id"].to_pylist(), strict=True)) == expected
    inside = np.array([a[0] == b[0] for a, b in itertools.pairwise(expected)], bool)
    score = found["score"].to_numpy()
    assert (score[1:] < score[:-1])[inside].all()
    assert ranked(found).equals(found)
    assert ranked(run.take(list(range(len(run)))[::-1])).equals(found)
    place = [i for query in sorted(queries) for i in range(len(queries[query]))]
    assert positions(found).tolist() == place


def test_a_run_that_cannot_be_ranked_names_the_row():
    with pytest.raises(BadInput, match=r"'b' of query 'q'.*finite"):
        ranked(run_of(q={"a": 1.0, "b": math.nan}))
    with pytest.raises(BadInput, match="finite"):
        ranked(run_of(q={"a": 1e39}))
    with pytest.raises(BadInput, match=r"'a' of query 'q' comes twice"):
        ranked(pa.table({"query_id": ["q", "q"], "doc_id": ["a", "a"], "score": [1.0, 2.0]}))
    assert len(ranked(SCORED.empty_table())) == 0


def test_ndcg_of_arrays_is_that_of_ir_measures():
    random = np.random.default_rng(0)
    scores, gains = random.standard_normal((30, 40)), random.integers(0, 4, (30, 40))
    mask = random.random((30, 40)) < 0.7
    mask[0], gains[1] = False, 0
    queries = {f"{q:02}": {f"{d:02}": scores[q, d] for d in np.flatnonzero(mask[q])} for q in range(1, 30)}
    truth = {q: {d: int(gains[int(q), int(d)]) for d in docs} for q, docs in queries.items()}
    expected = IrMeasure(name="nDCG@10").values(run_of(**queries), qrels_of(**truth))
    found = ndcg(scores, gains, mask, 10)
    assert found[0] == found[1] == 0
    np.testing.assert_allclose(found[1:], [expected[q] for q in sorted(queries)], rtol=1e-12)
    alone = np.concatenate([ndcg(scores[q : q + 1], gains[q : q + 1], mask[q : q + 1], 10) for q in range(30)])
    assert (alone == found).all()  # to the last bit, whatever the batch


def test_a_constant_scorer_gains_nothing():
    gains = np.array([[1.0, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 1.0]])
    first, last = ndcg(np.ones((2, 5)), gains, np.ones((2, 5), bool), 3)
    random = np.random.default_rng(1)
    draws = ndcg(random.random((40000, 5)), np.tile(gains[0], (40000, 1)), np.ones((40000, 5), bool), 3)
    assert first == last == pytest.approx(draws.mean(), abs=0.01)


def test_a_score_that_is_not_finite_is_no_rank():
    mask = np.array([[True, True], [True, False]])
    assert ndcg(np.array([[1.0, 0], [2, math.nan]]), np.ones((2, 2)), mask, 10).tolist() == [1, 1]
    with pytest.raises(ZeloError, match="finite"):
        ndcg(np.array([[math.nan, 0], [2, 0]]), np.ones((2, 2)), mask, 10)


def test_agreement_leaves_out_what_the_judge_has_not_seen():
    rows = [("q", "a", 0.9), ("q", "b", 0.75), ("q", "c", 0.2), ("absent", "a", 1.0), ("flat", "a", 0.5)]
    examples = pa.Table.from_pylist(
        [{"query_id": q, "doc_id": d, "target": t, "weight": 1.0, "split": "dev"} for q, d, t in rows], schema=EXAMPLE
    )
    gain = judged_gains(np.array([[0.9, 0.75, 0.2]]), np.ones((1, 3), bool))[0]
    run = run_of(q={"unjudged": 9.0, "c": 5.0, "a": 4.0}, flat={"a": 1.0}, other={"a": 1.0})
    ideal = gain[0] / math.log2(2) + gain[1] / math.log2(3) + gain[2] / math.log2(4)
    first = gain[2] / math.log2(2) + gain[0] / math.log2(3)
    expected = {"q": pytest.approx(first / ideal, rel=1e-6), "absent": 0.0, "flat": 0.0}
    assert agreement(run, examples, 10) == expected
    assert agreement(run, examples.take([4, 2, 3, 0, 1]), 10) == expected
    assert agreement(run, examples.slice(0, 0), 10) == {}
    assert agreement(ranked(run), examples, 1)["q"] == pytest.approx(gain[2] / gain[0], rel=1e-6)


def test_gains_are_the_chance_of_being_the_relevant_document():
    target, mask = np.array([[0.9, 0.6, 0.3, 0.0], [0.5, 0.5, 0.5, 0.5]]), np.ones((2, 4), bool)
    mask[0, 3] = False
    odds = np.log(target[0, :3] / (1 - target[0, :3]))
    wanted = np.exp(2 * (odds - odds.mean()) / odds.std())
    gains = judged_gains(target, mask)
    np.testing.assert_allclose(gains[0, :3], wanted / wanted.sum())
    assert gains[0, 3] == 0
    assert not gains[1].any(), "where all are alike, nothing is told"
    shrunk = 1 / (1 + np.exp(-odds / 7))
    np.testing.assert_allclose(judged_gains(shrunk[None], np.ones((1, 3), bool)), gains[:1, :3])
    assert np.isfinite(judged_gains(np.array([[0.0, 1.0, 0.5]]), np.ones((1, 3), bool))).all()


def test_the_permutation_test_is_the_exhaustive_one_in_the_limit():
    difference = np.array([0.3, -0.1, 0.2, 0.25, 0.0, 0.4, -0.05, 0.1, 0.1, 0.2])
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12).mean()
    assert scipy.stats.permutation_test(
        (difference, np.zeros(10)), lambda a, b: np.mean(a - b), permutation_type="samples"
    ).pvalue == pytest.approx(exact)
    n = 200_000
    p = sign_flip(np.stack([difference, -difference, np.zeros(10), np.full(10, 0.1)]), n, seed=0)
    assert p[0] == p[1] == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / n))
    assert p[2] == 1
    assert p[3] == pytest.approx(2 / 1024, abs=4e-4)
    assert sign_flip(np.full((1, 200), 0.1), 999, seed=0) == [1 / 1000]  # never 0


def test_an_interval_holds_zero_exactly_where_the_corrected_p_value_is_above_the_level():
    random, told = np.random.default_rng(5), []
    for queries in (1, 2, 5, 8, 12, 30, 31, 80) * 30:
        tests = int(random.integers(1, 7))
        difference = random.standard_normal((tests, queries)) + random.choice([0, 0.2, 0.5, -0.4], (tests, 1))
        if random.random() < 0.5:  # ties and queries without a difference, as nDCG has them
            difference = np.round(difference) / 10
        test = FlipTest.of(difference, int(random.choice([100, 999, 2000])), seed=int(random.integers(9)))
        low, high = test.interval(0.05 / holm_factor(test.p()))
        assert ((low <= test.mean) & (test.mean <= high)).all()
        outside = (low > 0) | (high < 0)
        np.testing.assert_array_equal(outside, holm(test.p()) < 0.05)
        np.testing.assert_array_equal(np.sign(test.mean[outside]), np.where(low > 0, 1, -1)[outside])
        told += outside.tolist()
    assert 50 < sum(told) < len(told) - 50


def test_an_interval_is_what_the_permutation_test_does_not_refuse():
    difference = np.random.default_rng(2).standard_normal((1, 15)) * 0.1 + 0.04
    for level in (0.05, 0.01):
        ends = FlipTest.of(difference, 2000, seed=0).interval(np.array([level]))
        for end, inward in zip(ends, (1e-6, -1e-6), strict=True):
            inside, outside = (sign_flip(difference - (end + step), 2000, seed=0)[0] for step in (inward, -inward))
            assert outside < level <= inside
    peer = scipy.stats.ttest_1samp(difference[0], 0).confidence_interval(0.95)  # normal: near Student's
    np.testing.assert_allclose(np.ravel(FlipTest.of(difference, 20_000, 0).interval(np.array([0.05]))), peer, atol=0.01)


def test_the_bootstrap_interval_is_scipys():
    values = np.random.default_rng(3).beta(0.5, 0.8, (2, 80))
    low, high = bootstrap(values, 20_000, seed=0)
    peer = scipy.stats.bootstrap((values,), np.mean, axis=-1, method="percentile", n_resamples=20_000, rng=1)
    np.testing.assert_allclose([low, high], peer.confidence_interval, atol=0.003)
    assert bootstrap(values[1:], 20_000, seed=0)[0] == pytest.approx(low[1:], abs=1e-15)
    assert (low < high).all()


def test_holm_by_hand():
    # 4 x 0.01 = 0.04, 3 x 0.02 = 0.06, 2 x 0.022 = 0.044 -> 0.06, 1 x 0.4
    np.testing.assert_allclose(holm(np.array([0.4, 0.01, 0.022, 0.02])), [0.4, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []


def test_names_are_as_ir_measures_writes_them():
    for name in ("nDCG@10", "R@10", "R@100", "Judged@10"):
        assert str(ir_measures.parse_measure(IrMeasure(name=name).name)) == name
