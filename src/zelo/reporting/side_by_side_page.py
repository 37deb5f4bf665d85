"""Two rankings that a judge compared blind: the figures, and the queries where its preference is clearest, list beside list."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.evaluation.side_by_side import NO_DIFFERENCE, NOT_PREFERRED, PREFERRED, clearest
from zelo.evaluation.verdict import FEWEST
from zelo.facts import Facts
from zelo.reporting.disagreements import readable
from zelo.reporting.excerpts import cut
from zelo.reporting.plots import AxisScale
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

FILE = "side_by_side.json"
TEXT = 300  # characters of a document
SCALE = AxisScale(-4, 104)  # win rates in percent
Pair = tuple[str, str, str]  # query, smaller doc_id, larger one
TONES = {PREFERRED: "gain", NOT_PREFERRED: "loss"}


@dataclass(frozen=True)
class ShownDocument:
    """One of a list; texts are cut."""

    doc_id: str
    title: str
    text: str


@dataclass(frozen=True)
class WrittenReason:
    """What a judge wrote about two documents. first: doc_id of the one that was shown as A."""

    judge: str
    first: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class SidePlace:
    """One place of two lists. p: P(the left document preferred), None where nobody answered or a list has no document."""

    number: int
    left: ShownDocument | None
    right: ShownDocument | None
    p: float | None
    reasons: list[WrittenReason]

    @property
    def same(self) -> bool:
        """Whether both lists have one document here, so that there was nothing to ask."""
        return self.left is not None and self.left == self.right


@dataclass(frozen=True)
class ComparedQuery:
    """advantage: as evaluation.side_by_side says it, above 0 where the system's list is preferred."""

    query_id: str
    text: str
    advantage: float
    places: list[SidePlace]


@dataclass(frozen=True)
class ComparedSystems:
    """A row of side_by_side.json, and the queries that the system wins and loses most clearly."""

    facts: Facts
    won: list[ComparedQuery]
    lost: list[ComparedQuery]


@dataclass(frozen=True)
class SideBySideResult:
    """What a stage has found."""

    judges: list[str]
    split: str
    depth: int
    rows: list[ComparedSystems]


def of_run(result: "Result") -> list[SideBySideResult]:
    """Of each stage that compared rankings."""
    return [
        of_table(table, result.tables[str(result.upstream(name, "data"))])
        for name, table in result.tables.items()
        if (table.path / FILE).is_file()
    ]


def of_table(table: Table, data: Table) -> SideBySideResult:
    """data: holds queries and documents; only those that are shown come into memory."""
    found = json.loads((table.path / FILE).read_text(encoding="utf-8"))
    advantage = table.read("advantage")
    chosen = [(row, *_clearest(_of(advantage, row))) for row in found["rows"]]
    shown = _Shown.of(table, data, sorted({query for _, won, lost in chosen for query in won | lost}))
    rows = [ComparedSystems(row, shown.queries(row, won), shown.queries(row, lost)) for row, won, lost in chosen]
    return SideBySideResult(found["judges"], found["split"], found["depth"], rows)


def _clearest(own: pa.Table) -> tuple[dict[str, float], dict[str, float]]:
    """Query -> advantage of those that a system wins and loses most clearly. own: ADVANTAGE rows of a comparison."""
    lead, queries = pc.fill_null(own["advantage"], float("nan")).to_numpy(), own["query_id"].to_pylist()
    won, lost = ({queries[row]: float(lead[row]) for row in rows} for rows in clearest(lead))
    return won, lost


