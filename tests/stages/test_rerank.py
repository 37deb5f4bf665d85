"""`pipeline=score`: trained models, exported, rerank a run and a jsonl as the stages that trained them score."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from commands import STUDENTS, command
from safetensors.numpy import load_file

from zelo.metrics.ir_measure import ranked
from zelo.metrics.trec import write_trec
from zelo.reporting import score_scale
from zelo.store.store import Store
from zelo.store.table import Table

README = Path(__file__).parents[2] / "README.md"
TEXTS = ["a red thing", "green", "white, black and " * 40, "green", ""]
QUERIES = ["what is red", "green"]


def latest(folder: Path, stage: str) -> tuple[Path, Table]:
    """The run directory that began last, and the table of one of its stages."""
    run = max(folder.glob("multirun/zelo/*"), key=lambda path: path.name)
    facts = json.loads((run / "manifest.json").read_text())["stages"][stage]
    table = Store.default().find(facts["kind"], facts["identity"])
    assert table
    return run, table


@pytest.fixture
def place(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tiny_beir / "qrels").mkdir()
    for split, queries in (("dev", (4, 5)), ("test", (6, 7))):
        rows = [f"q{q}\td{d}\t1\n" for q in queries for d in (q, q + 8)]
        (tiny_beir / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("student", ["late_interaction", "pointwise", "embedding"])
def test_a_model_scores_as_the_stage_that_trained_it(
    student: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "embedding" if student == "embedding" else "reranker"
    data = ["dataset=beir", "dataset.path=FOLDER"]
    chosen = [] if name == "embedding" else [f"model@reranker.model={student}"]
    whole = ["until=null", "stages.evaluate.resamples=100"] if student == "late_interaction" else [f"until={name}"]
    monkeypatch.setattr(score_scale, "LEAST", 20)
    monkeypatch.setattr(score_scale, "LEAST_RELEVANT", 2)
    assert command(*data, *STUDENTS, *chosen, *whole) == 0
    assert "the exported model scores 20 pairs as the trained one, largest difference" in capsys.readouterr().out
    trained_in, table = latest(place, name)
    card = (trained_in / name / "README.md").read_text()
    assert "Measured when it was exported: the exported" in card
    assert ("## What a score means" in card) == (student == "late_interaction")  # only labels say it, after evaluation
    parity = json.loads((trained_in / "manifest.json").read_text())["stages"][f"train_{name}"]["parity"]
    assert max(parity["largest_difference"].values()) < 1e-5 < parity["tolerance"]
    shutil.copytree(trained_in / name, place / "model")
    scored = table.read("scored")
    given = pa.table({**{key: scored[key] for key in ("query_id", "doc_id")}, "score": np.zeros(len(scored))})
    write_trec(ranked(given), "first", place / "first.trec")

    assert command("pipeline=score", *data, "model_path=model", "run=first.trec") == 0
    run, reranked = latest(place, "rerank")
    assert f"Reranked: {run.relative_to(place)}/reranked.trec" in capsys.readouterr().out
    order = [("query_id", "ascending"), ("doc_id", "ascending")]
    theirs, found = scored.sort_by(order), reranked.read("scored").sort_by(order)
    assert theirs.select(["query_id", "doc_id"]) == found.select(["query_id", "doc_id"])
    ours = theirs["score"].to_numpy()
    scale = load_file(latest_weights(trained_in, name))["scale"]
    ours = 1 / (1 + np.exp(-ours)) if student == "pointwise" else ours / scale
    assert np.ptp(ours) > 0.01
    np.testing.assert_allclose(found["score"].to_numpy(), ours, atol=2e-6)
    lines = [line.split() for line in (run / "reranked.trec").read_text().splitlines()]
    assert [(q, d, np.float32(s)) for q, _, d, _, s, _ in lines] == [
        tuple(row.values()) for row in ranked(reranked.read("scored")).to_pylist()
    ]

    records = [{"query": query, "documents": TEXTS, "id": n} for n, query in enumerate(QUERIES)]
    (place / "texts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert command("pipeline=score", "model_path=model", "run=texts.jsonl") == 0  # of no dataset
    run, _ = latest(place, "rerank")
    written = [json.loads(line) for line in (run / "reranked.jsonl").read_text().splitlines()]
    assert [line["id"] for line in written] == [0, 1]
    for line, expected in zip(written, in_three_lines(student, place / "model"), strict=True):
        assert line["documents"] == [TEXTS[place] for place in line["order"]]
        assert line["scores"] == sorted(line["scores"], reverse=True)
        np.testing.assert_allclose(line["scores"], expected[line["order"]], atol=2e-6)
    shutil.copytree(place / "model", place / "FOLDER" / "reranker")
    capsys.readouterr()
    in_readme()
    assert capsys.readouterr().out.splitlines()[0].split()[0] in "01"


def in_readme() -> None:
    """Runs the lines of README's that use a model, as they stand."""
    blocks = re.findall(r"^```python\n(import zelo\n.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    exec(blocks[0], {})


def latest_weights(run: Path, name: str) -> Path:
    facts = json.loads((run / "manifest.json").read_text())["stages"][f"train_{name}"]
    table = Store.default().find("train", facts["identity"])
    assert table
    return table.path / "weights.safetensors"


def in_three_lines(student: str, folder: Path) -> np.ndarray:
    """[Q, D] as README has it, without zelo."""
    import sentence_transformers

    if student == "pointwise":
        model = sentence_transformers.CrossEncoder(str(folder), device="cpu")
        return np.array([model.predict([(query, text) for text in TEXTS]) for query in QUERIES])
    kind = {"embedding": "SentenceTransformer", "late_interaction": "MultiVectorEncoder"}[student]
    model = getattr(sentence_transformers, kind)(str(folder), device="cpu")
    return model.similarity(model.encode_query(QUERIES), model.encode_document(TEXTS)).numpy()


def test_shares_and_threshold_by_hand() -> None:
    score = np.array([0.1, 0.8, 0.9, 0.8, 0.5, 0.3, 0.2])
    relevant = np.array([True, False, True, True, True, False, False])
    # F1 from the top, equal scores together: .9 2/5, .8 4/7, .5 6/8, .3 6/9, .2 6/10, .1 8/11
    best = score_scale.threshold(score, relevant)
    assert best == score_scale.Threshold(best.score, 0.75, 0.75)
    assert best.score == pytest.approx(0.4)
    assert score_scale.threshold(np.ones(3), np.array([True, False, False])).score == 1
    found = score_scale.parts(np.arange(20.0), np.arange(20) % 4 > 1)
    assert found[0] == score_scale.Part(18.0, 19.0, 2, 2)
    assert found[1] == score_scale.Part(16.0, 17.0, 2, 0)
    assert len(found) == 10


GOOD = "q1 Q0 d1 1 2.0 me\n"
MODEL = "model_path=model"


@pytest.mark.parametrize(
    ("run", "model", "complaint"),
    [
        (GOOD, "model_path=null", "model_path=null names no folder"),
        (GOOD, "model_path=nowhere", "model_path=nowhere: there is no such folder"),
        (GOOD, "model_path=FOLDER", "model_path=FOLDER: the folder is no CrossEncoder"),
        (GOOD, "model_path=parent", "Did you mean parent/reranker?"),
        (GOOD, "model_path=weightless", "model_path=weightless: the folder has no weights"),
        (GOOD, "model_path=broken", "model_path=broken: SentenceTransformer cannot load the folder"),
        (None, MODEL, "run=run does not exist"),
        (" \n\n", MODEL, "run=run: the file is empty"),
        (GOOD + "q99 Q0 d1 1 2.0 me\n", MODEL, "run, line 2: 'q99 Q0 d1 1 2.0 me' names a query that is not"),
        (GOOD + "q1 Q0 d99 1 2.0 me\n", MODEL, "run, line 2: 'q1 Q0 d99 1 2.0 me' names a document that is not"),
        (GOOD + "q1 Q0 d2\n", MODEL, "run, line 2: 'q1 Q0 d2' is not six columns"),
        ('{"query": "a", "documents": ["b"]}\n{"query": "a"}\n', MODEL, 'run, line 2: "documents" is None'),
        ('{"query": " ", "documents": ["b"]}\n', MODEL, 'run, line 1: no text as "query"'),
        ('{"query": "a", "documents": ["b", 3]}\n', MODEL, "run, line 1: \"documents\" is ['b', 3]"),
        ('{"query"\n', MODEL, "run, line 1: not JSON"),
    ],
)
def test_bad_input_is_one_line_before_any_scoring(
    run: str | None, model: str, complaint: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "parent" / "reranker").mkdir(parents=True)
    for name in ("model", "weightless", "broken"):
        (place / name).mkdir()
        (place / name / "config_sentence_transformers.json").write_text('{"model_type": "SentenceTransformer"}')
        if name != "weightless":
            (place / name / "model.safetensors").write_text("no weights")
    if run is not None:
        (place / "run").write_text(run)
    assert command("pipeline=score", "dataset=beir", "dataset.path=FOLDER", model, "run=run") == 2
    said = capsys.readouterr().err.strip()
    assert complaint in said
    assert "\n" not in said
    if "broken" not in model:  # its texts were read before
        assert not (place / "multirun").exists()
