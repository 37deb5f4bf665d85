"""A document with its query's own id is no candidate of it, wherever a ranking is made; a field keeps it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from by_place import ByPlace
from paid_judge import budget

from zelo.places import config_folder
from zelo.ranking import own_documents, without_own
from zelo.records import CANDIDATE, DOCUMENT, QREL, QUERY, SCORED
from zelo.reporting.notes import notes
from zelo.stages.labelled import Labelled
from zelo.stages.load_run import LoadRun
from zelo.stages.retrieve import Retrieve
from zelo.stages.score import Score
from zelo.stages.search import Search
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table
from zelo.training.student import Student
from zelo.training.vector_files import DOCUMENTS as DOCUMENT_VECTORS
from zelo.training.vector_files import QUERIES as QUERY_VECTORS

ALL = sorted(path.stem for path in (config_folder() / "retriever").glob("*.yaml"))
OPTIONS = [option for option in ALL if not option.startswith("api")]  # these ask an endpoint: test_api
TEXTS = ["sort a list", "sort a list fast", "sort the list", "a list to sort", "a long list to sort"]
DOCUMENTS = pa.table([[f"d{n}" for n in range(5)], [""] * 5, TEXTS], schema=DOCUMENT)
QUERIES = pa.table([["d1", "other", "d0"], [TEXTS[1], "sort list", TEXTS[0]], ["train", "train", "dev"]], schema=QUERY)
RUN = "".join(f"{q} Q0 d{n} {n + 1} {5 - n} mine\n" for q in ("d1", "other", "d0") for n in range(5))


def table(folder: Path, **tables: pa.Table) -> Table:
    folder.mkdir(parents=True)
    for name, (schema, rows) in tables.items():
        write_parquet(rows, schema, folder, name)
    return Table("kind", "identity", folder, {})


@pytest.fixture
def data(tmp_path: Path) -> Table:
    return table(tmp_path / "data", queries=(QUERY, QUERIES), documents=(DOCUMENT, DOCUMENTS))


def lists(rows: pa.Table) -> dict[str, list[str]]:
    return rows.to_pandas().groupby("query_id")["doc_id"].agg(list).to_dict()


def check(found: dict[str, list[str]], top_k: int = 3) -> None:
    assert {query: len(documents) for query, documents in found.items()} == {"d1": top_k, "other": top_k, "d0": top_k}
    assert all(query not in documents for query, documents in found.items())


@pytest.mark.parametrize("option", OPTIONS)
def test_every_first_stage_leaves_it_out_and_still_finds_top_k(
    option: str, component: Callable[..., Any], data: Table, tmp_path: Path
) -> None:
    (tmp_path / "run.trec").write_text(RUN)
    retriever = component(f"retriever/{option}", **({"path": str(tmp_path / "run.trec")} if option == "run" else {}))
    for keep in (False, True):
        out = tmp_path / str(keep)
        out.mkdir()
        stage = Retrieve(
            inputs={}, retriever=retriever, top_k=3, splits=["train", "dev"], keep_own_document=keep, budget=budget()
        )
        facts = stage.run({"data": data}, out)
        rows = Table("retrieve", "", out, {}).read("candidates")
        if not keep:
            check(lists(rows))
            assert rows["rank"].to_pylist() == [0, 1, 2] * 3
            assert option == "random" or facts["own_documents"] == 2
            assert not facts["own_documents_unlike"]
        elif option != "random":
            assert {"d0", "d1"} == {q for q, found in lists(rows).items() if q in found}
            assert "own_documents" not in facts


@pytest.mark.parametrize("reranks", [False, True])
def test_a_student_neither_finds_nor_reranks_it(reranks: bool, data: Table, tmp_path: Path) -> None:
    candidates = pa.table(
        [
            [q for q in ("d1", "other", "d0") for _ in range(5)],
            [f"d{n}" for n in range(5)] * 3,
            list(range(5, 0, -1)) * 3,
        ],
        schema=SCORED,
    )
    given = {"candidates": table(tmp_path / "given", scored=(SCORED, candidates))} if reranks else {}
    parts: Any = {"model": ByPlace()} | dict.fromkeys(
        ("backbone", "loss", "optimizer", "scheduler", "loader", "trainer")
    )
    fields: Any = {
        "student": Student(**parts),
        "hardware": SimpleNamespace(device="cpu"),
        "splits": ["train", "dev"],
    }
    fields |= {"inputs": dict.fromkeys(given, ""), "top_k": 3, "batch_queries": 2, "seed": 0}
    for keep in (False, True):
        out = tmp_path / str(keep)
        out.mkdir()
        facts = Score(keep_own_document=keep, **fields).run({"data": data, **given}, out)
        found = lists(Table("score", "", out, {}).read("scored"))
        if keep:
            assert all(documents == ["d0", "d1", "d2"] for documents in found.values())
        else:
            check(found)
            assert facts["own_documents"] == 2


def test_a_search_of_smaller_vectors_leaves_it_out(data: Table, tmp_path: Path) -> None:
    vectors = table(tmp_path / "vectors")
    np.save(vectors.path / DOCUMENT_VECTORS, np.eye(5, dtype=np.float32))
    np.save(vectors.path / QUERY_VECTORS, np.eye(5, dtype=np.float32)[[1, 2, 0]])
    fields: Any = {"inputs": {}, "halvings": 0, "numbers": "float32", "splits": ["train", "dev"], "top_k": 3}
    fields["hardware"] = SimpleNamespace(device="cpu")
    stage = Search(keep_own_document=False, **fields)
    (tmp_path / "out").mkdir()
    facts = stage.run({"data": data, "vectors": vectors}, tmp_path / "out")
    check(lists(Table("search", "", tmp_path / "out", {}).read("scored")))
    assert facts["own_documents"] == 2


def test_a_run_to_be_reranked_loses_it_and_a_jsonl_of_texts_loses_nothing(tmp_path: Path) -> None:
    dataset: Any = SimpleNamespace(load=lambda: SimpleNamespace(queries=QUERIES, documents=DOCUMENTS, notes=()))
    (tmp_path / "run.trec").write_text(RUN)
    (tmp_path / "texts.jsonl").write_text('{"query": "a", "documents": ["b", "c"]}\n')  # query 0, documents 0 and 1
    found = {}
    for name in ("run.trec", "texts.jsonl"):
        out = tmp_path / f"of-{name}"
        out.mkdir()
        stage = LoadRun(inputs={}, dataset=dataset, path=str(tmp_path / name), keep_own_document=False)
        facts = stage.run({}, out)
        found[name] = lists(Table("load_run", "", out, {}).read("candidates")), facts.get("own_documents")
    assert found["run.trec"] == (
        {"d1": ["d0", "d2", "d3", "d4"], "other": [f"d{n}" for n in range(5)], "d0": ["d1", "d2", "d3", "d4"]},
        2,
    )
    assert found["texts.jsonl"] == ({"0": ["0", "1"]}, None)


def test_a_second_pass_is_not_taught_by_a_label_of_it(data: Table, tmp_path: Path) -> None:
    qrels = pa.table([["d1", "d1"], ["d1", "d3"], [2, 1], ["train"] * 2], schema=QREL)
    candidates = pa.table([["d1"] * 2, ["d2", "d4"], [0, 1], [2.0, 1.0]], schema=CANDIDATE)
    tables = {"labels": table(tmp_path / "labels", qrels=(QREL, qrels)), "candidates": table(tmp_path / "candidates")}
    tables["data"] = data
    write_shard(candidates, CANDIDATE, tables["candidates"].path, "candidates", 0)
    for keep, best in ((False, "d3"), (True, "d1")):
        out = tmp_path / str(keep)
        out.mkdir()
        Labelled(inputs={}, top_k=3, keep_own_document=keep).run(tables, out)
        assert Table("labelled", "", out, {}).read("labelled")["doc_id"].to_pylist() == [best]


def test_ids_that_meet_by_chance_are_said_to() -> None:
    numbers = pa.table([["d0", "d1"], ["who wrote it", "when did it end"], ["test"] * 2], schema=QUERY)
    rows = pa.table([["d0", "d0", "d1"], ["d0", "d2", "d1"], [0, 1, 0], [1.0, 0.5, 1.0]], schema=CANDIDATE)
    kept, facts = without_own(rows, numbers, DOCUMENTS, 3)
    assert (kept["doc_id"].to_pylist(), kept["rank"].to_pylist()) == (["d2"], [0])
    manifest = facts | {"rows": 1, "queries_below_two": 2, "queries": 2}
    result: Any = SimpleNamespace(
        tables={"retrieve": Table("retrieve", "", Path(), manifest)}, facts={"retrieve": {"status": "computed"}}
    )
    assert notes(result) == [
        "retrieve: 2 of 2 queries have fewer than two candidates",
        "retrieve: 2 documents with their query's own id are left out of the candidates; most of their texts are unlike the"
        " query's: if equal ids are a coincidence, set keep_own_document=true",
    ]


def test_nothing_is_done_where_no_query_is_a_document() -> None:
    strangers = QUERIES.filter(pc.equal(QUERIES["query_id"], "other"))
    assert own_documents(QUERIES, DOCUMENTS, keep=False)
    assert not own_documents(QUERIES, DOCUMENTS, keep=True)
    assert not own_documents(strangers, DOCUMENTS, keep=False)
