"""Which column of a table holds what: found by its name, or named by the user with dataset.columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import pyarrow as pa

from zelo.errors import BadInput

CHUNK = 65_536  # rows that exist as Python objects at a time
LINE = "line"  # the column with the number of the line or row, from 1
LONGEST_NAME = 60  # characters of a header's cell

Kind = Literal["documents", "queries", "qrels"]

# role -> names that say so, the surest first
_KNOWN: dict[Kind, dict[str, str]] = {
    "documents": {
        "id": "_id id doc_id docid docno did pid passage_id document_id corpus_id article_id uuid guid ref key url path",
        "title": "title headline heading subject name",
        "text": "text body content contents passage document doc abstract article description answer chunk code",
    },
    "queries": {
        "query_id": "_id id query_id qid question_id topic_id topic_number number num uuid",
        "query": "text query question query_text search search_term keyword keywords title utterance prompt topic",
        "split": "split",
        "domain": "domain metadata_domain",
    },
    "qrels": {
        "judged_query": "query_id qid query queryid topic topic_id question_id q_id",
        "judged_document": "corpus_id doc_id docid docno document_id did pid passage_id document doc corpusid",
        "relevance": "score relevance rel label grade rating judgement judgment relevancy value",
    },
}
_NEEDED = {"documents": ("text",), "queries": ("query",), "qrels": ("judged_query", "judged_document", "relevance")}
_OF_HEADERLESS: dict[Kind, dict[int, list[str]]] = {  # number of columns -> what they are, "" for nothing
    "documents": {1: ["text"], 2: ["id", "text"], 3: ["id", "title", "text"], 4: ["id", "", "title", "text"]},
    "queries": {1: ["query"], 2: ["query_id", "query"]},
    "qrels": {3: ["judged_query", "judged_document", "relevance"]},
}


class Reader(Protocol):
    """Reads the rows of one kind of file."""

    UNIT: ClassVar[str]  # what `line` counts: a line or a row

    def fits(self, path: Path, head: bytes) -> bool:
        """Whether the file is of this kind, by its name and how it begins."""
        ...

    def names(self, path: Path, columns: "Columns") -> list[str]:
        """The names of its columns."""
        ...

    def rows(self, path: Path, columns: "Columns") -> Iterator[pa.Table]:
        """The chosen columns as texts, called by their roles, and `line`. Raises BadInput naming file and line."""
        ...


@dataclass(frozen=True)
class Columns:
    """What the columns of a table of this kind are; `named` are those that the user names, role -> column."""

    kind: Kind
    named: Mapping[str, str]

    @property
    def roles(self) -> list[str]:
        """Everything that a table of this kind can hold."""
        return list(_KNOWN[self.kind])

    def is_header(self, cells: Sequence[str], usual: bool) -> bool:
        """Whether the first line of a file names its columns. usual: a file of its format has a header, if nothing says no."""
        names = [cell.strip() for cell in cells]
        if any(name in self.named.values() for name in names):
            return True
        known = {name for roles in _KNOWN.values() for words in roles.values() for name in words.split()}
        short = all(0 < len(name) <= LONGEST_NAME for name in names) and len(set(names)) == len(names)
        if any(_plain(name) in known for name in names):
            return short
        return usual and short and not any(re.fullmatch(r"[-+\d.,]+", name) for name in names)

    def choose(self, names: Sequence[str], path: Path) -> dict[str, str]:
        """Role -> column. Raises BadInput that names the columns that there are."""
        found: dict[str, str] = {}
        taken = set(self.named.values())
        plain = {_plain(name): name for name in reversed(names)}
        for role, words in _KNOWN[self.kind].items():
            wanted = self.named.get(role)
            if wanted is not None and wanted not in names:
                raise BadInput(f"dataset.columns.{role}={wanted}: {path} has no such column; it has {', '.join(names)}")
            free = (plain[word] for word in words.split() if word in plain and plain[word] not in taken)
            if column := wanted or next(free, None):
                found[role] = column
                taken.add(column)
        if numbered(len(names)) == list(names):
            given = zip(names, _OF_HEADERLESS[self.kind].get(len(names), []), strict=False)
            found = {role: name for name, role in given if role and role not in self.named} | found
        for role in _NEEDED[self.kind]:
            if role not in found:
                found[role] = self._only_one_left(names, found, role, path)
        for column in found.values():
            if names.count(column) > 1:
                raise BadInput(f"{path} has the column {column!r} twice; give each a name of its own")
        return found

    def _only_one_left(self, names: Sequence[str], found: Mapping[str, str], role: str, path: Path) -> str:
        left = [name for name in names if name not in found.values()]
        if len(left) == 1 and self.kind != "qrels":
            return left[0]
        what = {"text": "the text", "query": "the query's text"}.get(role, role.replace("_", " "))
        raise BadInput(
            f"{path}: no column is known as {what}; it has {', '.join(names) or 'none'}: set dataset.columns.{role}=COLUMN"
        )


def numbered(count: int) -> list[str]:
    """The names of columns without a header: 1, 2, ..."""
    return [str(number) for number in range(1, count + 1)]


def batches(rows: Iterator[tuple[int, list[str | None]]], roles: Sequence[str]) -> Iterator[pa.Table]:
    """Tables of up to CHUNK rows (line, cells in the order of the roles); at least one."""
    schema = pa.schema([*((role, pa.string()) for role in roles), (LINE, pa.int64())])
    columns: list[list[str | None]] = [[] for _ in roles]
    lines: list[int] = []
    for line, cells in rows:
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
        lines.append(line)
        if len(lines) == CHUNK:
            yield pa.table([*columns, lines], schema=schema)
            columns, lines = [[] for _ in roles], []
    yield pa.table([*columns, lines], schema=schema)


def _plain(name: str) -> str:
    return re.sub(r"[-\s.]+", "_", name.strip().lower())
