"""The hybrid stage: which documents it scores, what it learns its weights from, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from components import component
from planted_students import BACKWARDS, DOCUMENTS, WORDS, collection, fields, table

from zelo.errors import BadInput
from zelo.hybrid_score import FILE, PARTS, HybridScore
from zelo.records import EXAMPLE, SCORED
from zelo.stages.hybrid import Hybrid
from zelo.store.table import Table


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    return collection(tmp_path)


def stage(embedding: np.ndarray, reranker: np.ndarray, **changes: Any) -> Hybrid:
    inputs = {role: role for role in ("data", "embedding", "reranker", "examples")}
    made: dict[str, Any] = fields(embedding, reranker) | {"inputs": inputs} | changes
    return Hybrid(**made)


def test_what_either_finds_is_scored_by_all(tables: dict[str, Table], tmp_path: Path) -> None:
    reranker = np.linspace(-1, 1, 30)
    facts = stage(BACKWARDS, reranker).run(tables, tmp_path)
    hybrid, said = HybridScore.read(tmp_path / FILE)
    assert set(hybrid.weights.values()) == {0.333}, "nothing is rated, and no item is asked for"
    assert facts["queries"] == facts["known_items"] == 0
    rows = Table("hybrid", "", tmp_path, {}).read("scored").to_pylist()
    assert {row["query_id"] for row in rows} == {"t0", "d03"}, "test alone is asked for"
    for query, word in (("t0", WORDS[4]), ("d03", WORDS[5])):
        found = {row["doc_id"]: row["score"] for row in rows if row["query_id"] == query}
        with_word = [doc for n, doc in enumerate(DOCUMENTS) if word in (WORDS[n % 6], WORDS[n % 5])]
        near = {"d00", "d01", "d02", *(["d03"] if query != "d03" else [])}
        assert {"d00", "d01", "d02"} <= set(found) <= near | set(with_word)
        assert "d03" not in found or query != "d03", "a document is not found by its own id"
        by_hand = {
            doc: hybrid.factors["embedding"] * BACKWARDS[int(doc[1:])]
            + hybrid.factors["reranker"] * reranker[int(doc[1:])]
            for doc in found
            if doc not in with_word
        }
        assert {doc: found[doc] for doc in by_hand} == pytest.approx(by_hand, rel=1e-5)
    assert said["bm25"] == {"k1": 1.2, "b": 0.75, "stemmer": "english", "stopwords": "en"}


def test_known_items_are_asked_where_few_dev_queries_are_judged(
    tables: dict[str, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def known(*arguments: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(arguments[-1])
        return np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 3))

    monkeypatch.setattr(Hybrid, "_known", known)
    rated = [[f"q{n}" for n in range(10) for _ in DOCUMENTS], DOCUMENTS * 10, np.tile(np.linspace(0.1, 0.9, 30), 10)]
    tables["examples"] = table(tmp_path / "rated", examples=(EXAMPLE, [*rated, np.ones(300), ["dev"] * 300]))
    for enough, items in ((10, 0), (11, 7)):
        monkeypatch.setattr("zelo.stages.hybrid.ENOUGH", enough)
        stage(BACKWARDS, BACKWARDS, items=7, top_k=30).run(tables, tmp_path)
        assert asked[-1] == items


def test_ratings_of_dev_queries_decide_and_candidates_are_the_pool(tables: dict[str, Table], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal(30)
    queries = [query for query in [f"q{n}" for n in range(10)] for _ in DOCUMENTS]
    target = np.tile(1 / (1 + np.exp(-truth)), 10)
    rated = [queries, DOCUMENTS * 10, target, np.ones(300), ["dev"] * 300]
    tables["examples"] = table(tmp_path / "rated", examples=(EXAMPLE, rated))
    pool = [[*queries, "t0", "t0"], [*DOCUMENTS * 10, "d07", "d08"], np.zeros(302)]
    tables["candidates"] = table(tmp_path / "given", scored=(SCORED, pool))
    facts = stage(random.standard_normal(30), truth).run(tables, tmp_path)
    assert facts["weights"]["reranker"] > 0.6
    assert facts["queries"] == 10
    assert facts["dev_agreement"]["hybrid"] > facts["dev_agreement"]["embedding"]
    rows = Table("hybrid", "", tmp_path, {}).read("scored")
    assert rows["doc_id"].to_pylist() == ["d07", "d08"]
    assert list(facts["weights"]) == list(PARTS)


def test_a_part_that_is_missing_is_refused() -> None:
    with pytest.raises(BadInput, match=r"inputs name no reranker.*stages\.hybrid=null"):
        stage(BACKWARDS, BACKWARDS, inputs={"data": "load", "embedding": "train", "examples": "target"})
    with pytest.raises(BadInput, match=r"bm25 is Random; set retriever@first_stages\.bm25=bm25"):
        stage(BACKWARDS, BACKWARDS, bm25=component("retriever/random"))
    with pytest.raises(BadInput, match="top_k=0"):
        stage(BACKWARDS, BACKWARDS, top_k=0)
