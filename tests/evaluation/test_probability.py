"""Scores as probabilities and thresholds: cases worked by hand, and intervals that hold what they promise."""

import numpy as np
import pytest
from scipy.special import expit, logit

from zelo.evaluation.labelled_scores import LabelledScores
from zelo.evaluation.probability import platt, reliability, report, words_of
from zelo.evaluation.threshold import chosen, measured
from zelo.metrics.measure import Resampling

INTERVAL = Resampling(300, 0)
QUERIES = {"dev": 40, "test": 40}


def scores(seed: int, queries: int = 40, shift: float = 0.0) -> LabelledScores:
    """Log odds, and documents that are relevant with these; `shift` is added to what the system says."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1.0, 2.0, queries * 25)
    relevant = random.random(len(odds)) < expit(odds)
    query = np.repeat(np.arange(queries), 25)
    return LabelledScores(odds + shift, relevant, query, np.bincount(query[relevant], minlength=queries))


def together(*parts: LabelledScores) -> LabelledScores:
    """Queries of several domains."""
    first = np.cumsum([0, *(len(part.labelled) for part in parts)])
    query = [part.query + start for part, start in zip(parts, first[:-1], strict=True)]
    columns = [(part.score, part.relevant, part.labelled) for part in parts]
    score, relevant, labelled = (np.concatenate(column) for column in zip(*columns, strict=True))
    return LabelledScores(score, relevant, np.concatenate(query), labelled)


def test_platt_scaling_of_two_scores_is_the_share_of_each():
    score, relevant = np.repeat([2.0, 5.0], [60, 40]), np.zeros(100, bool)
    relevant[[*range(10), *range(60, 90)]] = True  # 10 of 60, and 30 of 40
    slope, intercept = platt(score, relevant) or (0.0, 0.0)
    high, low = 41 / 42, 1 / 62  # targets of 40 relevant and 60 other documents
    for at, hits, others in ((2.0, 10, 50), (5.0, 30, 10)):
        share = (hits * high + others * low) / (hits + others)
        assert slope * at + intercept == pytest.approx(logit(share), abs=1e-6)
    many = scores(1, 2000)
    assert platt(many.score * 3 + 1, many.relevant) == pytest.approx((1 / 3, -1 / 3), abs=0.02)
    assert platt(score, np.zeros(100, bool)) is None


def test_calibration_error_of_two_groups_and_of_true_probabilities():
    p, query = np.repeat([0.2, 0.9], 100), np.tile(np.arange(20), 10)
    relevant = np.concatenate([np.arange(100) < 30, np.arange(100) < 80])
    found = reliability(p, relevant, query, 20, INTERVAL)
    assert found["ece"]["value"] == pytest.approx(0.1)  # 0.1 too low, and 0.1 too high
    assert [(part["p"], part["relevant"], part["documents"]) for part in found["parts"]] == [
        (pytest.approx(0.2), 0.3, 100),
        (pytest.approx(0.9), 0.8, 100),
    ]
    true = scores(2, 2000)
    right, wrong = (reliability(expit(true.score + off), true.relevant, true.query, 2000, INTERVAL) for off in (0, 1))
    assert right["ece"]["value"] < 0.01
    assert wrong["ece"]["ci_low"] > 0.05
    assert sum(part["ci_low"] <= part["p"] <= part["ci_high"] for part in right["parts"]) >= 8


def test_a_threshold_keeps_as_much_as_the_precision_allows():
    score = np.arange(40, 0, -1.0)
    relevant = np.isin(score, [40, 39, 38, 36, 35, 34, 33, 32, 31, 30, 25, 3])  # 10 of the 11 best, 11 of 16, 12 of 38
    dev = LabelledScores(score, relevant, np.arange(40) % 4, np.array([4, 3, 3, 3]))  # one of them is not ranked
    cut = chosen(dev, 0.65, INTERVAL)
    assert (cut.score, cut.precision, cut.documents) == (25, 11 / 16, 16)
    assert cut.low is None, "four queries are too few for an interval"
    assert chosen(dev, 0.9, INTERVAL).score == 30
    none = chosen(dev, 0.95, INTERVAL)
    assert (none.score, none.precision, none.documents) == (None, 10 / 11, 11)
    found = measured(dev, 25, INTERVAL)
    assert found["precision"]["value"] == 11 / 16
    assert found["recall"]["value"] == pytest.approx(11 / 13)
    words = words_of("s", report(dev, dev, ({}, {}), 0.95, 300, 0), 0.95, QUERIES)
    assert words[-1] == (
        "s: a precision of 95% cannot be reached on 40 dev queries at any threshold; the best is 91% of 11 documents"
    )


def test_intervals_of_threshold_and_precision_cover_the_truth():
    large = scores(0, 4000)
    truth = chosen(large, 0.7, Resampling(1, 0)).score
    assert truth is not None
    covered = np.zeros(2)
    for seed in range(60):
        dev, test = scores(2 * seed + 1), scores(2 * seed + 2)
        cut = chosen(dev, 0.7, INTERVAL)
        assert cut.score is not None
        assert cut.low is not None
        covered[0] += cut.low <= truth <= (np.inf if cut.high is None else cut.high)
        found = measured(test, cut.score, INTERVAL)["precision"]
        covered[1] += found["ci_low"] <= large.relevant[large.score >= cut.score].mean() <= found["ci_high"]
    assert (covered / 60 >= 0.88).all(), covered


def test_one_threshold_is_worth_less_where_scores_mean_something_else():
    dev, test = (together(scores(seed), scores(seed + 1, shift=1.5)) for seed in (10, 20))
    masks = {"law": np.arange(80) < 40, "code": np.arange(80) >= 40}
    found = report(dev, test, (masks, masks), 0.8, 300, 0)
    rows = {(row["from"], row["to"]): row["precision"]["value"] for row in found["transfer"]}
    assert len(rows) == 6
    assert rows["all", "code"] < 0.8 < rows["all", "law"]
    assert rows["law", "code"] < rows["all", "code"]
    assert rows["code", "code"] == pytest.approx(rows["law", "law"], abs=0.1)
    assert "this one threshold has a precision from" in words_of("s", found, 0.8, QUERIES)[-1]
