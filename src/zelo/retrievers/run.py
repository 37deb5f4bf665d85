"""Candidates that somebody else retrieved: a TREC run file."""

import codecs
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from zelo import domains, passages
from zelo.errors import BadInput
from zelo.protocols import Retriever
from zelo.ranking import document_ids, rows_of, top_candidates
from zelo.records import TEST, UNUSED, Retrieved
from zelo.store.hashing import hash_file

_COLUMNS = ("query_id", "q0", "doc_id", "rank", "score", "name")
_SHAPE = "is not six columns (query Q0 document rank score name) with a number as score"
_DEPTH = 1000  # passages of a query among which those of the run's documents are looked for
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run in the file `path`, ordered by its scores, as trec_eval does; the ranks that it gives are compared alone.

    Train and dev queries that it does not name are searched by `otherwise`, to learn from; test queries stay without. Where
    documents were split the run still names documents: of each, the passage that `otherwise` ranks first stands for it.
    """

    path: str
    otherwise: Retriever

    def content(self) -> dict[str, str]:
        """Hash of the run file. Raises BadInput if there is none."""
        return {"path": hash_file(self._file())}

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best score first, ties by doc_id. Raises BadInput naming the line that cannot be used."""
        return self.retrieved(queries, documents, top_k).candidates

    def retrieved(self, queries: pa.Table, documents: pa.Table, top_k: int) -> Retrieved:
        """The same, which of the queries the file lacks and `otherwise` has searched, and what is odd in the file."""
        run = self._of_passages(read_run(self._file(), queries, documents), queries, documents)
        found = top_candidates(queries, documents, run.query_row, run.doc_row, run.score, top_k)
        lacking = np.ones(queries.num_rows, bool)
        lacking[run.query_row] = False
        split = np.array(queries["split"].to_pylist(), object)
        lacking &= split != UNUSED
        filled = lacking & (split != TEST)
        if not lacking.any():
            return Retrieved(found, filled, run.notes)
        note = f"{self.path} lacks {lacking.sum():,} of {len(lacking):,} queries: its ranking counts 0 there"
        if filled.any():
            rest = domains.search(
                lambda some, of: passages.search(self._otherwise(of), some, of, top_k),
                queries.filter(pa.array(filled)),
                documents,
            )
            both = pa.concat_tables([found, rest])
            order = np.lexsort((both["rank"].to_numpy(), rows_of(both["query_id"], queries["query_id"])))
            found = both.take(pa.array(order))
            named = type(self.otherwise).__name__
            note += (
                f"; {filled.sum():,} of train and dev get candidates by {named} (retriever.otherwise), to learn from"
            )
        if left := int((lacking & ~filled).sum()):
            note += f"; {left:,} of test get none"
        return Retrieved(found, filled, (note, *run.notes))

    def _of_passages(self, run: "RunLines", queries: pa.Table, documents: pa.Table) -> "RunLines":
        """The same, with the best passage of each document where documents were split."""
        if "document_id" not in documents.column_names:
            return run
        named = queries.take(pa.array(np.unique(run.query_row)))
        found = passages.best_passages(self.otherwise.search(named, documents, _DEPTH), documents)
        rows = rows_of(found["doc_id"], documents["doc_id"])
        ids = document_ids(documents)
        first = rows_of(ids, ids)  # [D] the first passage of each one's document
        known = rows_of(found["query_id"], queries["query_id"]) * documents.num_rows + first[rows]
        order = np.argsort(known)
        wanted = run.query_row * documents.num_rows + run.doc_row
        place = np.minimum(np.searchsorted(known, wanted, sorter=order), max(len(known) - 1, 0))
        there = known[order][place] == wanted if len(known) else np.zeros(len(wanted), bool)
        doc_row = np.where(there, rows[order][place], run.doc_row) if len(known) else run.doc_row
        split = np.bincount(first, minlength=len(first))[run.doc_row] > 1
        if not split.any():
            return run
        note = (
            f"{self.path}: lines that name a document that was split: {int(split.sum()):,}; its passage that"
            f" {type(self.otherwise).__name__} (retriever.otherwise) ranks first is the candidate, or its first passage where"
            f" none is among the best {_DEPTH:,} ({int((split & ~there).sum()):,} lines)"
        )
        return replace(run, doc_row=doc_row, notes=(*run.notes, note))

    def _otherwise(self, documents: pa.Table) -> passages.Search:
        return lambda queries, top_k: self.otherwise.search(queries, documents, top_k)

    def _file(self) -> Path:
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise BadInput(f"retriever.path={self.path}: there is no such file. Give a TREC run file.")
        return path


