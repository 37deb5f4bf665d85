"""The round that refreshes ratings: which documents are new, and when what follows is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_students import BACKWARDS, collection, fields

from zelo import known_items
from zelo.errors import BadInput
from zelo.hybrid_score import PARTS, HybridScore
from zelo.pipeline.plan import remaining
from zelo.pipeline.run import Step, run_stages
from zelo.protocols import NOTHING_TO_DO
from zelo.records import CANDIDATE, PASSAGE, QUERY
from zelo.stages.refresh import ROLES, Refresh
from zelo.store.shards import write_parquet, write_shard
from zelo.store.store import Store
from zelo.store.table import Table

# In shards; the hybrid's best are always d00, d01 and d02.
CANDIDATES = [{"q0": ["d01", "d20"], "q1": ["d25", "d02", "d00", "d01"]}, {"t0": ["d10", "d00"]}]


class Finds:
    """A retriever that finds these documents, one for each of the first queries."""

    def __init__(self, *found: str) -> None:
        self.found = list(found)

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        return pa.table({"query_id": queries["query_id"][: len(self.found)], "doc_id": self.found})


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    found = collection(tmp_path)
    for number, shard in enumerate(CANDIDATES):
        rows = [(query, doc, rank, 0.0) for query, docs in shard.items() for rank, doc in enumerate(docs)]
        columns = [list(column) for column in zip(*rows, strict=True)]
        write_shard(pa.table(columns, CANDIDATE.names), CANDIDATE, tmp_path, "candidates", number)
    (tmp_path / "hybrid").mkdir()
    weights = dict(zip(map(str, PARTS), (0.0, 0.5, 0.5), strict=True))
    HybridScore(weights, dict.fromkeys(weights, 1.0)).write(tmp_path / "hybrid", {})
    return found | {role: Table(role, "", tmp_path / at, {}) for role, at in (("candidates", ""), ("hybrid", "hybrid"))}


def stage(**changes: Any) -> Refresh:
    given = {"inputs": {role: role for role in ROLES}, "retriever": Finds(), "splits": ["dev", "test"]}
    return Refresh(**(fields(BACKWARDS, BACKWARDS) | given | changes))


def test_what_the_hybrid_finds_besides_the_candidates_is_new(tables: dict[str, Table], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = stage().run(tables, out)
    shards = [pq.read_table(file).to_pylist() for file in sorted((out / "candidates").iterdir())]
    assert [[(row["query_id"], row["doc_id"], row["rank"]) for row in rows] for rows in shards] == [
        [("q0", "d00", 0), ("q0", "d02", 2)],
        [("t0", "d01", 1), ("t0", "d02", 2)],
    ]
    assert (facts["rows"], facts["queries"], NOTHING_TO_DO in facts) == (4, 2, False)
    assert stage(splits=["train"]).run(tables, out)[NOTHING_TO_DO], "no query of this split has a new document"


def test_another_passage_of_a_candidate_is_not_new(tables: dict[str, Table], tmp_path: Path) -> None:
    documents = tables["data"].read("documents")
    home = ["d01" if name == "d00" else name for name in documents["doc_id"].to_pylist()]
    whole = pa.table([*documents.columns, home], PASSAGE.names)
    write_parquet(whole, PASSAGE, tables["data"].path, "documents")
    stage().run(tables, tmp_path / "hybrid")
    rows = Table("refresh", "", tmp_path / "hybrid", {}).read("candidates").to_pylist()
    assert [(row["query_id"], row["doc_id"]) for row in rows] == [
        ("q0", "d02"),
        ("q0", "d03"),
        ("q1", "d03"),
        ("t0", "d02"),
        ("t0", "d03"),
    ]


def test_it_is_left_out_where_known_items_say_that_the_hybrid_finds_no_more(
    tables: dict[str, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = tables["data"].read("documents")
    asked = pa.table([list("wxyz"), ["red"] * 4, ["test"] * 4], schema=QUERY)
    items = known_items.Items(
        asked, documents, np.array([0, 28, 29, 1])
    )  # of which the hybrid finds the first and the last
    monkeypatch.setattr(known_items.Items, "of", lambda *_: items)
    facts = stage(items=4, retriever=Finds("d00", "d28")).run(tables, tmp_path / "hybrid")
    assert facts[NOTHING_TO_DO]
    said = "of 4 known items the hybrid has 0.500 among its 3 best, the first stage 0.500"
    assert facts["notes"] == [f"refresh: left out, {said}"]
    assert not (tmp_path / "hybrid" / "candidates").exists()
    facts = stage(items=4, retriever=Finds("d00", "d01")).run(tables, tmp_path / "embedding")
    assert facts["known"] == {"items": 4, "hybrid": 0.5, "candidates": 0.25}
    assert facts["notes"] == [f"refresh: 4 documents of 2 queries are new; {said[:-5]}0.250"]


def test_what_cannot_be_asked_is_refused_before_anything_runs() -> None:
    class FromFile(Finds):
        def retrieved(self, *_: Any) -> None: ...

    with pytest.raises(BadInput, match=r"refresh\.items=0"):
        stage(items=1, retriever=FromFile())
    stage(items=0, retriever=FromFile())
    with pytest.raises(BadInput, match="inputs name no hybrid"):
        stage(inputs={role: role for role in ROLES[:-1]})


class Runs:
    """A stage that says what it read."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        return {"read": sorted(tables)} | self.facts


class Optional(Runs):
    OPTIONAL_INPUTS = True


def test_what_is_left_out_takes_what_reads_it_along_but_for_optional_inputs(tmp_path: Path) -> None:
    def step(name: str, stage: Runs, *reads: str) -> Step:
        return Step(name, stage, name, {f"of_{source}": source for source in reads})

    steps = [
        step("first", Runs()),
        step("round", Runs(nothing_to_do=True), "first"),
        step("judge", Runs(), "first", "round"),
    ]
    steps += [step("rate", Runs(), "judge"), step("other", Runs(), "first"), step("end", Optional(), "rate", "other")]
    ran = ["first", "round", "other", "end"]
    for _ in range(2):  # made, and found in the store
        *_, (result, name) = run_stages(steps, Store(tmp_path))
        assert list(result.tables) == ran
        assert name == "end"
        assert result.tables["end"].manifest["read"] == ["of_other"]
    assert [one.name for one in remaining(steps, Store(tmp_path))] == ran, "as plan=true shows them"
    assert remaining(steps, Store(tmp_path / "empty")) == steps
