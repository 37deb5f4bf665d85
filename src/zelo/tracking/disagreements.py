"""The pairs that judges differ most about, with both texts, what each judge says, and why, where it has said so."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from zelo.auditing.answers import COLUMNS, Answers
from zelo.store import Table
from zelo.tracking.ladders import cut

SHOWN, PER_QUERY = 12, 2  # pairs on the page, and of one query
TEXT = 1200  # characters of a document, and of a judge's reasons


@dataclass(frozen=True)
class Opinion:
    """What one judge says. p: P(the first document preferred); reasons: (its first document was shown as B, text)."""

    judge: str
    p: float
    reasons: list[tuple[bool, str]]


@dataclass(frozen=True)
class Disagreement:
    """A pair and its judges, who are `spread` apart at most."""

    query_id: str
    query: str
    documents: list[tuple[str, str, str]]  # doc_id, title, text of the first and of the second
    spread: float
    opinions: list[Opinion]


def of_run(judged: Table, rows: pa.Table | None, queries: pa.Table, documents: pa.Table) -> list[Disagreement] | None:
    """Of a judge stage's table; None where a single judge answered. rows: DISAGREEMENT, if they were chosen before."""
    found = Answers.of(judged.read("widest", COLUMNS))
    if len(found.judges) < 2:
        return None
    if rows is None:
        rows = found.disagreements(SHOWN, PER_QUERY)
    reasons = judged.read("reasons") if judged.shards("reasons")[0].exists() else None
    return disagreements(rows, queries, documents, reasons)


def disagreements(
    rows: pa.Table, queries: pa.Table, documents: pa.Table, reasons: pa.Table | None
) -> list[Disagreement]:
    """With texts, the widest first. rows: DISAGREEMENT; reasons: query_id, doc_a, doc_b, judge, swapped, text, or None."""
    listed = rows.to_pylist()
    opinions: dict[tuple[str, str, str], list[Opinion]] = {}
    said = _reasons(reasons)
    for row in listed:
        key = (row["query_id"], row["doc_a"], row["doc_b"])
        opinions.setdefault(key, []).append(Opinion(row["judge"], row["p"], said.get((*key, row["judge"]), [])))
    spread = {(row["query_id"], row["doc_a"], row["doc_b"]): row["spread"] for row in listed}
    pairs = list(opinions)[:SHOWN]
    words = _texts(queries, "query_id", {query for query, _, _ in pairs}, ["text"])
    texts = _texts(documents, "doc_id", {doc for pair in pairs for doc in pair[1:]}, ["title", "text"])
    found = []
    for pair in pairs:
        sides = [(doc, *texts.get(doc, ("", ""))) for doc in pair[1:]]
        shown = [(doc, cut(title, TEXT), cut(text, TEXT)) for doc, title, text in sides]
        query = words.get(pair[0], ("",))[0]
        found.append(Disagreement(pair[0], query, shown, spread[pair], opinions[pair]))
    return found


def _texts(table: pa.Table, key: str, wanted: set[str], columns: list[str]) -> dict[str, tuple[str, ...]]:
    rows = table.filter(pc.is_in(table[key], value_set=pa.array(sorted(wanted), pa.string())))
    parts = (rows[column].to_pylist() for column in columns)
    cells = zip(*parts, strict=True)
    return {name: tuple(part or "" for part in one) for name, one in zip(rows[key].to_pylist(), cells, strict=True)}


def _reasons(table: pa.Table | None) -> dict[tuple[str, ...], list[tuple[bool, str]]]:
    """(query, doc_a, doc_b, judge) -> what it said, for the pair as the smaller id first names it."""
    found: dict[tuple[str, ...], list[tuple[bool, str]]] = {}
    for row in [] if table is None else table.to_pylist():
        a, b, swapped = row["doc_a"], row["doc_b"], row["swapped"]
        if a > b:
            a, b, swapped = b, a, not swapped
        found.setdefault((row["query_id"], a, b, row["judge"]), []).append((swapped, cut(row["text"], TEXT)))
    return {key: list(dict.fromkeys(said)) for key, said in found.items()}
