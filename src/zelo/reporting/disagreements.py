"""The pairs that judges differ most about, with both texts, what each judge says, and why, where it has said so."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.auditing.answers import COLUMNS, JudgedPairs
from zelo.facts import Facts
from zelo.reporting.excerpts import cut
from zelo.store.table import Table

SHOWN, PER_QUERY = 12, 2  # pairs on the page, and of one query
TEXT = 1200  # characters of a document, and of a line of a judge's reasons
LINES = 12  # of a judge's reasons
FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)
TAGGED = re.compile(r"[\s>*_`#-]*(\w+)-[0-9a-f]{8}[\s*_`]*:\s*(.*)")  # the last line of a free answer

Pair = tuple[str, ...]
"""query, the smaller document id, the larger one, judge"""


@dataclass(frozen=True)
class Opinion:
    """What one judge says. p: P(the first document preferred); reasons: (its first document was shown as B, lines)."""

    judge: str
    p: float
    reasons: list[tuple[bool, tuple[str, ...]]]


@dataclass(frozen=True)
class DisputedPair:
    """A pair and its judges, who are `spread` apart at most."""

    query_id: str
    query: str
    documents: list[tuple[str, str, str]]  # doc_id, title, text of the first and of the second
    spread: float
    opinions: list[Opinion]


def of_run(judged: Table, rows: pa.Table | None, queries: pa.Table, data: Table) -> list[DisputedPair] | None:
    """Of a judge stage's table; None where a single judge answered. rows: DISAGREEMENT, if they were chosen before.

    data: holds the documents; only those that are shown come into memory.
    """
    widest = judged.read("widest", COLUMNS)
    found = JudgedPairs.of(widest)
    if len(found.judges) < 2:
        return None
    chosen = found.disagreements(SHOWN, PER_QUERY) if rows is None else rows
    reasons = judged.read("reasons") if judged.has("reasons") else None
    shown = pc.field("doc_id").isin(pa.chunked_array([*chosen["doc_a"].chunks, *chosen["doc_b"].chunks], pa.string()))
    documents = pa.concat_tables([pq.read_table(path, filters=shown) for path in data.shards("documents")])
    return disagreements(chosen, queries, documents, reasons, widest)


def disagreements(
    rows: pa.Table, queries: pa.Table, documents: pa.Table, reasons: pa.Table | None, outcomes: pa.Table
) -> list[DisputedPair]:
    """With texts, the widest first. rows: DISAGREEMENT; reasons: REASON or None; outcomes: OUTCOME, the answers given."""
    listed = rows.to_pylist()
    opinions: dict[tuple[str, str, str], list[Opinion]] = {}
    asked = pa.array(sorted({row["query_id"] for row in listed}), pa.string())
    said = _reasons(_about(reasons, asked), _shown_first(_about(outcomes, asked)))
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
        found.append(DisputedPair(pair[0], query, shown, spread[pair], opinions[pair]))
    return found


def _texts(table: pa.Table, key: str, wanted: set[str], columns: list[str]) -> dict[str, tuple[str, ...]]:
    rows = table.filter(pc.is_in(table[key], value_set=pa.array(sorted(wanted), pa.string())))
    parts = (rows[column].to_pylist() for column in columns)
    cells = zip(*parts, strict=True)
    return {name: tuple(part or "" for part in one) for name, one in zip(rows[key].to_pylist(), cells, strict=True)}


def _about(table: pa.Table | None, queries: pa.Array) -> Iterator[tuple[Pair, bool, Facts]]:
    """Of rows about these queries the pair and its judge, whether the pair's first document was shown second, and the row."""
    if table is None:
        return
    for row in table.filter(pc.is_in(table["query_id"], value_set=queries)).to_pylist():
        a, b, swapped = row["doc_a"], row["doc_b"], row["swapped"]
        yield (row["query_id"], min(a, b), max(a, b), row["judge"]), swapped ^ (a > b), row


def _shown_first(answers: Iterator[tuple[Pair, bool, Facts]]) -> dict[tuple[Pair, bool], float]:
    """P(document shown first preferred), the mean over repeats."""
    found: dict[tuple[Pair, bool], list[float]] = {}
    for pair, turned, row in answers:
        if row["p"] is not None:
            found.setdefault((pair, turned), []).append(1 - row["p"] if row["swapped"] else row["p"])
    return {key: math.fsum(values) / len(values) for key, values in found.items()}


def _reasons(
    rows: Iterator[tuple[Pair, bool, Facts]], first: dict[tuple[Pair, bool], float]
) -> dict[Pair, list[tuple[bool, tuple[str, ...]]]]:
    found: dict[Pair, list[tuple[bool, tuple[str, ...]]]] = {}
    for pair, turned, row in rows:
        found.setdefault(pair, []).append((turned, readable(row["text"], first.get((pair, turned)))))
    return {pair: list(dict.fromkeys(said)) for pair, said in found.items()}


def readable(text: str, first: float | None) -> tuple[str, ...]:
    """An answer as lines to read: the thoughts and the score of a structured one, a letter with its probability.

    first: P(document shown first preferred), as the answer was read; None: it was not.
    """
    text = text.strip()
    if text in ("A", "B") and first is not None:
        p = first if text == "A" else 1 - first
        return (f"{text}, {'counted as' if p in (0, 0.5, 1) else 'with probability'} {p:.2f}",)
    fenced = FENCE.fullmatch(text)
    try:
        answer = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        answer = None
    lines = _lines(answer) if isinstance(answer, dict) else [_untagged(line) for line in text.splitlines()]
    shown = [line for line in (cut(line, TEXT) for line in lines) if line]
    return tuple([*shown[: LINES - 1], "…", shown[-1]] if len(shown) > LINES else shown)


def _untagged(line: str) -> str:
    found = TAGGED.fullmatch(line)
    if not found:
        return line
    try:
        return _score(float(found[2]))
    except ValueError:
        return f"{found[1]}: {found[2]}"


def _lines(answer: Facts) -> list[str]:
    lines = []
    for name, value in answer.items():
        if name == "thoughts":
            lines += [str(part) for part in value] if isinstance(value, list) else [str(value)]
        elif name == "score" and isinstance(value, int | float) and not isinstance(value, bool):
            lines.append(_score(value))
        elif isinstance(value, dict):
            lines.append(f"{name}: " + ", ".join(f"{label}: {part}" for label, part in value.items()))
        else:
            lines.append(f"{name}: {value}")
    return lines


def _score(value: float) -> str:
    side = "for A" if value < 0 else "for B" if value > 0 else "for neither"
    return f"score {value:+.2f}, {side}".replace("-", "\N{MINUS SIGN}")
