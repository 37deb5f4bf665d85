"""A second judge that is asked about the best candidates of the first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo.errors import BadInput
from zelo.judges.ensemble import Ensemble
from zelo.judges.from_scores import FromScores
from zelo.records import DOCUMENT, OUTCOME, RATING, WEIGHT, Comparisons
from zelo.retrievers.bm25 import Bm25
from zelo.solvers.thurstone import Thurstone
from zelo.stages.known_shortlists import BELIEF, KnownShortlists
from zelo.stages.rate import Rate
from zelo.stages.shortlist import Shortlist
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table

SOLVER = Thurstone(ridge=0.1, tolerance=1e-8, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0)


def table(rows: list[dict[str, Any]], schema: pa.Schema, out: Path, name: str) -> Table:
    out.mkdir(exist_ok=True)
    write_shard(pa.Table.from_pylist(rows, schema=schema), schema, out, name, 0)
    return Table(name, "", out, {})


def test_the_highest_ratings_of_each_query_are_on_the_list_and_ties_go_by_id(tmp_path: Path) -> None:
    found = {"q2": {"a": 1.0, "b": 3.0, "c": 2.0}, "q1": {"z": 0.0, "y": 0.0, "x": -1.0, "w": 0.5}, "q3": {"a": 0.0}}
    rows = [
        {"query_id": q, "doc_id": d, "rating": r, "stderr": 1, "degree": 1, "offset": 0, "scale": 1}
        for q, documents in found.items()
        for d, r in documents.items()
    ]
    tables = {"ratings": table(rows, RATING, tmp_path / "rated", "ratings")}
    facts = Shortlist(inputs={}, top_k=2).run(tables, tmp_path)
    listed = Table("shortlist", "", tmp_path, {}).read("candidates").to_pylist()
    assert [(row["query_id"], row["doc_id"], row["rank"]) for row in listed] == [
        ("q1", "w", 0),
        ("q1", "y", 1),
        ("q2", "b", 0),
        ("q2", "c", 1),
        ("q3", "a", 0),
    ]
    assert (facts["rows"], facts["queries"]) == (5, 3)


def test_a_list_of_one_is_refused() -> None:
    with pytest.raises(BadInput, match="top_k=1"):
        Shortlist(inputs={}, top_k=1)


def answers(p: dict[str, dict[str, float]], out: Path) -> Table:
    """OUTCOME of one query: judge -> pair -> p."""
    rows = [
        {
            "query_id": "q",
            "doc_a": pair[0],
            "doc_b": pair[1],
            "judge": judge,
            "p": value,
            "weight": 1.0,
            "swapped": False,
            "status": "answered",
        }
        for judge, pairs in p.items()
        for pair, value in pairs.items()
    ]
    return table(rows, OUTCOME, out, "outcomes")


def test_a_comparison_of_a_second_stage_counts_by_its_judges(tmp_path: Path) -> None:
    first = {"one": {"ab": 0.6, "bc": 0.7, "ac": 0.8}, "two": {"ab": 0.4, "bc": 0.9, "ac": 0.6}}
    tables = {
        "outcomes": answers(first, tmp_path / "first"),
        "second": answers({"late": {"ab": 0.1}}, tmp_path / "second"),
    }
    weights = pa.table([["one", "two", "late"], [1.0, 0.5, 1.5], [None, None, None]], schema=WEIGHT)
    write_parquet(weights, WEIGHT, tmp_path / "first", "weights")
    tables["weights"] = tables["outcomes"]
    stage = Rate(
        inputs={"outcomes": "judge", "second": "judge_second", "weights": "known"},
        solver=SOLVER,
        quorum=1,
        diagnosed_queries=2048,
    )
    facts = stage.run(tables, tmp_path)
    assert facts["pairs"] == 4
    mean = {pair: (first["one"][pair] + 0.5 * first["two"][pair]) / 1.5 for pair in first["one"]}
    by_hand = Comparisons(
        sizes=np.array([3]),
        edges=np.array([[0, 1], [0, 1], [0, 2], [1, 2]]),
        p=np.array([mean["ab"], 0.1, mean["ac"], mean["bc"]]),
        weight=np.array([0.75, 1.5 / 2, 0.75, 0.75]),  # the first two judges together count for twice this
    )
    ratings = Table("rate", "", tmp_path, {}).read("ratings").sort_by("doc_id")["rating"].to_numpy()
    np.testing.assert_allclose(ratings, SOLVER.fit(by_hand).rating, atol=1e-6)


def test_stages_that_were_asked_about_other_queries_are_refused(tmp_path: Path) -> None:
    pair = {"one": {"ab": 0.5}}
    tables = {"outcomes": answers(pair, tmp_path / "first"), "second": answers(pair, tmp_path / "second")}
    write_shard(tables["second"].read("outcomes"), OUTCOME, tmp_path / "second", "outcomes", 1)
    stage = Rate(
        inputs={"outcomes": "judge", "second": "judge_second"}, solver=SOLVER, quorum=1, diagnosed_queries=2048
    )
    with pytest.raises(BadInput, match="judge_second has 2 shards and judge has 1"):
        stage.run(tables, tmp_path)


WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "nu", "re") for b in ("tan", "vos", "dir") for c in "aeiou"]


@dataclass(frozen=True)
class Overlap:
    """Words of one half of the vocabulary that query and document share, blurred."""

    half: int
    noise: float

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        known = set(WORDS[self.half :: 2])
        asked, read = (
            [set(text.replace(".", "").split()) & known for text in table["text"].to_pylist()]
            for table in (queries, documents)
        )
        shared = np.array([len(asked[q] & read[d]) for q, d in zip(query_row, doc_row, strict=True)], np.float64)
        blur = np.array(
            [np.random.default_rng([q, d, self.half]).normal() for q, d in zip(query_row, doc_row, strict=True)]
        )
        return (shared + self.noise * blur).astype(np.float32)


def weighed(first: Any, second: Any, out: Path, top_k: int = 5) -> tuple[dict[str, Any], dict[str, float]]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(200):
        own = rng.choice(WORDS, 8, replace=False)
        sentences = [" ".join([*rng.permutation(own)[:6], *rng.choice(WORDS, 2)]) + "." for _ in range(3)]
        rows.append({"doc_id": f"d{number:04}", "title": "", "text": " ".join(sentences)})
    write_parquet(pa.Table.from_pylist(rows, schema=DOCUMENT), DOCUMENT, out, "documents")
    known = pa.table([list(first.members), [1.0] * len(first.members), [None] * len(first.members)], schema=WEIGHT)
    write_parquet(known, WEIGHT, out, "weights")
    stage = KnownShortlists(
        inputs={"data": "load", "weights": "known_items"},
        first=first,
        second=second,
        retriever=Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None),
        top_k=top_k,
        items=150,
        documents=200,
        seed=0,
    )
    here = Table("load", "", out, {})
    made = out / "made"
    made.mkdir()
    facts = stage.run({"data": here, "weights": here}, made)
    weights = Table("weights", "", made, {}).read("weights")
    return facts, dict(zip(weights["judge"].to_pylist(), weights["weight"].to_pylist(), strict=True))


def scored(name: str, half: int, noise: float) -> FromScores:
    return FromScores(name=name, scorer=Overlap(half, noise), tau=2.0)


def test_a_second_judge_weighs_by_what_it_adds_on_the_shortlist(tmp_path: Path) -> None:
    first = Ensemble(name="first", use=None, members={"even": scored("even", 0, 0.3)})
    facts, weights = weighed(first, scored("odd", 1, 0.3), tmp_path)
    assert set(weights) == {"even", "odd"}
    assert weights["odd"] > 2 * BELIEF / (1 + BELIEF) * 0.7, "two judges that know half the words each"
    assert facts["items"] > 50
    assert facts["weighted"] > facts["weights"]["even"]["ndcg"] + 0.1


def test_a_second_judge_that_guesses_weighs_little(tmp_path: Path) -> None:
    first = Ensemble(name="first", use=None, members={"even": scored("even", 0, 0.3)})
    _, weights = weighed(first, scored("odd", 1, 1000.0), tmp_path)
    assert weights["odd"] < 0.15


def test_it_is_asked_about_the_shortlist_alone(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Counts(Overlap):
        asked: list[int]

        def score(
            self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray
        ) -> np.ndarray:
            self.asked.extend(query_row.tolist())
            return super().score(queries, documents, query_row, doc_row)

    counts = Counts(1, 0.3, [])
    second = FromScores(name="odd", scorer=counts, tau=2.0)
    weighed(Ensemble(name="first", use=None, members={"even": scored("even", 0, 0.3)}), second, tmp_path, top_k=4)
    assert np.bincount(counts.asked).max() == 4


def test_one_name_for_two_judges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="two judges have one name, odd, odd"):
        weighed(
            Ensemble(name="first", use=None, members={"odd": scored("odd", 1, 0.3)}), scored("odd", 1, 0.3), tmp_path
        )
