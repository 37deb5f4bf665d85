"""Queries are made where there are none, and nothing changes where there are some."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from commands import command
from paid_judge import budget

from zelo.datasets.synthetic import Synthetic
from zelo.errors import BadInput
from zelo.queries.none import NoQueries
from zelo.records import DEV, DOCUMENT, MADE, QUERY, TEST, TRAIN
from zelo.retrievers.bm25 import Bm25
from zelo.retrievers.run import Run
from zelo.stages.make_queries import MakeQueries
from zelo.store.shards import write_parquet
from zelo.store.table import Table

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "nu", "re") for b in ("tan", "vos", "dir") for c in "aeiou"]
DOCS = [(f"d{n}", "", f"{WORDS[3 * n]} {WORDS[3 * n + 1]} {WORDS[3 * n + 2]}") for n in range(20)]
BM25 = Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None)


@dataclass(frozen=True)
class Written:
    """Writes what it was given, in batches of two."""

    rows: Sequence[tuple[str, str]]  # (text, document)
    most: int = 4
    mix: bool = True
    top_k: int = 1
    shown: list[str] = field(default_factory=list)  # the examples that it got

    def make(self, documents: pa.Table, examples: Sequence[str]) -> Iterator[pa.Table]:
        self.shown.extend(examples)
        for low in range(0, len(self.rows), 2):
            texts, ids = zip(*self.rows[low : low + 2], strict=True)
            yield pa.table([texts, ids, ["plain"] * len(ids)], schema=MADE)


def stage(maker: Any, retriever: Any = BM25) -> MakeQueries:
    return MakeQueries(
        inputs={"data": "load"},
        maker=maker,
        dataset=Synthetic(queries=1, documents=2),
        retriever=retriever,
        budget=budget(),
    )


def run(made: MakeQueries, queries: Sequence[tuple[str, str, str]], folder: Path) -> tuple[dict[str, Any], Table]:
    data, out = folder / "data", folder / "out"
    data.mkdir()
    out.mkdir()
    write_parquet(
        pa.Table.from_pylist([dict(zip(QUERY.names, row, strict=True)) for row in queries], schema=QUERY),
        QUERY,
        data,
        "queries",
    )
    write_parquet(
        pa.Table.from_pylist([dict(zip(DOCUMENT.names, row, strict=True)) for row in DOCS], schema=DOCUMENT),
        DOCUMENT,
        data,
        "documents",
    )
    facts = made.run({"data": Table("load", "", data, {"name": "words"})}, out)
    return facts, Table("makequeries", "", out, {})


def own(number: int, *others: int) -> tuple[str, str]:
    """A query of a document's own words, and of others'."""
    return " ".join(DOCS[n][2] for n in (number, *others)), DOCS[number][0]


def test_a_query_stays_that_is_new_and_finds_its_document(tmp_path: Path) -> None:
    lost = (DOCS[5][2], "d6")  # finds another document
    rows = [own(0), own(1), (DOCS[0][2].upper() + "!", "d0"), own(2), lost, own(3), own(4), own(7), own(8)]
    given = [("t", DOCS[1][2], TEST), ("v", DOCS[2][2], DEV), ("q", "anything else", TRAIN)]
    maker = Written(rows)
    facts, table = run(stage(maker), given, tmp_path)
    made = table.read("made").to_pylist()
    assert [row["doc_id"] for row in made] == ["d0", "d3", "d4"], "three and the real one are four"
    queries = table.read("queries").to_pylist()
    assert [row["query_id"] for row in queries[:3]] == ["t", "v", "q"], "real queries stay in front"
    assert [(row["text"], row["split"]) for row in queries[3:]] == [(row["text"], TRAIN) for row in made]
    counts = facts["made_queries"]
    assert counts["near_duplicates"] == {"test": 1, "made": 1, "dev": 1}
    assert (counts["tried"], counts["searched"], counts["found"]) == (8, 5, 4)
    assert maker.shown == ["anything else", DOCS[2][2]], "examples for a maker: never a test query"
    assert facts["notes"][0] == "3 queries are made, nobody has asked them: 3 plains"
    assert "4 of 5 (80%) find their document among the first 1" in facts["notes"][1]
    assert facts["notes"][2:] == [f"made for {row['doc_id']}: {row['text']}" for row in made]


def test_without_dev_queries_a_tenth_of_all_is_that(tmp_path: Path) -> None:
    facts, table = run(stage(Written([own(n) for n in range(20)], most=20)), [("t", "another text", TEST)], tmp_path)
    splits = table.read("queries")["split"].to_pylist()
    assert (splits.count(TRAIN), splits.count(DEV), splits.count(TEST)) == (18, 2, 1)
    assert "2 of all train queries, chosen by hash, serve as dev queries" in facts["notes"][0]


def test_a_run_file_still_knows_its_queries(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("t Q0 d1 1 1.0 mine\n")
    first = Run(path=str(tmp_path / "run.trec"), otherwise=BM25)
    _, table = run(stage(Written([own(n) for n in range(4)]), first), [("t", "another text", TEST)], tmp_path)
    assert len(table.read("made")) == 4


def test_enough_queries_are_left_alone_and_too_few_are_filled_up_only_if_asked() -> None:
    assert stage(Written([], mix=False)).passes == "data"
    assert stage(Written([], mix=True)).passes is None
    assert stage(NoQueries()).passes == "data"


def test_what_cannot_make_queries_is_one_line(tmp_path: Path) -> None:
    for maker, said in (
        (Written([], top_k=0), r"queries\.top_k=0: .* >= 1"),
        (Written([], most=-1), r"queries\.most=-1 is below 0"),
    ):
        with pytest.raises(BadInput, match=said):
            stage(maker)
    for name, rows, said in (
        ("none", [], "the 20 documents give no query"),
        (
            "lost",
            [(DOCS[5][2], "d6")],
            r"too few queries .* 1 tried; 0 of 1 \(0%\) find their document .* queries\.top_k",
        ),
    ):
        (tmp_path / name).mkdir()
        with pytest.raises(BadInput, match=said):
            run(stage(Written(rows)), [("t", "another text", TEST)], tmp_path / name)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with documents and nothing else."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rows = [{"_id": name, "title": "", "text": f"Here is what {text}. And {text} is all."} for name, _, text in DOCS]
    (tmp_path / "ALONE").mkdir()
    (tmp_path / "ALONE/corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "ALONE"


SMALL = ["dataset=beir", "retriever=bm25", "judge=lexical", "graph.degree=2", "top_k=8"]


def test_documents_alone_are_rated(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*SMALL, f"dataset.path={alone}", "until=rate", "queries.most=30") == 0
    said = capsys.readouterr().out
    assert "30 queries are made, nobody has asked them: 30 sentences; 3 of all train queries" in said
    assert said.count("made for d") == 10
    assert "rate " in said
    assert command(*SMALL, f"dataset.path={alone}", "until=rate", "queries=none") == 2
    assert "no train queries, and none are to be made" in capsys.readouterr().err


@pytest.mark.usefixtures("alone")
def test_where_there_are_queries_no_table_has_another_name(tiny_beir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for choice in ("queries=from_text", "queries=none"):
        assert command(*SMALL, f"dataset.path={tiny_beir}", choice, "until=rate", "plan=true") == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "make_queries" not in said[0]
