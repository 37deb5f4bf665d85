"""Anybody's data: what lies at a path, on the hub or in ir_datasets is found out, and said."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from zelo.datasets.checks import Rows, count_of, safe_id, to_documents, to_queries
from zelo.datasets.columns import LINE, Columns, Kind, batches
from zelo.datasets.delimited import suffix
from zelo.datasets.document_files import in_words, read_files, titles_in_words
from zelo.datasets.judgements import at_home, drop_unknown, refuse_lost_row
from zelo.datasets.layout import assemble, hash_large, split_queries
from zelo.datasets.left_out import without
from zelo.datasets.located import expanded, located
from zelo.datasets.sources import ABOUT, FORMATS, TABLES, Sources, reader_of
from zelo.errors import BadInput
from zelo.qrels import qrel_rows, qrel_table
from zelo.records import DEV, QREL, QUERY, TRAIN, Corpus
from zelo.store.hashing import hash_json

USUAL = ("_id", "text")  # columns that need no word
SHOWN = 3  # files that a line names
PLACES = {"query": "the queries", "document": "the documents"}


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Documents, queries and judgements from whatever is at `path`: a file, a folder, a pattern, hf:OWNER/NAME or irds:ID.

    `documents`, `queries` and `qrels` are other places for one of them, the last two also lists of places. `columns` names
    columns that are not found by their names: id, title and text of documents; query_id, query, split and domain of queries;
    judged_query, judged_document and relevance. Train and dev queries of the domains `leave_out` are not used. Judgements of
    train queries are opened by `train_qrels` alone; with `train_on_dev`, those of dev queries never are.
    """

    path: str | None
    documents: str | None
    queries: str | list[str] | None
    qrels: str | list[str] | None
    columns: dict[str, str | int | None]
    leave_out: str | list[str] | None
    train_on_dev: bool
    unknown_ids: Literal["error", "drop"]

    def __post_init__(self) -> None:
        if not (self.path or self.documents):
            raise BadInput(
                "dataset=auto: set dataset.path=PATH, a file, a folder or a pattern with your data; or dataset.documents=PATH"
            )

    def content(self) -> dict[str, str]:
        """Hashes of documents and queries, and of which queries the judgements name. Raises BadInput naming the place."""
        found = self._sources()
        texts = [[path.relative_to(found.root).as_posix(), hash_large(path)] for path in found.texts]
        tables = [[suffix(path), hash_large(path)] for path in found.documents]
        queries = [[suffix(path), split, hash_large(path)] for path, split in found.queries]
        named = self._judged(found, False)
        pairs = sorted(set(zip(named["query_id"].to_pylist(), named["split"].to_pylist(), strict=True)))
        parts = {"documents": [texts, tables], "queries": queries, "named": pairs}
        if found.commits:
            parts["commits"] = found.commits
        return {"path": "", "qrels": "", **{key: hash_json(part) for key, part in parts.items()}}

    def load(self) -> Corpus:
        """Reads and checks documents, queries and their splits; there may be no queries. Raises BadInput naming the place."""
        found = self._sources()
        documents, notes = self._documents(found)
        queries, more = self._queries(found)
        qrels, _ = self._known(found, False, queries, documents)  # what is dropped is counted where judgements are kept
        said = _said(found, self._columns, len(documents), len(queries))
        source = found.queries[0][0] if found.queries else found.root
        corpus = assemble(documents, queries, qrels, (said, *notes, *more, *_beside(found)), source)
        used, left = without(corpus.queries, self.leave_out)
        return replace(corpus, queries=used, notes=(*corpus.notes, *left), name=self._name(found))

    def has_train_queries(self) -> bool:
        """Whether there are any, known without reading the documents. Raises BadInput naming the file and the line."""
        found = self._sources()
        queries, _ = self._queries(found)
        return TRAIN in split_queries(queries, self._judged(found, False))[0]

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks the judgements. Raises BadInput naming the file and the line."""
        return self._at_home(False, queries, documents)

    def qrels_content(self) -> str:
        """Hash of the judgements. Raises BadInput naming the file and the line."""
        return hash_json(self._judged(self._sources(), False).select(QREL.names).to_pydict())

    def train_qrels(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Reads and checks those of train queries. Raises BadInput naming the file and the line."""
        return self._at_home(True, queries, documents)

    def train_qrels_content(self) -> str | None:
        """Hash of those of train queries, None without any. Raises BadInput naming the file and the line."""
        judged = self._judged(self._sources(), True)
        return hash_json(judged.select(QREL.names).to_pydict()) if len(judged) else None

    def _at_home(self, train: bool, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        qrels, dropped = self._known(self._sources(), train, queries, documents)
        own, left_out = at_home(qrels, queries)
        negative = pc.sum(pc.less(own["relevance"], 0)).as_py() or 0
        below = (f"{count_of(negative, 'judgement')} below 0, which counts as not relevant",) * bool(negative)
        return own, (*dropped, *left_out, *below)

    def _sources(self) -> Sources:
        found = located("path", self.path, None) if self.path else Sources(Path())
        if self.documents:
            other = located("documents", self.documents, "documents")
            found.root, found.texts, found.documents = other.root, other.texts, other.documents
            found.name = found.name if self.path else other.name
            found.learn(other)
        if self.queries:
            others = [located("queries", place, "queries") for place in _each(self.queries)]
            found.queries = [file for other in others for file in other.queries]
            found.learn(*others)
        if self.qrels:
            others = [located("qrels", place, "qrels") for place in _each(self.qrels)]
            found.qrels = [file for other in others for file in other.qrels]
            found.learn(*others)
        if not (found.texts or found.documents):
            there = [path.name for path, _ in [*found.queries, *found.qrels]] + [path.name for path in found.unread]
            raise BadInput(
                f"dataset.path={self.path}: no documents were found; it holds {', '.join(there[:5]) or 'nothing'}. Name them with"
                f" dataset.documents=PATH; {FORMATS}"
            )
        return found

    def _columns(self, kind: Kind) -> Columns:
        named = {role: str(column) for role, column in self.columns.items() if column is not None}
        roles = Columns(kind, {}).roles
        return Columns(kind, {role: column for role, column in named.items() if role in roles})

    def _documents(self, found: Sources) -> tuple[pa.Table, tuple[str, ...]]:
        if found.texts:
            return read_files(found.texts, found.root)
        documents, notes = to_documents(_rows(found.documents, self._columns("documents")))
        if not len(documents):
            raise BadInput(f"{found.documents[0]} holds no documents; write one on each line or row")
        return documents, notes

    def _queries(self, found: Sources) -> tuple[pa.Table, tuple[str, ...]]:
        if not found.queries:
            return QUERY.empty_table(), ()
        files, splits = zip(*found.queries, strict=True)
        queries, notes = to_queries(_rows(files, self._columns("queries")), splits)
        if self.train_on_dev:
            undone = pc.if_else(pc.equal(queries["split"], DEV), TRAIN, queries["split"])
            queries = queries.set_column(2, "split", undone)
        return queries, notes

    def _judged(self, found: Sources, train: bool) -> pa.Table:
        """The judgements in files of train queries, or in those of dev and test queries; with `place`."""
        files = [(path, split) for path, split in found.qrels if (split == TRAIN) == train]
        files = [(path, split) for path, split in files if not (split == DEV and self.train_on_dev)]
        columns = self._columns("qrels")
        return qrel_table(row for path, split in files for row in _qrel_rows(path, split, columns))

    def _known(
        self, found: Sources, train: bool, queries: pa.Table, documents: pa.Table
    ) -> tuple[pa.Table, tuple[str, ...]]:
        qrels = self._judged(found, train)
        lines = [(path, split) for path, split in found.qrels if _is_lines(path) and (split == TRAIN) == train]
        refuse_lost_row([] if self._columns("qrels").named else lines, queries, documents)
        return drop_unknown(qrels, queries, documents, self.unknown_ids == "drop", PLACES)

    def _name(self, found: Sources) -> str:
        if found.name:
            return found.name
        path = expanded("path", self.path or self.documents or "").absolute()
        return path.name if path.is_dir() else Path(path.stem).stem if path.is_file() else found.root.absolute().name


def _each(places: str | Sequence[str]) -> Sequence[str]:
    return [places] if isinstance(places, str) else places


def _rows(files: Sequence[Path], columns: Columns) -> Rows:
    """The rows of these files, one below the other; a column that a file lacks is null there."""
    read, parts = [], []
    for path in files:
        reader = reader_of(path)
        found = list(reader.rows(path, columns))
        read.append((path, reader.UNIT, sum(map(len, found))))
        parts += found
    names = [role for role in (*columns.roles, LINE) if any(role in part.column_names for part in parts)]
    empty = next(batches(iter(()), [name for name in names if name != LINE]))
    return Rows(pa.concat_tables([empty, *parts], promote_options="default").select(names), read)


def _is_lines(path: Path) -> bool:
    return suffix(path) not in TABLES


def _qrel_rows(path: Path, split: str, columns: Columns) -> Iterator[tuple[str, str, str, str, str]]:
    """(query, document, score, split, place) of a file of judgements. Raises BadInput for one without any."""
    rows = qrel_rows(path, split) if _is_lines(path) and not columns.named else _table_rows(path, split, columns)
    first = next(rows, None)
    if first is None:
        raise BadInput(f"{path} holds no judgements; write query-id, corpus-id and score on each line, or delete it")
    yield first
    yield from rows


def _table_rows(path: Path, split: str, columns: Columns) -> Iterator[tuple[str, str, str, str, str]]:
    rows = _rows([path], columns)
    if not len(rows.table):
        return
    roles = ("judged_query", "judged_document", "relevance")
    for row, cells in enumerate(zip(*(rows.table[role].to_pylist() for role in roles), strict=True)):
        if any(cell is None for cell in cells):
            raise BadInput(f"{rows.place(row)}: {roles[cells.index(None)]} is missing; write it or delete the row")
        query, document, score = cells
        yield safe_id(query), safe_id(document), score, split, rows.place(row)


def _said(found: Sources, columns: Callable[[Kind], Columns], documents: int, queries: int) -> str:
    """What was found, in one line."""
    if found.texts:
        place = "a folder of " if len(found.texts) > 1 else ""
        parts = [f"{place}{in_words(found.texts)}; ids are paths; {titles_in_words(found.texts)}"]
    else:
        kind = columns("documents")
        parts = [
            f"{_files(found.documents, found)}: {count_of(documents, 'document')}{_chosen(found.documents[0], kind)}"
        ]
    if found.queries:
        files = [path for path, _ in found.queries]
        said = _chosen(files[0], columns("queries"))
        parts.append(f"{_files(files, found)}: {count_of(queries, 'query', 'queries')}{said}")
    else:
        parts.append("no queries")
    parts.append(f"judgements: {_files([path for path, _ in found.qrels], found)}" if found.qrels else "no judgements")
    commits = f"{' and '.join(found.commits)}: " if found.commits else ""
    return commits + "; ".join(parts)


def _files(paths: Sequence[Path], found: Sources) -> str:
    return _named(paths[0], found) if len(paths) == 1 else f"{len(paths):,} files ({_named(paths[0], found)}, ...)"


def _named(path: Path, found: Sources) -> str:
    if path in found.called:
        return found.called[path]
    return path.relative_to(found.root).as_posix() if path.is_relative_to(found.root) else path.name


def _chosen(path: Path, columns: Columns) -> str:
    chosen = columns.choose(reader_of(path).names(path, columns), path)
    words = [
        f"{role} is {f'column {column}' if column.isdigit() else repr(column)}"
        for role, column in chosen.items()
        if column not in (role, *USUAL)
    ]
    words = ([] if columns.roles[0] in chosen else ["ids are row numbers"]) + words
    return f" ({', '.join(words)})" if words else ""


def _beside(found: Sources) -> tuple[str, ...]:
    """Notes about what was not read, and how names were understood."""
    left = sorted(path for path in found.unread if not ABOUT.fullmatch(path.name))
    notes = [*found.notes]
    if left:
        named = ", ".join(_named(path, found) for path in left[:SHOWN]) + ", ..." * (len(left) > SHOWN)
        notes.append(f"{count_of(len(left), 'other file')} not read: {named}")
    if found.own:
        named = ", ".join(str(path.relative_to(found.root)) for path in found.own)
        notes.append(f"{count_of(len(found.own), 'folder')} that zelo wrote not read: {named}")
    if found.links:
        notes.append(f"{count_of(found.links, 'link')} to a folder not followed")
    return tuple(notes)
