"""The whole paper on a small corpus and a small backbone: gold pairs, a pairwise student that judges, ratings, two students."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import tiny_models
from commands import DISTILLED, command

from zelo.store.store import Store
from zelo.store.table import Table


def run_folder(place: Path) -> Path:
    return max(place.glob("multirun/zelo/*"), key=lambda path: path.name)


def table(run: Path, stage: str) -> Table:
    facts = json.loads((run / "manifest.json").read_text())["stages"][stage]
    found = Store.default().find(facts["kind"], facts["identity"])
    assert found
    return found


@pytest.mark.long
def test_the_whole_paper(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny_models.save("xlm_r", tmp_path / "tiny")
    (tiny_beir / "qrels").mkdir()
    for split, queries in (("dev", (4, 5)), ("test", (6, 7))):
        rows = [f"q{q}\td{d}\t1\n" for q in queries for d in (q, q + 8)]
        (tiny_beir / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    assert command(*DISTILLED) == 0, capsys.readouterr().err
    run = run_folder(tmp_path)
    gold, silver = table(run, "judge_gold").read("outcomes"), table(run, "judge").read("outcomes")
    assert len(gold) == len(pc.unique(gold["query_id"])) == 8, "one pair a query"
    assert pc.unique(silver["judge"]).to_pylist() == ["student"]
    assert len(silver) > 100, "four comparisons of each candidate"
    assert 0.01 <= pc.min(silver["p"]).as_py() <= pc.max(silver["p"]).as_py() <= 0.99
    for folder in ("pairwise", "reranker", "embedding"):
        assert (run / folder / "README.md").read_text()
    card = (run / "pairwise" / "README.md").read_text()
    assert "a judge that compares two documents" in card
    assert "Simulated" in card
    assert "Thurstone" not in card, "ratings came after it"
    with monkeypatch.context() as patch:
        patch.chdir(run)
        exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0], {})
    assert 0 < float(re.findall(r"tensor\((0\.\d+)", capsys.readouterr().out)[-1]) < 1
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["stages"]["train_pairwise"]["judging"]["test"]["pairs"] == 2
    report = (run / "report.html").read_text()
    for said in (
        "likelihood of a preference",
        "train_pairwise: on 2 dev pairs it decides",
        "simulated",
        "zelo-reranker",
    ):
        assert said in report, said
    systems = {row["system"] for row in json.loads((run / "metrics.json").read_text())}
    assert {"zelo", "zelo-embedding", "zelo-reranker", "teacher"} <= systems
    # The exported folder is the same judge as the student in its pipeline.
    alone = ["judge=student", f"judge.path={run / 'pairwise'}", "pipeline=annotate", "until=judge"]
    chosen = [
        line
        for line in DISTILLED
        if line.partition(".")[0].partition("=")[0] in ("dataset", "retriever", "top_k", "graph")
    ]
    assert command(*chosen, *alone) == 0, capsys.readouterr().err
    again = table(run_folder(tmp_path), "judge").read("outcomes")
    assert again["doc_a"] == silver["doc_a"]
    np.testing.assert_allclose(again["p"].to_numpy(), silver["p"].to_numpy(), atol=1e-6)
    assert command(*chosen, "judge=student", "pipeline=annotate", "plan=true") == 2
    assert "path=null names no model" in capsys.readouterr().err