@dataclass(frozen=True)
class RunLines:
    """The N lines of a run file, in its order."""

    query_row: np.ndarray  # [N]
    doc_row: np.ndarray  # [N]
    score: np.ndarray  # [N] float64, all within float32
    notes: tuple[str, ...]  # equal scores, and ranks that say something else


def read_run(path: Path, queries: pa.Table, documents: pa.Table) -> RunLines:
    """Rows of the two tables and scores; of a document that was split, the row of its first passage.

    queries: QUERY; documents: DOCUMENT or PASSAGE. Raises BadInput naming the line that cannot be used.
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    data = re.sub(rb"[ \t\r]*\n\s*|\Z", b"\n", re.sub(rb"[ \t]+", b" ", data)).lstrip()
    if not data:
        raise BadInput(f"{path} is empty. Name a run file with lines: query Q0 document rank score name.")
    options = {
        "read_options": pyarrow.csv.ReadOptions(column_names=_COLUMNS, use_threads=False),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(("query_id", "doc_id", "rank"), pa.string()) | {"score": pa.float64()},
            include_columns=["query_id", "doc_id", "rank", "score"],
            strings_can_be_null=False,
        ),
    }
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(data), **options)
    except pa.ArrowInvalid:
        raise _fault(path, None, _SHAPE) from None
    score = table["score"].to_numpy()
    query_row = rows_of(table["query_id"], queries["query_id"])
    doc_row = rows_of(table["doc_id"], document_ids(documents))
    pair = query_row * documents.num_rows + doc_row
    again = np.ones(len(pair), bool)
    again[np.unique(pair, return_index=True)[1]] = False
    for bad, complaint in (
        (query_row < 0, "names a query that is not in the dataset"),
        (doc_row < 0, "names a document that is not in the corpus"),
        (~np.isfinite(score), "has no finite score"),
        (np.abs(score) > _LARGEST, "has a score beyond 32-bit numbers (3.4e38)"),
        (again, "names a document of its query a second time"),
    ):
        if bad.any():
            raise _fault(path, int(bad.argmax()), complaint)
    return RunLines(query_row, doc_row, score, _notes(path, query_row, score.astype(np.float32), _ranks(table["rank"])))


def _ranks(column: pa.ChunkedArray) -> np.ndarray | None:
    try:
        return column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:  # nothing reads them but this comparison
        return None


def _notes(path: Path, query_row: np.ndarray, score: np.ndarray, rank: np.ndarray | None) -> tuple[str, ...]:
    """What a reader of the run should know of its order. score: [N] float32, as they are kept."""
    notes = []
    order = np.lexsort((score, query_row))
    equal = np.append(False, (np.diff(query_row[order]) == 0) & (np.diff(score[order]) == 0))
    if equal.any():
        tied = order[equal | np.append(equal[1:], False)]
        notes.append(
            f"{path}: lines that share their score with another line of their query: {len(tied):,}, the first is line"
            f" {_line(path, int(tied.min()))[0]}; equal scores are ordered by document id, not by rank"
        )
    if rank is not None:
        order = np.lexsort((rank, query_row))
        later = (np.diff(query_row[order]) == 0) & (np.diff(rank[order]) > 0)
        better = order[1:][later & (np.diff(score[order]) > 0)]
        if len(better):
            notes.append(
                f"{path}: lines whose score is above that of the line ranked before them: {len(better):,}, the first is line"
                f" {_line(path, int(better.min()))[0]}; the score decides, as in trec_eval"
            )
    return tuple(notes)


def _line(path: Path, row: int) -> tuple[int, str]:
    """Number and text of the `row`-th line that is not blank."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        written = ((number, line.strip()) for number, line in enumerate(file, 1) if line.strip())
        return next(item for place, item in enumerate(written) if place == row)


def _fault(path: Path, row: int | None, complaint: str) -> BadInput:
    """The error for the `row`-th line that is not blank; None: for the first that cannot be read."""
    if row is not None:
        number, line = _line(path, row)
    else:
        with path.open("rb") as file:
            number, read = next((at for at in enumerate(file, 1) if _unreadable(at[1])), (1, b""))
        line, complaint = read.decode(errors="replace").strip(), _unreadable(read) or complaint
    return BadInput(f"{path}, line {number}: {line[:120]!r} {complaint}. Fix the run file or name another.")


def _unreadable(line: bytes) -> str | None:
    """What is wrong with a line; a blank one is fine."""
    fields = re.split(rb"[ \t]+", line.removeprefix(codecs.BOM_UTF8).strip())
    if fields == [b""]:
        return None
    try:
        line.decode()
        float(fields[4])
    except UnicodeDecodeError:
        return "is not UTF-8"
    except (IndexError, ValueError):
        return _SHAPE
    return None if len(fields) == len(_COLUMNS) else _SHAPE
