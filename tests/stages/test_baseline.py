"""A baseline is one line: it becomes a stage and a system, and stands in the table of rerankers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import command
from components import component
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from paid_judge import new_command
from rerank_server import RerankServer, shared

from zelo.errors import BadInput
from zelo.pipeline.baselines import mount
from zelo.places import config_folder
from zelo.records import DOCUMENT, QREL, QUERY, SCORED
from zelo.reporting import rerankers as report
from zelo.stages.rerankers import Rerankers
from zelo.stages.rest import Rest
from zelo.store.shards import write_parquet
from zelo.store.table import Table


def composed(*overrides: str) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture
def labelled(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    new_command(monkeypatch)
    (tiny_beir / "qrels").mkdir()
    rows = [f"q{q}\td{d}\t1\n" for q in (6, 7) for d in (q, q + 8)]
    (tiny_beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return tiny_beir


def test_a_baseline_becomes_a_stage_and_a_system() -> None:
    config = composed("pipeline=rerankers", "+scorer@baselines.bge=cross_encoder", "baselines.bge.model=FOLDER")
    before = list(config.stages)
    mount(config)
    assert list(config.stages) == [*before, "bge"]
    assert config.stages.bge.inputs == {"data": "make_queries", "candidates": "retrieve", "rest": "rest"}
    assert config.stages.bge.scorer.model == "FOLDER"
    for reader in ("evaluate", "rerankers"):
        assert config.stages[reader].inputs.bge == "bge"
    assert config.stages.evaluate.students["zelo-reranker"][-1] == "bge"
    assert "bge" not in config.stages.evaluate.students.zelo
    none = composed()
    stages = dict(none.stages)
    mount(none)
    assert dict(none.stages) == stages, "without one nothing changes"
    with pytest.raises(BadInput, match=r"baselines.dense: .*are taken"):
        mount(composed("+retriever@baselines.dense=dense"))
    with pytest.raises(BadInput, match=r"baselines.bge: this pipeline compares no systems"):
        mount(composed("pipeline=annotate", "+scorer@baselines.bge=cross_encoder"))


def test_a_hosted_baseline_from_the_command(
    labelled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RerankServer() as server:
        run = ["dataset=beir", f"dataset.path={labelled}", "retriever=bm25", "top_k=5", "until=far"]
        run += ["+scorer@baselines.far=vllm", "baselines.far.model=m", f"baselines.far.base_url={server.base_url}"]
        priced = [*run, "baselines.far.search_price=2"]
        assert command(*priced, "plan=true") == 0
        said = capsys.readouterr().out
        assert "reranker" in said.partition("far: nothing was sent")[2].splitlines()[1]
        assert command(*priced) == 2
        assert "reranker vllm costs money and there is no budget" in capsys.readouterr().err
        assert not server.seen
        server.plan = lambda seen: "missing" if seen.number == 1 else "ok"
        assert command(*priced, "budget.usd=1") == 3
        said = capsys.readouterr().err
        assert "have no score: 5 unparseable. 5 without a value: a document has no result" in said
        assert "Set ask_again=[unparseable]" in said
        calls = len(server.seen)
        new_command(monkeypatch)
        assert command(*priced, "budget.usd=1", "ask_again=[unparseable]") == 0
        assert len(server.seen) == calls + 1, "only what was no answer is asked again"
        assert "reranker vllm: 1 calls, $0.00" in capsys.readouterr().out
        far = [*run[:-2], "baselines.far.model=m", "baselines.far.base_url=https://example.com/v1"]
        assert command(*far, "budget.usd=1", "baselines.far.model=other") == 2
        assert "Set baselines.far.input_price (dollars per million tokens) or baselines.far.search_price" in (
            capsys.readouterr().err
        )
        assert command(*far, "baselines.far.api_key_env=NOT_THERE", "baselines.far.model=other") == 2
        assert "the environment variable NOT_THERE" in capsys.readouterr().err
        (made,) = (labelled.parent / "home" / "baseline").glob("*/scored.parquet")
        found = pq.read_table(made)
        best = max(shared(seen.body["query"], text) for seen in server.seen for text in seen.body["documents"])
        assert max(found["score"].to_pylist()) == pytest.approx(best)
        assert found.num_rows == 15, "two queries of test and one of dev, five candidates each"


def table(folder: Path, name: str, **files: pa.Table) -> Table:
    out = folder / name
    out.mkdir()
    for file, rows in files.items():
        write_parquet(rows, rows.schema, out, file)
    return Table(name, "", out, {})


def scored(**queries: dict[str, float]) -> pa.Table:
    rows = [(query, doc, score) for query, docs in queries.items() for doc, score in docs.items()]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCORED)


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    """One query, one relevant document: z, which bm25 has third and dense first; the reranker prefers it but for y."""
    queries = pa.table([["q"], ["?"], ["test"]], schema=QUERY)
    documents = pa.table([list("vwxyz"), [""] * 5, list("vwxyz")], schema=DOCUMENT)
    qrels = pa.table({name: [value] for name, value in zip(QREL.names, ["q", "z", 1, "test"], strict=True)}, QREL)
    return {
        "data": table(tmp_path, "load", queries=queries, documents=documents),
        "labels": table(tmp_path, "labels", qrels=qrels),
        "bm25": table(tmp_path, "bm25", scored=scored(q={"x": 9, "w": 8, "z": 7, "y": 6})),
        "candidates": table(tmp_path, "dense", scored=scored(q={"z": 0.9, "v": 0.8})),
        "strong": table(
            tmp_path, "strong", scored=scored(q={"z": 2, "v": -1}), rest=scored(q={"y": 3, "x": 1, "w": 0})
        ),
        "split": table(tmp_path, "split", scored=scored(q={"z": 5, "v": 5})),
        "split/rest": table(tmp_path, "split_rest", scored=scored(q={"y": 5, "x": 5, "w": 5})),
    }


def test_every_reranker_over_every_first_stage_by_hand(tables: dict[str, Table], tmp_path: Path) -> None:
    stage = Rerankers(
        inputs={role: role for role in tables},
        first_stages=["bm25", "candidates"],
        candidates_as="dense",
        metric=component("metric/ndcg_10"),
        split="test",
        depths=[1, 3, 4],
        resamples=100,
        seed=0,
    )
    facts = stage.run(tables, tmp_path)
    assert facts == {"rows": 14}
    found = json.loads((tmp_path / "rerankers.json").read_text())
    value = {(row["first_stage"], row["reranker"], row["depth"]): row["value"] for row in found["rows"]}
    third = 1 / np.log2(4)
    second = 1 / np.log2(3)
    assert value["bm25", None, 4] == pytest.approx(third)
    assert [value["bm25", "strong", depth] for depth in (1, 3, 4)] == pytest.approx([third, 1, second]), (
        "y comes with depth"
    )
    assert [value["bm25", "split", depth] for depth in (3, 4)] == pytest.approx([third, 1 / np.log2(5)]), (
        "ties by doc_id"
    )
    assert value["dense", "strong", 4] == 1
    lines = report.lines(found, 80)
    assert max(map(len, lines)) <= 80
    assert any("too few for a verdict" in line for line in lines)
    (row,) = (line for line in lines if line.split()[:1] == ["strong"] and "0.631" in line)
    assert row.split() == ["strong", "0.500", "1.000", "0.631", "3"], "with the depth at which it is best"
    (alone, *_) = (line for line in lines if line.split()[:2] == ["no", "reranker"])
    assert alone.split()[2:] == ["0.500"] * 3, "the same with any number of candidates"
    (bm25, _) = report.view(found)["groups"]
    (strong,) = (line for line in bm25["lines"] if line["name"] == "strong")
    assert strong["curve"][0][1] == bm25["alone"] > strong["curve"][2][1] > strong["curve"][1][1]
    lacking = {role: part for role, part in tables.items() if role != "split/rest"}
    stage.inputs.pop("split/rest")
    with pytest.raises(BadInput, match=r"split has no score of document '[wxy]' for query 'q', a candidate of bm25"):
        stage.run(lacking, tmp_path)


def test_the_rest_is_what_others_find(tables: dict[str, Table], tmp_path: Path) -> None:
    inputs = {role: role for role in ("data", "candidates", "bm25")}
    stage = Rest(inputs=inputs, split="test", top_k=3)
    assert stage.run({role: tables[role] for role in inputs}, tmp_path) == {"rows": 2}
    assert Table("rest", "", tmp_path, {}).read("scored")["doc_id"].to_pylist() == ["w", "x"]
