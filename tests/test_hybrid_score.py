"""Weights of a hybrid: found again where they are known, equal where nothing is known; the file that says them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zelo.errors import BadInput
from zelo.hybrid_score import FILE, PARTS, HybridScore, deviations, learned

TRUE = np.array([0.2, 0.3, 0.5])


def world(queries: int, sharpness: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([N, 3] scores of scale 1, [N] gains by the true weights, [N] query): each query has 30 documents."""
    random = np.random.default_rng(3)
    parts = random.standard_normal((queries, 30, 3))
    score = sharpness * parts @ TRUE
    gain = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    return parts.reshape(-1, 3), gain.ravel(), np.repeat(np.arange(queries), 30)


def test_planted_weights_are_found_in_any_order_of_rows() -> None:
    parts, gain, query = world(50)
    found = learned(parts, gain, query, ridge=0)
    np.testing.assert_allclose(found, TRUE, atol=1e-3)
    order = np.random.default_rng(0).permutation(len(query))
    np.testing.assert_allclose(learned(parts[order], gain[order], query[order] * 2, ridge=0), found, atol=1e-3)


def test_one_answer_each_is_enough_and_a_part_that_misleads_counts_nothing() -> None:
    parts, gain, query = world(2000)
    random = np.random.default_rng(1)
    answer = np.zeros((2000, 30))
    drawn = [random.choice(30, p=row) for row in gain.reshape(2000, 30)]
    answer[np.arange(2000), drawn] = 1
    np.testing.assert_allclose(learned(parts, answer.ravel(), query, ridge=3), TRUE, atol=0.05)
    parts[:, 0] *= -1
    assert learned(parts, gain, query, ridge=0)[0] == 0


def test_few_queries_stay_near_equal_weights() -> None:
    off = [np.abs(learned(*world(queries), ridge=3) - 1 / 3).max() for queries in (0, 1, 10, 1000)]
    assert off[0] < 1e-9
    assert off == sorted(off)
    assert off[1] < 0.06 < 0.16 < off[3]
    assert np.abs(learned(*world(1000), ridge=3) - TRUE).max() < 0.01


def test_a_scale_is_the_deviation_within_a_query() -> None:
    parts = np.array([[100.0, 0], [102, 0], [5, 0], [5, 0]])
    np.testing.assert_allclose(deviations(parts, np.array([0, 0, 3, 3])), [0.5, 1])  # no spread: 1
    np.testing.assert_allclose(deviations(np.zeros((0, 3)), np.zeros(0, int)), 1)


def test_the_file_says_what_the_score_is(tmp_path: Path) -> None:
    hybrid = HybridScore(
        dict(zip(PARTS, (0.2, 0.3, 0.5), strict=True)), dict(zip(PARTS, (2.0, 0.1, 0.05), strict=True))
    )
    hybrid.write(tmp_path, {"pool": 100})
    again, said = HybridScore.read(tmp_path / FILE)
    assert again == hybrid
    assert said["pool"] == 100
    parts = np.array([[8.0, 0.5, 0.3]])
    by_hand = sum(said["parts"][name]["factor"] * score for name, score in zip(PARTS, parts[0], strict=True))
    assert again.scores(parts)[0] == pytest.approx(by_hand) == pytest.approx(0.2 * 4 + 0.3 * 5 + 0.5 * 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reranker": None}, "has no part reranker"),
        ({"bm25": None, "reranker": None}, "has no part bm25 and no reranker"),
        ({"bm25": {"weight": 2, "scale": 1}}, r"a weight is in \[0, 1\]"),
        ({"bm25": {"weight": 0.2, "scale": 0}}, "a scale above 0"),
        ({"bm25": {"weight": 0.2}}, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    parts = {name: {"weight": 0.3, "scale": 1.0} for name in PARTS} | change
    (tmp_path / FILE).write_text(json.dumps({"parts": {name: said for name, said in parts.items() if said}}))
    with pytest.raises(BadInput, match=words):
        HybridScore.read(tmp_path / FILE)