@dataclass(frozen=True)
class _Shown:
    """What there is to show of some queries."""

    texts: Mapping[str, str]
    places: pa.Table  # PLACES
    documents: Mapping[str, ShownDocument]
    reasons: Mapping[Pair, list[WrittenReason]]

    @staticmethod
    def of(table: Table, data: Table, queries: list[str]) -> "_Shown":
        asked = pa.array(queries, pa.string())
        words = _about(data.read("queries"), asked)
        places, reasons, answers = (_about(table.read(name), asked) for name in ("places", "reasons", "answers"))
        wanted = pa.chunked_array([*places["doc_a"].chunks, *places["doc_b"].chunks], pa.string()).unique()
        shown = pc.field("doc_id").isin(wanted.drop_null())
        rows = pa.concat_tables([pq.read_table(path, filters=shown) for path in data.shards("documents")])
        listed = zip(*(rows[name].to_pylist() for name in ("doc_id", "title", "text")), strict=True)
        return _Shown(
            texts=dict(zip(words["query_id"].to_pylist(), words["text"].to_pylist(), strict=True)),
            places=places,
            documents={
                doc: ShownDocument(doc, cut(title or "", TEXT), cut(text or "", TEXT)) for doc, title, text in listed
            },
            reasons=_written(reasons, answers),
        )

    def queries(self, row: Facts, advantages: Mapping[str, float]) -> list[ComparedQuery]:
        """Of one comparison."""
        own = _of(self.places, row).sort_by("place").to_pylist()
        return [
            ComparedQuery(
                query, self.texts[query], advantage, [self._place(one) for one in own if one["query_id"] == query]
            )
            for query, advantage in advantages.items()
        ]

    def _place(self, row: Facts) -> SidePlace:
        left, right = (self.documents[row[name]] if row[name] is not None else None for name in ("doc_a", "doc_b"))
        pair = _pair(row) if left and right else None
        return SidePlace(row["place"], left, right, row["p"], self.reasons.get(pair, []) if pair else [])


def _of(table: pa.Table, row: Facts) -> pa.Table:
    """The rows of one comparison."""
    same = (pc.equal(table[name], row[name]) for name in ("system", "baseline"))
    return table.filter(pc.and_(*same))


def _about(table: pa.Table, queries: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["query_id"], value_set=queries))


def _pair(row: Facts) -> Pair:
    a, b = row["doc_a"], row["doc_b"]
    return row["query_id"], min(a, b), max(a, b)


def _written(reasons: pa.Table, answers: pa.Table) -> dict[Pair, list[WrittenReason]]:
    """reasons: REASON; answers: OUTCOME rows about the same queries."""
    p = {(*_pair(row), row["judge"]): row["p"] for row in answers.to_pylist()} if len(reasons) else {}
    found: dict[Pair, list[WrittenReason]] = {}
    for row in reasons.to_pylist():
        pair, first = _pair(row), row["doc_b"] if row["swapped"] else row["doc_a"]
        known = p.get((*pair, row["judge"]))
        lines = readable(row["text"], 1 - known if row["swapped"] and known is not None else known)
        found.setdefault(pair, []).append(WrittenReason(row["judge"], first, lines))
    return found


def view(found: SideBySideResult) -> Facts:
    """As the template shows it; win rates in percent."""
    rows = []
    for one in found.rows:
        row = one.facts
        rate, low, high = (
            None if row.get(key) is None else 100 * row[key] for key in ("win_rate", "ci_low", "ci_high")
        )
        rows.append(
            row
            | {
                "tone": TONES.get(row["verdict"], "muted"),
                "words": _words(row),
                "rate": rate,
                "low": low,
                "high": high,
                "sides": [
                    (name, some) for name, some in ((row["system"], one.won), (row["baseline"], one.lost)) if some
                ],
            }
        )
    return {"judges": found.judges, "split": found.split, "depth": found.depth, "rows": rows, "scale": SCALE}


def _words(row: Facts) -> str:
    """What is said of the system."""
    if not row["queries"]:
        return f"against {row['baseline']}: no query has an answer"
    few = f": at least {FEWEST} queries are needed" * (row["queries"] < FEWEST)
    said = {
        PREFERRED: f"is preferred to {row['baseline']}",
        NO_DIFFERENCE: f"no difference shown from {row['baseline']}",
    }
    return said.get(row["verdict"], f"is not preferred: {row['baseline']} is") + few
