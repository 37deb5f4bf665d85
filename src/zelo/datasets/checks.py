"""Rows of a user's tables become documents and queries: what can be repaired is, and is counted; the rest is refused by line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.columns import LINE
from zelo.domains import with_names
from zelo.errors import BadInput
from zelo.qrels import SPLIT_NAMES
from zelo.records import DOCUMENT, DOMAIN, QUERY, SPLITS

SPACE = "%20"  # in place of white space in an id: a run file is cut at spaces

_SPACES = r"[\s\p{Z}]+"


@dataclass(frozen=True)
class Rows:
    """The rows of several files, one below the other: a column of texts for each role that is there, and `line`."""

    table: pa.Table
    files: Sequence[tuple[Path, str, int]]  # the file, what `line` counts, and how many rows are its

    def place(self, row: int) -> str:
        """Where a row stands."""
        line = self.table[LINE][row].as_py()
        for path, unit, count in self.files:
            if row < count:
                return f"{path}:{line}" if unit == "line" else f"{path}, {unit} {line}"
            row -= count
        raise IndexError(row)

    def kept(self, mask: pa.ChunkedArray) -> "Rows":
        """The rows where the mask is true."""
        sizes, before = [], 0
        for path, unit, count in self.files:
            sizes.append((path, unit, pc.sum(mask.slice(before, count)).as_py() or 0))
            before += count
        return Rows(self.table.filter(mask), sizes)


def to_documents(rows: Rows) -> tuple[pa.Table, tuple[str, ...]]:
    """DOCUMENT rows, and notes. Raises BadInput naming the place of a document that has no id, or the id of another."""
    rows, notes = _with_ids(rows, "id", "document")
    table = rows.table
    title, text = (_filled(table, role) for role in ("title", "text"))
    _refuse_null_column(rows, "text")
    blank = pc.and_(_blank(title), _blank(text))
    if count := pc.sum(blank).as_py():
        first = rows.place(pc.index(blank, True).as_py())
        what = f"{count} of {len(table)} documents have neither title nor text, the first at {first}"
        notes.append(what)
    return pa.table([table["id"], title, text], schema=DOCUMENT), tuple(notes)


def to_queries(rows: Rows, splits: Sequence[str | None]) -> tuple[pa.Table, tuple[str, ...]]:
    """QUERY rows, `split` being what the row or else its file says, or null, with DOMAIN if they have one; and notes.

    splits: what the name of each file says. Raises BadInput naming the place.
    """
    given = [pa.repeat(pa.scalar(split, pa.string()), file[2]) for file, split in zip(rows.files, splits, strict=True)]
    of_file = pa.chunked_array(given, pa.string())
    own = rows.table["split"] if "split" in rows.table.column_names else pa.chunked_array([], pa.string())
    for name in pc.unique(own.drop_null()).to_pylist():
        if name and name.lower() not in SPLIT_NAMES:
            place = rows.place(pc.index(own, name).as_py())
            raise BadInput(f"{place}: split {name!r} is unknown; use one of {', '.join(SPLITS)} or leave it out")
    if len(own):
        said = [name and SPLIT_NAMES.get(name.lower()) for name in own.to_pylist()]
        of_file = pc.coalesce(pa.chunked_array([said], pa.string()), of_file)
    rows = Rows(rows.table.append_column("of", of_file), rows.files)
    blank = _blank(_filled(rows.table, "query"))
    notes = []
    if count := pc.sum(blank).as_py():
        first = rows.place(pc.index(blank, True).as_py())
        if count == len(blank):
            raise BadInput(
                f"{first}: no query has a text ({len(blank):,} of {len(blank):,} rows); name another column with"
                " dataset.columns.query=COLUMN, or take the file away: queries are made where there are none"
            )
        notes.append(f"{count_of(count, 'query', 'queries')} without a text left out, the first at {first}")
        rows = rows.kept(pc.invert(blank))
    rows, repaired = _with_ids(rows, "query_id", "query")
    table = rows.table
    queries = pa.table([table["query_id"], table["query"], table["of"]], schema=QUERY)
    if DOMAIN in table.column_names:
        queries = with_names(queries, table[DOMAIN])
    return queries, (*notes, *repaired)


def safe_id(name: str) -> str:
    """An id without white space, which a run file cannot hold."""
    return SPACE.join(name.split())


def count_of(count: int, one: str, many: str = "") -> str:
    """1 file, 2 files."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _filled(table: pa.Table, role: str) -> pa.ChunkedArray:
    if role not in table.column_names:
        return pa.chunked_array([pa.repeat("", len(table))])
    return pc.fill_null(table[role], "")


