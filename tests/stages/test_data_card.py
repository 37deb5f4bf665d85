"""The data card: what it counts, where it is said, and what dropping duplicates does."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from commands import command
from html_page import Page

from zelo.pipeline.run import Result
from zelo.records import DOCUMENT, QREL, QUERY
from zelo.reporting.data_card import lines
from zelo.stages.data_card import DataCard
from zelo.store.shards import write_parquet
from zelo.store.table import Table

TEXTS = ["one two, three", "one two, three", "", "日本語 text", "Ein deutscher Satz steht hier."]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    """Five documents, four queries, three labels."""
    splits, ids = ["train", "train", "test", "duplicate"], ["d0", "d1", "d2", "d3", "d4"]
    contents = {
        "queries": (QUERY, [["q0", "q1", "q2", "q3"], ["same", "same", "other words", "other words"], splits]),
        "documents": (DOCUMENT, [ids, ["a title", "a title", "", "", ""], TEXTS]),
        "qrels": (QREL, [["q2", "q2", "q2"], ["d0", "d1", "d2"], [2, 0, 1], ["test"] * 3]),
    }
    for name, (schema, columns) in contents.items():
        write_parquet(pa.table(columns, schema=schema), schema, tmp_path, name)
    facts = {"duplicates": {"train": 1}, "notes": ["something was repaired"]}
    return {role: Table(role, role, tmp_path, facts) for role in ("data", "labels")}


def card_of(tables: dict[str, Table], out: Path) -> Table:
    out.mkdir()
    return Table("datacard", "x", out, DataCard(inputs={}).run(tables, out))


def test_what_it_counts(tables: dict[str, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    guess = SimpleNamespace(classify=lambda text: ("de" if "deutsch" in text else "en", -1.0))
    monkeypatch.setitem(sys.modules, "py3langid", guess)
    table = card_of(tables, tmp_path / "card")
    assert table.read("lengths").to_pydict() == {"length": [0, 4, 6], "documents": [1, 1, 3]}
    assert table.manifest["card"]["notes"] == ["something was repaired"] * 2
    assert dict(lines(table, Result())) == {
        "queries": "2 train, 1 test; words and marks: median 1, 95 % up to 2, longest 2",
        "documents": "5; words and marks: median 6, 95 % up to 6, longest 6; 1 empty",
        "languages": "en 66.7 %, de 33.3 % (of 3 documents)",
        "duplicates": "1 document has the title and text of one before (drop_duplicates=true leaves it out); none nearly;"
        " 1 query has the text of one before, of its split",
        "judgements": "1 test query with 3.0 labels each, 2.0 of them relevant",
        "left out": "1 train query with the text of a query that measures",
    }


def test_domains_of_queries_that_share_one_corpus(tables: dict[str, Table], tmp_path: Path):
    queries = tables["data"].read("queries")
    queries = queries.append_column("domain", pa.array(["law", "art", "law", None], pa.string()))
    write_parquet(queries, queries.schema, tables["data"].path, "queries")
    said = dict(lines(card_of(tables, tmp_path / "card"), Result()))
    assert said["domains"] == "without a domain no queries; art 1 train; law 1 train, 1 test"


def test_it_does_without_labels_and_queries(tables: dict[str, Table], tmp_path: Path):
    write_parquet(QUERY.empty_table(), QUERY, tables["data"].path, "queries")
    said = dict(lines(card_of({"data": tables["data"]}, tmp_path / "card"), Result()))
    assert said["queries"] == "none"
    assert said["judgements"] == "not read"


@pytest.mark.usefixtures("zelo_home")
def test_every_run_begins_with_it_and_duplicates_are_dropped_on_demand(
    tiny_beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with (tiny_beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "again", "title": "red", "text": "red red"}\n')  # as d0
    (tiny_beir / "qrels").mkdir()
    (tiny_beir / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tagain\t1\nq1\td3\t1\n")
    small = [
        "retriever=bm25",
        "judge=lexical",
        "top_k=6",
        "graph.degree=2",
        "dataset=beir",
        f"dataset.path={tiny_beir}",
    ]
    runs = {}
    for until, more in (("rate", []), ("labels", ["drop_duplicates=true"])):
        folder = tmp_path / until
        assert command(f"until={until}", f"hydra.run.dir={folder}", *small, *more) == 0
        runs[until] = json.loads((folder / "manifest.json").read_text())["stages"]
    assert list(runs["rate"])[:3] == ["load", "labels", "data_card"]
    assert list(runs["labels"]) == ["load", "labels", "data_card"]
    plain, dropped = (runs[until]["data_card"]["card"] for until in ("rate", "labels"))
    assert (plain["documents"], plain["duplicates"]["exact"]) == (25, 1)
    assert (dropped["documents"], dropped["duplicates"]["exact"], dropped["left_out"]["documents"]) == (24, 0, 1)
    assert plain["judged"]["test"] == dropped["judged"]["test"]
    said = capsys.readouterr().out
    assert "1 document has the title and text of one before, left out (drop_duplicates=true): again = d0" in said
    assert "labels of dropped documents, now of the same document that is kept: 1\n" in said
    assert "again and d0" in Page((tmp_path / "rate/report.html").read_text()).words
