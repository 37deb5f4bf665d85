"""`zelo experiment=smoke`: every stage of the default pipeline once, for a component of a user's own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import yaml

from zelo import main
from zelo.errors import BadInput
from zelo.places import config_folder


@pytest.mark.long
def test_smoke_runs_every_stage_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("smoke opens a connection"))
    monkeypatch.setattr(sys, "argv", ["zelo", "experiment=smoke"])
    assert main.main() == 0
    (folder,) = (tmp_path / "multirun/smoke").iterdir()
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    named = {path.stem: yaml.safe_load(path.read_text()) for path in (config_folder() / "pipeline").glob("*.yaml")}
    passing = {"passages", "make_queries"}  # which have nothing to do here
    assert set(stages) == {*named["annotate"]["stages"], *named["default"]["stages"]} - passing
    assert {stage["status"] for stage in stages.values()} == {"computed"}
    assert "no figure on them means anything" in (folder / "report.html").read_text()
    assert (folder / "hybrid.json").is_file()


def test_bm25_finds_what_a_query_is_about(component: Callable[..., Any]) -> None:
    data = component("dataset/subjects")
    corpus = data.load()
    labels, _ = data.judgements(corpus.queries, corpus.documents)
    found = component("retriever/bm25").search(corpus.queries, corpus.documents, 1)
    best = set(zip(found["query_id"].to_pylist(), found["doc_id"].to_pylist(), strict=True))
    right = best & set(zip(labels["query_id"].to_pylist(), labels["doc_id"].to_pylist(), strict=True))
    assert len(right) > 0.8 * pc.count_distinct(labels["query_id"]).as_py()
    assert pc.count_distinct(corpus.queries["text"]).as_py() == len(corpus.queries)
    with pytest.raises(BadInput, match="queries=49"):
        component("dataset/subjects", queries=49)
