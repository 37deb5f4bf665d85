"""Times of models and endpoints: payloads of the size that was asked for, intervals by the book, calls that are paid for once."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny_models
import torch
from components import component
from paid_judge import budget, new_command
from rerank_server import RerankServer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from zelo.backbones.exported import Exported
from zelo.errors import BadInput
from zelo.latency.payloads import payloads
from zelo.latency.timing import figures, interval
from zelo.records import DOCUMENT, QUERY
from zelo.reporting import latency as report
from zelo.stages.latency import Latency
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware

QUERIES = ["how do I order a list", "delete a fïle"]
TEXTS = ["Sort the list in place. ", "Rëad rows of a file, one by one. ", "été " * 20]


def test_a_payload_has_its_size_to_the_byte() -> None:
    found = payloads(QUERIES, TEXTS, 500, 70, 9, seed=0)
    assert [one.size for one in found] == [500] * 9
    assert {len(one.documents) for one in found} == {7}
    assert len({*(tuple(one.documents) for one in found)}) == 9
    assert found == payloads(QUERIES, TEXTS, 500, 70, 9, seed=0) != payloads(QUERIES, TEXTS, 500, 70, 9, seed=1)
    assert all(abs(len(text.encode()) - 70) <= 3 for one in found for text in one.documents)


def test_the_interval_of_a_median_is_that_of_the_book() -> None:
    """Conover, table A3 and its normal limit: 5 values have none, 20 have the 6th and the 15th, 100 the 40th and the 61st."""
    assert [interval(count) for count in (5, 6, 20, 100)] == [(None, None), (0, 5), (5, 14), (39, 60)]
    found = figures([n / 10 for n in range(20, 0, -1)])
    assert (found["p50"], found["p50_low"], found["p50_high"], found["p95"]) == pytest.approx((1.05, 0.6, 1.5, 1.9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reranker")
    tiny_models.save("bert", place / "bare")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(place / "bare", num_labels=1)
    model.save_pretrained(place / "one")
    AutoTokenizer.from_pretrained(place / "bare").save_pretrained(place / "one")
    return place / "one"


def stage(**changes: Any) -> Latency:
    cpu = Hardware(accelerator="cpu", devices=1, num_nodes=1, strategy="auto", micro_batch=None)
    fields: dict[str, Any] = {"inputs": {"data": "load"}, "path": None, "scorers": {}, "hardware": cpu}
    fields |= {"payloads": [300, 900], "document_bytes": 100, "search": True, "warmup": 1, "repeats": 6}
    fields |= {"most_seconds": 60.0, "dollars_per_hour": None, "batch_size": 8, "attempt": 0, "seed": 0}
    fields["budget"] = budget()
    return Latency(**fields | changes)


def test_models_and_endpoints_are_measured_with_the_same_payloads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    new_command(monkeypatch)
    (tmp_path / "load").mkdir()
    queries = pa.table([["0", "1"], QUERIES, ["test"] * 2], schema=QUERY)
    documents = pa.table([list("abc"), [""] * 3, TEXTS], schema=DOCUMENT)
    write_parquet(queries, QUERY, tmp_path / "load", "queries")
    write_parquet(documents, DOCUMENT, tmp_path / "load", "documents")
    tables = {"data": Table("load", "", tmp_path / "load", {})}
    with RerankServer(latency=0.03) as server:
        fields = {"base_url": server.base_url, "model": "m", "search_price": 2.0}
        baselines = {
            "same": component("scorer/cross_encoder", model=str(folder)),
            "far": component("scorer/vllm", **fields),
        }
        made = stage(path=str(folder), scorers=baselines, dollars_per_hour=3.6)
        (plan,) = made.plan(tables)
        assert plan.calls == 14
        facts = made.run(tables, tmp_path)
        assert (len(server.seen), server.most) == (14, 1), "two sizes, each once to warm up and six times, one by one"
        new_command(monkeypatch)
        assert made.run(tables, tmp_path)["asked"]["far"]["calls"] == 0
    said = json.loads((tmp_path / "latency.json").read_text())
    rows = {(row["system"], row["bytes"]): row for row in said["rows"]}
    assert [(row["bytes"], row["system"]) for row in said["rows"]] == [
        (size, name) for size in (300, 900) for name in ("one", "same", "far")
    ]
    assert facts["rows"] == 6
    for (name, size), row in rows.items():
        assert (row["calls"], row["documents"]) == (6, size // 100)
        assert 0 < row["p50_low"] <= row["p50"] <= row["p50_high"] <= row["p95"]
        assert row["queries_per_second"] == pytest.approx(1 / row["mean"])
        assert row["documents_per_second"] == pytest.approx(row["documents"] / row["mean"])
        own = row["mean"] * 1000 / 3600 * 3.6
        assert row["usd_per_1000"] == pytest.approx(2.0 if name == "far" else own), "a search of up to 100 documents"
    assert rows["far", 300]["p50"] >= 0.03
    model = Exported(folder, "cpu", "", 8)
    counts = [model.tokens(one.query, one.documents) for one in payloads(QUERIES, TEXTS, 300, 100, 7, 0)[1:]]
    assert rows["one", 300]["tokens"] == rows["same", 300]["tokens"] == pytest.approx(sum(counts) / 6)
    text = report.lines(said)
    assert text[2] == "0.3 KB: a query with 3 documents"
    assert "cores" in text[-2]
    assert text[-1].endswith("this machine costs 3.6 dollars an hour.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "model_path=null names no folder"),
        ({"path": "x", "payloads": [50]}, "none below document_bytes=100"),
        ({"path": "x", "repeats": 4}, "repeats=4: at least 6"),
    ],
)
def test_what_measures_nothing_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        stage(**changes).content()


def test_a_scorer_that_loads_its_model_for_each_call_is_refused() -> None:
    with pytest.raises(BadInput, match=r"baselines\.lm: object cannot be measured"):
        stage(scorers={"lm": object()}).check()