def _blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)


def _refuse_null_column(rows: Rows, role: str) -> None:
    column = rows.table[role] if role in rows.table.column_names else None
    if column is not None and len(column) and pc.all(_blank(pc.fill_null(column, ""))).as_py():
        title = "title" in rows.table.column_names and not pc.all(_blank(_filled(rows.table, "title"))).as_py()
        if not title:
            raise BadInput(
                f"{rows.files[0][0]}: the column of the {role} is empty in all {len(column):,} rows; name another with"
                f" dataset.columns.{role}=COLUMN"
            )


def _with_ids(rows: Rows, role: str, what: str) -> tuple[Rows, list[str]]:
    """The rows with usable ids, each once. Raises BadInput for a missing id, and for one id of two different rows."""
    table, notes = rows.table, []
    if role not in table.column_names:
        numbers = pa.array(np.arange(1, len(table) + 1)).cast(pa.string())
        return Rows(table.append_column(role, pa.chunked_array([numbers])), rows.files), notes
    ids = pc.utf8_trim_whitespace(pc.fill_null(table[role], ""))
    empty = pc.equal(ids, "")
    if pc.any(empty, min_count=0).as_py():
        count, first = pc.sum(empty).as_py(), rows.place(pc.index(empty, True).as_py())
        raise BadInput(
            f"{first}: no id ({count:,} of {len(ids):,} rows have none); write it, or name another column with"
            f" dataset.columns.{role}=COLUMN"
        )
    spaced = pc.match_substring_regex(ids, _SPACES)
    if count := pc.sum(spaced).as_py():
        ids = pc.replace_substring_regex(ids, _SPACES, SPACE)
        many = "id has" if count == 1 else "ids have"
        notes.append(f"{count:,} {what} {many} white space, which a run file cannot hold: {SPACE} stands for it")
    table = table.set_column(table.column_names.index(role), role, ids)
    return _without_repeats(Rows(table, rows.files), role, what, notes), notes


def _without_repeats(rows: Rows, role: str, what: str, notes: list[str]) -> Rows:
    counts = pc.value_counts(rows.table[role])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if not len(repeated):
        return rows
    places = pc.indices_nonzero(pc.is_in(rows.table[role], value_set=repeated))
    texts = [name for name in rows.table.column_names if name in ("title", "text", "query")]
    seen: dict[str, tuple[int, dict[str, str | None]]] = {}
    again: list[int] = []
    for row, name, content in zip(
        places.to_pylist(),
        rows.table[role].take(places).to_pylist(),
        rows.table.select(texts).take(places).to_pylist(),
        strict=True,
    ):
        first, before = seen.setdefault(name, (row, content))
        if content != before:
            raise BadInput(
                f"{rows.place(row)}: id {name!r} is also that of {rows.place(first)}, with another text; give each {what} an id"
                f" of its own, or name another column with dataset.columns.{role}=COLUMN"
            )
        if row != first:
            again.append(row)
    dropped = pa.array(again, pa.uint64())
    notes.append(
        f"{count_of(len(again), what, {'query': 'queries'}.get(what, ''))} given twice, word for word, kept once, the first at"
        f" {rows.place(again[0])}"
    )
    numbers = pa.array(np.arange(len(rows.table)).astype(np.uint64))
    return rows.kept(pa.chunked_array([pc.invert(pc.is_in(numbers, value_set=dropped))]))
