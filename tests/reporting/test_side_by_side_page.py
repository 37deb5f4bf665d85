"""Two rankings that a judge compared: lists, preferences and reasons stand on the page as they were asked and answered."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chat_questions import FIELDS
from fake_server import FakeServer, Seen
from html_page import HOSTILE, Page
from paid_judge import budget

from zelo.judges.chat import Chat
from zelo.records import DOCUMENT, QUERY, SCORED
from zelo.reporting.report import render
from zelo.reporting.report_data import ReportData
from zelo.reporting.side_by_side_page import of_table
from zelo.stages.side_by_side import SideBySide
from zelo.store.shards import write_parquet
from zelo.store.table import Table

NEW = {"q1": "01234", "q2": "4321", "q3": "10", "q4": "0"}  # digits are documents; the larger is the better one
OLD = {"q1": "02143", "q2": "01", "q3": "43", "q4": "0"}


def compared(folder: Path, server: FakeServer, texts: list[str]) -> tuple[Table, Table]:
    """(what the stage has made, what it has read)."""
    tables = {name: Table(name, name, folder / name, {}) for name in ("data", "new", "old", "out")}
    for table in tables.values():
        table.path.mkdir()
    queries = pa.table([list(NEW), [f"about {query}" for query in NEW], ["test"] * len(NEW)], schema=QUERY)
    documents = pa.table([list("01234"), texts, [f"text number {n}" for n in range(5)]], schema=DOCUMENT)
    write_parquet(queries, QUERY, tables["data"].path, "queries")
    write_parquet(documents, DOCUMENT, tables["data"].path, "documents")
    for name, run in (("new", NEW), ("old", OLD)):
        rows = [(query, doc, float(-place)) for query, listed in run.items() for place, doc in enumerate(listed)]
        columns = [list(column) for column in zip(*rows, strict=True)]
        write_parquet(pa.table(columns, schema=SCORED), SCORED, tables[name].path, "scored")
    judge: Any = FIELDS | {"base_url": server.base_url, "api_key_env": None}
    stage = SideBySide(
        inputs={name: name for name in ("data", "new", "old")},
        judge=Chat(**judge),
        compared={"new": ["old"]},
        candidates_as="bm25",
        split="test",
        depth=3,
        resamples=100,
        seed=0,
        budget=budget(usd=5.0),
    )
    facts = stage.run({name: tables[name] for name in ("data", "new", "old")}, tables["out"].path)
    return Table("side_by_side", "x", tables["out"].path, facts), tables["data"]


def says(seen: Seen) -> str:
    """For the larger number, by their difference, with words that mean harm."""
    a, b = map(int, re.findall(r"text number (\d)", seen.body["messages"][-1]["content"]))
    return json.dumps({"thoughts": [f"A is number {a}, B is number {b}.", *HOSTILE[:4]], "score": (b - a) / 5})


@pytest.mark.usefixtures("zelo_home")
def test_lists_preferences_and_reasons(tmp_path: Path) -> None:
    with FakeServer(text=says) as server:
        table, data = compared(tmp_path, server, HOSTILE[:5])
    found = of_table(table, data)
    assert (found.judges, found.split, found.depth) == (["chat"], "test", 3)
    (row,) = found.rows
    assert [query.query_id for query in row.won] == ["q2"], "q4 is a tie"
    assert [query.query_id for query in row.lost] == ["q3", "q1"], "the clearest first"
    assert (row.facts["wins"], row.facts["ties"], row.facts["losses"]) == (1, 1, 2)
    assert [place.same for place in row.lost[1].places] == [True, False, False]
    won = row.won[0]
    assert [(p.number, p.left and p.left.doc_id, p.right and p.right.doc_id) for p in won.places] == [
        (1, "4", "0"),
        (2, "3", "1"),
        (3, "2", None),
    ]
    assert [p.p for p in won.places] == [pytest.approx(0.9), pytest.approx(0.7), None]
    assert row.lost[0].places[0].p == pytest.approx(0.2)
    sides = set()
    for place in (*won.places, *row.lost[0].places):
        for reason in place.reasons:
            assert reason.lines[0].startswith(f"A is number {reason.first},"), "the side that was A"
            sides.add(place.left is not None and reason.first == place.left.doc_id)
    assert sides == {True, False}
    assert sum(len(place.reasons) for place in (*won.places, *row.lost[0].places)) == 4

    page = Page(render(ReportData("x", [], [], None, {}, [], "", [], side_by_side=[found])))
    words = " ".join(page.words.split())
    assert (
        "new no difference shown from old: at least 30 queries are needed 1 won, 1 tied, 2 lost of 4 queries" in words
    )
    assert "about q2 new is preferred by 0.65" in words
    assert "about q3 old is preferred by 0.60" in words
    assert "#side-by-side" in {attributes.get("href") for _, attributes in page.elements}
    assert not {"img", "iframe", "script"} & {tag for tag, _ in page.elements}, "texts stay texts"
    assert HOSTILE[0] in words
