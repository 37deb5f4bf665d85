"""Passages of long documents: each document once among candidates, results by document, and a whole run."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from commands import STUDENTS, command
from components import component
from tiny_models import save

import zelo
from zelo import passages
from zelo.errors import BadInput
from zelo.judges.qrels import Qrels
from zelo.ranking import own_documents, without_own
from zelo.records import CANDIDATE, DOCUMENT, PASSAGE, QREL, QUERY, SCORED, Questions
from zelo.retrievers.random import Random
from zelo.retrievers.run import Run
from zelo.served import Served
from zelo.splitters.none import NoSplitting
from zelo.stages import rerank
from zelo.stages.labelled import LABELLED, Labelled
from zelo.stages.passages import Passages
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table

IDS = ["a#1", "a#2", "a#3", "b", "c#1", "c#2", "d"]
DOCUMENTS = pa.table([IDS, [""] * 7, ["text"] * 7, ["a", "a", "a", "b", "c", "c", "d"]], schema=PASSAGE)
QUERIES = pa.table([["q", "d"], ["one", "two"], ["train", "train"]], schema=QUERY)


def ranking(**lists: list[str]) -> pa.Table:
    """Candidates, best first, scores falling by one."""
    rows = [(query, doc, rank, -float(rank)) for query, found in lists.items() for rank, doc in enumerate(found)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=CANDIDATE)


def documents_of(rows: pa.Table, query: str) -> list[str]:
    return [row["doc_id"] for row in rows.to_pylist() if row["query_id"] == query]


def test_a_search_goes_deeper_until_there_are_enough_documents() -> None:
    order = {"q": ["a#3", "a#1", "a#2", "c#2", "c#1", "b", "d"], "d": ["d", "c#1", "a#2", "b", "c#2"]}
    depths: list[tuple[int, int]] = []

    def find(asked: pa.Table, k: int) -> pa.Table:
        depths.append((len(asked), k))
        return ranking(**{query: order[query][:k] for query in asked["query_id"].to_pylist()})

    found = passages.search(find, QUERIES, DOCUMENTS, 1)
    assert (documents_of(found, "q"), documents_of(found, "d")) == (["a#3"], ["d"])
    found = passages.search(find, QUERIES, DOCUMENTS, 3)
    assert (documents_of(found, "q"), documents_of(found, "d")) == (["a#3", "c#2", "b"], ["d", "c#1", "a#2"])
    assert found["rank"].to_pylist() == [0, 1, 2] * 2
    found = passages.search(find, QUERIES, DOCUMENTS, 9)
    assert documents_of(found, "q") == ["a#3", "c#2", "b", "d"], "no more than there are"
    assert depths == [(2, 2), (2, 6), (2, 7)]
    depths.clear()
    wide = pa.concat_tables([DOCUMENTS, DOCUMENTS.set_column(0, "doc_id", pa.array([f"more {n}" for n in range(7)]))])
    order["q"] = ["a#1", "a#2", "a#3", "more 0", "more 1", "b"]  # the first five of one document
    found = passages.search(find, QUERIES, wide, 2)
    assert (documents_of(found, "q"), documents_of(found, "d")) == (["a#1", "b"], ["d", "c#1"])
    assert depths == [(2, 4), (1, 14)], "queries that have enough are not searched again"
    found = passages.search(find, QUERIES, DOCUMENTS.select(DOCUMENT.names), 3)
    assert documents_of(found, "q") == ["a#1", "a#2", "a#3"], "where documents are whole nothing changes"


def test_a_document_scores_as_its_best_passage_and_passages_are_labelled_as_their_document() -> None:
    scores = [0.1, 0.9, 0.5, 0.7, 0.8, 0.2, 0.3]
    scored = pa.table([["q"] * 7, IDS, scores], schema=SCORED)
    found = passages.by_document(scored, DOCUMENTS, "score")
    assert dict(zip(found["doc_id"].to_pylist(), found["score"].to_pylist(), strict=True)) == pytest.approx(
        {"a": 0.9, "b": 0.7, "c": 0.8, "d": 0.3}
    )
    assert passages.by_document(found, DOCUMENTS, "score").sort_by("doc_id") == found.sort_by("doc_id"), (
        "once is enough"
    )
    assert passages.by_document(scored, None, "score") is scored
    labels = pa.table([["q", "q"], ["a", "b"], [2, 1], ["dev"] * 2], schema=QREL)
    spread = passages.by_passage(labels, DOCUMENTS).to_pylist()
    assert sorted((row["doc_id"], row["relevance"]) for row in spread) == [("a#1", 2), ("a#2", 2), ("a#3", 2), ("b", 1)]
    assert own_documents(pa.table([["a"], ["x"], ["dev"]], schema=QUERY), DOCUMENTS, keep=False)
    asked = pa.table([["c", "q"], ["x", "y"], ["dev"] * 2], schema=QUERY)
    kept, facts = without_own(ranking(c=["c#2", "a#1", "b"], q=["c#1", "b"]), asked, DOCUMENTS, 2)
    assert (documents_of(kept, "c"), documents_of(kept, "q")) == (["a#1", "b"], ["c#1", "b"])
    assert facts["own_documents"] == 1


def test_a_run_and_labels_name_documents(tmp_path: Path) -> None:
    """A run file and a file of labels know nothing of passages."""
    path = tmp_path / "run.trec"
    path.write_text("q Q0 c 1 3.0 me\nq Q0 d 2 2.0 me\nq Q0 a 3 1.0 me\n")
    found = Run(path=str(path), otherwise=Random(seed=0)).retrieved(QUERIES, DOCUMENTS, 3)
    drawn = documents_of(Random(seed=0).search(QUERIES, DOCUMENTS, 7), "q")
    best = {name: next(doc for doc in drawn if doc[0] == name) for name in "ac"}
    assert documents_of(found.candidates, "q") == [best["c"], "d", best["a"]], "the order is that of the run"
    assert len({doc[0] for doc in documents_of(found.candidates, "d")}) == 3, "each document once"
    assert "lines that name a document that was split: 2;" in found.notes[1]
    (tmp_path / "qrels.tsv").write_text("q\ta\t1\n")
    judge = Qrels(name="labels", path=str(tmp_path / "qrels.tsv"), slope=50.0, sd=0.0, slip=0.0, seed=0)
    asked = Questions(QUERIES, DOCUMENTS, *np.array([[0, 0], [1, 3], [3, 2], [0, 0]], np.int32))
    assert judge.compare(asked).p.tolist() == pytest.approx([1, 0])


def test_a_train_label_is_of_the_passage_among_the_candidates(tmp_path: Path) -> None:
    for name in ("data", "labels", "candidates", "out"):
        (tmp_path / name).mkdir()
    write_parquet(DOCUMENTS, PASSAGE, tmp_path / "data", "documents")
    rows = [("q", "a", 3), ("q", "b", 1), ("r", "c", 2), ("r", "d", 1), ("s", "b", 1)]
    columns = [*(list(column) for column in zip(*rows, strict=True)), ["train"] * 5]
    write_parquet(pa.table(columns, schema=QREL), QREL, tmp_path / "labels", "qrels")
    write_shard(
        ranking(q=["b", "a#2"], r=["b", "d"], s=["d", "a#1"]), CANDIDATE, tmp_path / "candidates", "candidates", 0
    )
    tables = {name: Table(name, name, tmp_path / name, {}) for name in ("data", "labels", "candidates")}
    Labelled(inputs={}, top_k=2, keep_own_document=False).run(tables, tmp_path / "out")
    found = Table("", "", tmp_path / "out", {}).read("labelled").select(LABELLED.names).to_pylist()
    assert {(row["query_id"], row["doc_id"], row["relevance"], row["missing"]) for row in found} == {
        ("q", "a#2", 3, False),
        ("r", "d", 1, False),  # nobody knows which passage of c is meant
        ("s", "b", 1, True),
    }


def test_a_run_is_reranked_by_the_best_passage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        """Scores the seven passages."""

        loader = "Model"

        def __init__(self, *_: object) -> None: ...

        def scores(
            self, queries: list[str], texts: list[str], query: np.ndarray, row: np.ndarray, _: object
        ) -> np.ndarray:
            assert len(texts) == len(DOCUMENTS)
            return np.array([0.1, 0.9, 0.5, 0.7, 0.8, 0.2, 0.3])[row] + 10 * query

    monkeypatch.setattr(rerank, "Exported", Model)
    monkeypatch.setattr(rerank, "loader_of", lambda *_: "Model")
    tables = {name: Table(name, name, tmp_path / name, {}) for name in ("data", "passages")}
    for table in tables.values():
        table.path.mkdir()
    whole = pa.table([list("abcd"), [""] * 4, ["text"] * 4], schema=DOCUMENT)
    candidates = ranking(q=["b", "d", "c"], d=["a", "b"])
    contents = (("queries", QUERY, QUERIES), ("documents", DOCUMENT, whole), ("candidates", CANDIDATE, candidates))
    for name, schema, rows in contents:
        write_parquet(rows, schema, tables["data"].path, name)
    write_parquet(DOCUMENTS, PASSAGE, tables["passages"].path, "documents")
    rerank.Rerank(inputs={}, path="model", hardware=component("hardware/cpu"), batch_size=1).run(tables, tmp_path)
    found = [line.split()[:5:2] for line in (tmp_path / "reranked.trec").read_text().splitlines()]
    order = {query: [(doc, round(float(score), 5)) for asked, doc, score in found if asked == query] for query in "qd"}
    assert order == {"q": [("c", 0.8), ("b", 0.7), ("d", 0.3)], "d": [("a", 10.9), ("b", 10.7)]}


def test_an_id_that_is_taken_is_refused(tmp_path: Path) -> None:
    class Halves(NoSplitting):
        def split(self, documents: pa.Table) -> list[list[tuple[str, str]]]:
            return [[("", text[:3]), ("", text[3:])] for text in documents["text"].to_pylist()]

    write_parquet(QUERIES, QUERY, tmp_path, "queries")
    write_parquet(pa.table([["x", "x#2"], ["", ""], ["abcdef"] * 2], schema=DOCUMENT), DOCUMENT, tmp_path, "documents")
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match=r"a document has the id 'x#2', which a passage of another would get \(1 such\)"):
        Passages(inputs={}, splitter=Halves()).run({"data": Table("load", "", tmp_path, {})}, tmp_path / "out")


@pytest.mark.usefixtures("zelo_home")
def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Six long documents and four short ones; the answer to each query stands in one paragraph of a long one."""
    monkeypatch.chdir(tmp_path)
    words = ["red", "green", "blue", "black", "white", "pink", "grey", "brown"]
    texts = [
        [f"The {a} {b} stands on the hill and is seen from far." for b in ("cat", "dog", "cow", "owl")]
        for a in words[:6]
    ]
    documents = [{"_id": f"long/{n}", "title": words[n], "text": "\n\n".join(part)} for n, part in enumerate(texts)]
    documents += [{"_id": f"short{n}", "title": "", "text": f"A {word} hill."} for n, word in enumerate(words[4:])]
    queries = [
        {"_id": f"q{n}", "text": f"{words[n % 6]} {animal}"}
        for n, animal in enumerate(["cat", "dog", "cow", "owl"] * 4)
    ]
    folder = tmp_path / "FOLDER"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, numbers in (("dev", range(4, 8)), ("test", range(8, 12))):
        (folder / f"qrels/{split}.tsv").write_text("".join(f"q{n}\tlong/{n % 6}\t1\n" for n in numbers))
    save("xlm_r", tmp_path / "tiny")
    chosen = ["dataset=beir", "dataset.path=FOLDER", "splitter=tokens", "splitter.tokens=128", "splitter.overlap=8"]
    chosen += [f"{place}.backbone.model=tiny" for place in ("splitter", "embedding", "reranker")]
    chosen += ["backbone=xlm_r", "retriever=bm25", "retriever@first_stages.dense=random", "judge=lexical"]
    assert command(*chosen, "known_items.items=0", "stages.evaluate.resamples=100", *STUDENTS) == 0
    said = capsys.readouterr().out
    [passage_count] = re.findall(
        r"^  passages    (\d+), as 6 of 10 documents are split; .*the most are of long/\d: \d", said, re.M
    )
    [run] = (tmp_path / "multirun/zelo").iterdir()
    ids = {document["_id"] for document in documents}
    for path in (run / "runs").glob("*.trec"):
        rows = [line.split()[:3:2] for line in path.read_text().splitlines()]
        assert {doc for _, doc in rows} <= ids, f"{path.name} ranks documents"
        assert len({tuple(row) for row in rows}) == len(rows), f"{path.name} ranks each once"
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row["value"] for row in metrics if (row["system"], row["metric"]) == ("bm25", "nDCG@10")} == {1.0}
    for name in ("embedding", "reranker"):
        card = (run / name / "README.md").read_text()
        assert f"a corpus of 10 documents, split into {passage_count} passages" in card
        assert "6 of 10 documents are split" in card
        assert "- passages: Tokens (tokens 128, overlap 8) of Encoder" in card
    served = zelo.load(run)
    assert isinstance(served, Served)
    found = [doc for doc, _ in served.search("red cat", top_k=20)]
    assert found[0] == "long/0"
    assert sorted(found) == sorted(set(found) & ids), "documents, each once"
