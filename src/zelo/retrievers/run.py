"""Candidates that somebody else retrieved: a TREC run file."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from zelo.errors import BadInput
from zelo.protocols import Retriever
from zelo.ranking import rows_of, top_candidates
from zelo.store import hash_file

_COLUMNS = ("query_id", "q0", "doc_id", "rank", "score", "name")


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run in the file `path`, ordered by its scores; queries that it does not name are searched by `otherwise`."""

    path: str
    otherwise: Retriever

    def content(self) -> dict[str, str]:
        """Hash of the run file. Raises BadInput if there is none."""
        return {"path": hash_file(self._file())}

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best score first, ties by doc_id. Raises BadInput naming the line that cannot be used."""
        query_row, doc_row, score = read_run(self._file(), queries, documents)
        found = top_candidates(queries, documents, query_row, doc_row, score, top_k)
        named = np.zeros(queries.num_rows, bool)
        named[query_row] = True
        if named.all():
            return found
        rest = self.otherwise.search(queries.filter(pa.array(~named)), documents, top_k)
        both = pa.concat_tables([found, rest])
        order = np.lexsort((both["rank"].to_numpy(), rows_of(both["query_id"], queries["query_id"])))
        return both.take(pa.array(order))

    def _file(self) -> Path:
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise BadInput(f"retriever.path={self.path}: there is no such file. Give a TREC run file.")
        return path


def read_run(path: Path, queries: pa.Table, documents: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of the query, row of the document and score, [N] each, in the file's order.

    queries: QUERY; documents: DOCUMENT. Raises BadInput naming the line that cannot be used.
    """
    data = re.sub(rb"[ \t\r]*\n\s*|\Z", b"\n", re.sub(rb"[ \t]+", b" ", path.read_bytes())).lstrip()
    options = {
        "read_options": pyarrow.csv.ReadOptions(column_names=_COLUMNS, use_threads=False),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types={"query_id": pa.string(), "doc_id": pa.string(), "score": pa.float64()},
            include_columns=["query_id", "doc_id", "score"],
            strings_can_be_null=False,
        ),
    }
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(data), **options)
    except pa.ArrowInvalid:
        words = "is not six columns (query Q0 document rank score name) with a number as score"
        raise _fault(path, None, words) from None
    score = table["score"].to_numpy()
    query_row = rows_of(table["query_id"], queries["query_id"])
    doc_row = rows_of(table["doc_id"], documents["doc_id"])
    pair = query_row * documents.num_rows + doc_row
    again = np.ones(len(pair), bool)
    again[np.unique(pair, return_index=True)[1]] = False
    for bad, complaint in (
        (query_row < 0, "names a query that is not in the dataset"),
        (doc_row < 0, "names a document that is not in the corpus"),
        (~np.isfinite(score), "has no finite score"),
        (again, "names a document of its query a second time"),
    ):
        if bad.any():
            raise _fault(path, int(bad.argmax()), complaint)
    return query_row, doc_row, score


def _fault(path: Path, row: int | None, complaint: str) -> BadInput:
    """The error for the `row`-th line that is not blank; None: for the first that cannot be read."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, 1) if line.strip()]
    number, line = lines[row] if row is not None else next((item for item in lines if not _readable(item[1])), (1, ""))
    return BadInput(f"{path}, line {number}: {line[:120]!r} {complaint}. Mend the run file or name another.")


def _readable(line: str) -> bool:
    fields = line.split()
    try:
        float(fields[4])
    except (IndexError, ValueError):
        return False
    return len(fields) == len(_COLUMNS)
