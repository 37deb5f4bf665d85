"""zelo from Python: what a notebook calls does what the command does."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer
from scipy.special import erfinv

import zelo
from zelo.pipeline.run import assemble
from zelo.run_directory import RunDirectory

TOP = Path(__file__).parents[1]
QUICK = ("retriever=bm25", "judge=lexical", "graph.degree=4")


def test_a_run_gives_its_tables_and_says_what_it_lacks(
    tiny_beir: Path, tmp_path: Path, zelo_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = zelo.run([f"data={tiny_beir}", *QUICK, "until=target"])
    assert run.folder.parent == tmp_path / "multirun" / "zelo"
    assert run.manifest["command"] == f"zelo data={tiny_beir} {' '.join(QUICK)} until=target"
    rated, lists = run.ratings, run.training_lists.to_pylist()
    assert len(rated) == len(run.candidates) > 0
    assert set(run.outcomes["judge"].to_pylist()) == {"lexical"}
    pairs = run.training_examples.to_pylist()
    again = [(row["query"], *both) for row in lists for both in zip(row["documents"], row["labels"], strict=True)]
    assert [tuple(row.values()) for row in pairs] == again
    texts = [json.loads(line) for line in (tiny_beir / "corpus.jsonl").read_text().splitlines()]
    assert {row["document"] for row in pairs} <= {f"{text['title']}\n{text['text']}" for text in texts}
    assert run.report._repr_html_().startswith("<iframe")
    with pytest.raises(zelo.BadInput, match=r"no metrics\.json.*target"):
        _ = run.metrics
    with pytest.raises(zelo.BadInput, match="holds no run"):
        RunDirectory(tmp_path)
    for name in ("ratings", "outcomes", "candidates"):  # the store's own: nobody may write into them
        file = (run.folder / f"{name}.parquet").stat()
        assert file.st_nlink == 2
        assert not file.st_mode & 0o222


@pytest.mark.parametrize("pipeline", ["default", "rerankers"])
def test_a_composed_config_can_be_assembled_without_the_command(pipeline: str) -> None:
    config = zelo.compose([f"pipeline={pipeline}", "retriever=bm25"])
    assert "hydra" not in config
    assert assemble(config)
    if pipeline == "default":
        assert config.stages.evaluate.candidates_as == "bm25"


def test_two_documents_have_the_ratings_of_the_closed_form() -> None:
    """P(a preferred) = (1 + erf D) / 2, so D = erfinv(2 p - 1)."""
    rows = zelo.rate([("b", "a"), ("x", "y")], [0.1, 0.7], query=["one", "two"], weight=[1e4, 1e4]).to_pylist()
    assert [row["doc_id"] for row in rows] == ["a", "b", "x", "y"]
    gaps = [rows[0]["rating"] - rows[1]["rating"], rows[2]["rating"] - rows[3]["rating"]]
    np.testing.assert_allclose(gaps, erfinv([0.8, 0.4]), rtol=1e-5)
    assert zelo.rate([("b", "a")], [0.1], solver="bradley_terry").column_names == ["doc_id", "rating", "stderr"]


def test_a_paid_judge_is_asked_in_both_orders_once(zelo_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    with FakeServer() as server:
        asked = ["judge.model=gpt-4.1-mini", f"judge.base_url={server.base_url}", "budget.calls=2"]
        found = zelo.judge("chat", "red fish", ["a red fish"], ["a dog"], asked).to_pylist()
        calls = len(server.seen)
        again = zelo.judge("chat", "red fish", ["a red fish"], ["a dog"], asked).to_pylist()
        assert len(server.seen) == calls == 2
    assert found[0]["status"] == "answered"
    assert again[0]["p"] == found[0]["p"]
    assert found[0]["p"] == pytest.approx((found[0]["p_a_first"] + found[0]["p_b_first"]) / 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: zelo.compose("solver=thurstone"), "give a list"),
        (lambda: zelo.compose(["solvr=thurstone"]), "Did you mean solver"),
        (lambda: zelo.run(["solver=elo"]), "no such option"),
        (lambda: zelo.run(["until=nothing"]), "no such stage"),
        (lambda: zelo.rate([("a", "b")], [0.5], solver="elo"), "solver=elo"),
        (lambda: zelo.rate([("a", "b")], [0.5, 0.2]), "p has 2 values"),
        (lambda: zelo.rate([("a", "b")], [float("nan")]), "comparison 0"),
        (lambda: zelo.rate([], []), "no pairs"),
        (lambda: zelo.judge("lexical", "a", "b", ["c", "d"]), "judge: b must be"),
        (lambda: zelo.judge("student", "a", "b", "c"), "judge.path=RUN_FOLDER/pairwise"),
        (lambda: zelo.judge("chat", "a", "b", "c"), "judge.model has no value yet"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, words: str, zelo_home: Path) -> None:
    with pytest.raises(zelo.BadInput, match=words):
        call()


@pytest.mark.long
def test_the_notebook_of_the_documentation_runs(
    tmp_path: Path, zelo_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(TOP / "docs", docs)
    monkeypatch.chdir(docs)
    cells = json.loads((docs / "zelo.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    run = names["run"]
    assert isinstance(run, RunDirectory)
    assert len(run.ratings) > 100
    assert len(pq.read_table(run.folder / "training_lists.parquet")) > 20
