"""What an audit shows: a terminal that is wide enough, and pages that no text can break."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from html_page import HOSTILE, Page
from planted_judges import (
    QUERIES,
    Preference,
    audited,
    coin,
    data_and_labels,
    mostly_failing,
    position,
    right,
    stage,
    stored,
    table,
)
from rich.console import Console

from zelo.auditing.answers import JudgedPairs
from zelo.metrics.tally import Tally, tally
from zelo.reporting import disagreements, judge_costs
from zelo.reporting.audit_table import print_audit
from zelo.reporting.report import render
from zelo.reporting.report_data import ReportData
from zelo.store.table import Table


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    return data_and_labels(tmp_path)


def test_a_price_that_nobody_knows_is_not_zero() -> None:
    free, unknown, paid = (
        next(iter(tally([table({"judge": right}, price)]).values())) for price in ((0, 0.0), (50, 0.0), (50, 0.01))
    )
    assert free.usd_per_preference(free=False) == 0
    assert unknown.usd_per_preference(free=False) is None
    assert unknown.usd_per_preference(free=True) == 0
    assert paid.usd_per_preference(free=False) == pytest.approx(0.01)
    assert Tally().usd_per_preference(free=True) is None
    assert judge_costs.money(None) == "not known"
    assert [judge_costs.money(usd) for usd in (0.0, 0.00123, 0.5, 12.345, 12345.6)] == [
        "free",
        "$0.0012",
        "$0.50",
        "$12.35",
        "$12,346",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_is_wide_enough(
    width: int, tables: dict[str, Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges: dict[str, Preference] = {"right": right, "frontier/a-judge": position, "coin": coin, "f": mostly_failing}
    people = tmp_path / "people.parquet"
    pq.write_table(table({"right": right}).select(["query_id", "doc_a", "doc_b", "p"]), people)
    told = audited(tables, table(judges, price=(9, 0.0123)), tmp_path, stage(human=str(people)))
    capsys.readouterr()
    print_audit(told, Console(width=width, highlight=False, emoji=False, markup=False))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for words in (
        "right: keep.",
        "do not spend on it",
        "Krippendorff",
        "A whole run compares 60 pairs",
        "$ per",
        "all 4",
        "$ per 1,000: dollars for a thousand usable preferences",
        "$0.74 right",
    ):
        assert words in text
    assert ("83–100" in text) == (width == 100)
    assert "nan" not in text
    assert "None" not in text


def hostile(tables: dict[str, Table], tmp_path: Path) -> ReportData:
    """An audit whose judges, faults, queries, documents and reasons mean harm."""
    names = [HOSTILE[0], HOSTILE[3][:80], HOSTILE[7]]
    judges = dict(zip(names, (right, position, mostly_failing), strict=True))
    faults = {name: {"faults": {HOSTILE[1]: 3}, "calls": 5, "from_ledger": 2, "retries": 1, "cut": 4} for name in names}
    outcomes = table(judges, price=(9, 0.01))
    told = audited(tables, outcomes, tmp_path, judges=faults)
    judged = Table("judge", "", tmp_path / "judge", {"judges": faults})
    reasons = outcomes.select(["query_id", "doc_a", "doc_b", "judge", "swapped"]).append_column(
        "text", pa.array([HOSTILE[n % len(HOSTILE)] for n in range(len(outcomes))])
    )
    pq.write_table(reasons, judged.path / "reasons.parquet")
    queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
    queries = queries.set_column(1, "text", pa.array([HOSTILE[n % len(HOSTILE)] for n in range(QUERIES)]))
    documents = documents.set_column(2, "text", pa.array(HOSTILE[1:4])).set_column(1, "title", pa.array(HOSTILE[4:7]))
    return ReportData(
        title="audit",
        verdicts=[],
        metrics=[],
        per_query=None,
        curves={},
        stages=[],
        config="seed: 0",
        notes=[HOSTILE[0]],
        audit=told,
        judges=judge_costs.rows(judged),
        disagreements=disagreements.of_run(judged, None, queries, stored(tmp_path, "evil", {"documents": documents})),
    )


def test_no_text_breaks_the_page(tables: dict[str, Table], tmp_path: Path) -> None:
    html = render(hostile(tables, tmp_path))
    page = Page(html)
    allowed = {"html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer", "nav", "section"}
    allowed |= {"h1", "h2", "h3", "p", "a", "div", "span", "strong", "bdi", "br", "ul", "li", "dl", "dt", "dd", "table"}
    allowed |= {
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "g",
        "path",
        "defs",
        "clippath",
        "use",
        "rect",
        "text",
        "line",
    }
    allowed |= {"circle", "details", "summary", "pre"}
    assert page.tags <= allowed
    assert not page.comments
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset", "action")]
    links = {a["href"] for tag, a in page.elements if tag in ("a", "use") and "href" in a}
    assert {str(link) for link in links} <= {f"#{a['id']}" for _, a in page.elements if "id" in a}
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", html)
    for words in (HOSTILE[0], HOSTILE[1], "Advice", "Not measured: with people", "its reasons"):
        assert words in page.words
    assert {"advice", "audit", "scores", "whole-run", "judges", "disagreements"} <= {
        str(a.get("id")) for tag, a in page.elements if tag == "section"
    }
    assert "Leaderboard" not in page.words, "nothing was trained"
    assert render(hostile(tables, tmp_path)) == html


def test_an_ordinary_report_has_judges_and_disagreements_and_no_advice(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    page = Page(render(replace(hostile(tables, tmp_path), audit=None)))
    assert {"Judges", "Disagreements"} <= set(re.findall(r"\w+", page.words))
    assert "Advice" not in page.words
    alone = stored(tmp_path, "alone", dict.fromkeys(("outcomes", "widest"), table({"right": right})))
    assert disagreements.of_run(alone, None, tables["data"].read("queries"), tables["data"]) is None


def test_the_widest_disagreements_come_first_and_reasons_know_their_order(
    tables: dict[str, Table], tmp_path: Path
) -> None:
    outcomes = table({"right": right, "contrary": lambda *pair: 1 - right(*pair), "tie": lambda *_: 0.5})
    judged = stored(tmp_path, "judge", {"outcomes": outcomes, "widest": outcomes})
    said = {"query_id": ["q19"], "doc_a": ["d2"], "doc_b": ["d1"], "judge": ["right"], "swapped": [False]}
    pq.write_table(pa.table(said | {"text": ["because"]}), judged.path / "reasons.parquet")
    found = disagreements.of_run(judged, None, tables["data"].read("queries"), tables["data"])
    assert found is not None
    spreads = [pair.spread for pair in found]
    assert spreads == sorted(spreads, reverse=True)
    assert len(found) == disagreements.SHOWN
    queries = [pair.query_id for pair in found]
    assert max(map(queries.count, queries)) == disagreements.PER_QUERY
    assert set(queries) == {f"q{n}" for n in range(14, 20)}, "where `right` is surest"
    for pair in found:
        assert pair.query == f"question {pair.query_id}"
        p = {opinion.judge: opinion.p for opinion in pair.opinions}
        assert pair.spread == pytest.approx(abs(p["right"] - p["contrary"]))
        assert p["tie"] == pytest.approx(0.5)
    whole = JudgedPairs.of(outcomes).disagreements(60, 3)
    pairs = disagreements.disagreements(
        whole, tables["data"].read("queries"), tables["data"].read("documents"), judged.read("reasons"), outcomes
    )
    reasons = [
        (pair.documents[0][0], swapped, lines)
        for pair in pairs
        for opinion in pair.opinions
        for swapped, lines in opinion.reasons
    ]
    assert reasons == [("d1", True, ("because",))], "d2 was shown first, and d1 is named first here"


def test_reasons_are_lines_to_read() -> None:
    readable = disagreements.readable
    structured = '{"thoughts": ["Both are about it.", "The second\\nsays more."], "score": 0.5}'
    lines = ("Both are about it.", "The second says more.", "score +0.50, for B")
    assert readable(structured, 0.25) == readable(f"```json\n{structured}\n```", None) == lines
    assert readable('{"thoughts": "one text", "score": -1}', 1.0) == ("one text", "score \N{MINUS SIGN}1.00, for A")
    assert readable('{"thoughts": [], "scores": {"1": 0.5, "2": 0}}', 0.75) == ("scores: 1: 0.5, 2: 0",)
    assert readable("It is.\n\n**score-1a2b3c4d**: 0.50", 0.25) == ("It is.", "score +0.50, for B")
    assert readable('score-1a2b3c4d: {"1": 0.5}', 0.25) == ('score: {"1": 0.5}',)
    assert readable("A", 0.67) == ("A, with probability 0.67",)
    assert readable("B\n", 0.67) == ("B, with probability 0.33",)
    assert readable("B", 0.0) == ("B, counted as 1.00",), "preference=sign"
    assert readable("A", None) == ("A",)
    assert readable("[1, 2]", None) == ("[1, 2]",)
    many = readable("\n".join(f"line {n}" for n in range(99)) + "\nscore-1a2b3c4d: 1", 0.0)
    assert len(many) == disagreements.LINES + 1
    assert many[-2:] == ("…", "score +1.00, for B")


def test_columns_that_say_nothing_are_left_out(tables: dict[str, Table], tmp_path: Path) -> None:
    def heads(judges: dict[str, Preference], price: tuple[int, float], **noted: Any) -> list[str]:
        outcomes = table(judges, price)
        judged = stored(tmp_path, "some", {"outcomes": outcomes, "widest": outcomes}, judges=noted)
        data = replace(hostile(tables, tmp_path), audit=None, judges=judge_costs.rows(judged))
        section = render(data).partition('<section id="judges">')[2].partition("</section>")[0]
        return re.findall(r"<th[^>]*>([^<]+)</th>", section)

    assert heads({"right": right, "tie": lambda *_: 0.5}, (0, 0.0)) == ["judge", "questions", "answered", "cost"]
    assert heads({"right": right, "bad": mostly_failing}, (9, 0.01), bad={"calls": 3, "from_ledger": 0}) == [
        *("judge", "questions", "answered", "the others", "calls", "from the ledger", "tokens", "cost", "a preference")
    ]
