"""Reads what is to be reranked: a TREC run and the texts that it names, or queries with their documents."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset
from zelo.ranking import own_documents, top_candidates, without_own
from zelo.records import CANDIDATE, DOCUMENT, QUERY, TEST, starts
from zelo.retrievers.run import read_run
from zelo.store.hashing import hash_file
from zelo.store.shards import write_parquet
from zelo.store.table import Table

TREC, JSONL = "trec", "jsonl"
OTHER = pa.schema([("json", pa.string())])  # what a line of a jsonl says besides query and documents
LINES = 4096  # that exist as Python objects at a time


@dataclass(frozen=True, kw_only=True)
class LoadRun:
    """Writes queries (QUERY), documents (DOCUMENT), both only where named, and candidates (CANDIDATE) in the run's order.

    `path`: a TREC run, whose ids are those of `dataset`; or lines of {"query": text, "documents": [text, ...]}, known by the
    name *.jsonl or by the brace they begin with, which need no dataset: other.parquet keeps what else a line says. Of a TREC run
    a document with the query's own id is left out unless `keep_own_document`.
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]
    dataset: Dataset
    path: str | None
    keep_own_document: bool

    def content(self) -> dict[str, str]:
        """Hash of the run file. Raises BadInput if there is none or it is empty."""
        return {"path": hash_file(self._file())}

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput naming the file and the line that cannot be used."""
        path = self._file()
        kind = JSONL if path.suffix in (".jsonl", ".json") or _begins_with_brace(path) else TREC
        if kind == JSONL:
            queries, documents, candidates = _texts(path, out)
            facts: Facts = {"notes": []}
        else:
            corpus = self.dataset.load()
            queries, documents, candidates, facts = self._named(path, corpus.queries, corpus.documents)
            facts["notes"] = [*corpus.notes, *facts["notes"]]
        write_parquet(queries, QUERY, out, "queries")
        write_parquet(documents, DOCUMENT, out, "documents")
        write_parquet(candidates, CANDIDATE, out, "candidates")
        return {
            "rows": len(candidates),
            "format": kind,
            "queries": len(queries),
            "documents": len(documents),
            **facts,
        }

    def _named(self, path: Path, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table, Facts]:
        """Queries and documents that the TREC run names, its candidates, best score first, and what there is to say."""
        run = read_run(path, queries, documents)
        candidates = top_candidates(queries, documents, run.query_row, run.doc_row, run.score, documents.num_rows)
        own: Facts = {}
        if own_documents(queries, documents, self.keep_own_document):
            candidates, own = without_own(candidates, queries, documents, None)
        if not len(candidates):
            raise BadInput(
                f"run={self.path}: it names nothing but each query's own document, which is no candidate. Set"
                " keep_own_document=true to rerank it."
            )
        named = (
            table.filter(pc.is_in(table[column], candidates[column].combine_chunks()))
            for table, column in ((queries, "query_id"), (documents, "doc_id"))
        )
        return *named, candidates, own | {"notes": list(run.notes)}  # type: ignore[return-value]

    def _file(self) -> Path:
        path = Path(self.path or "").expanduser()
        if not path.is_file():
            fault = "names no file" if not self.path else "is no file" if path.exists() else "does not exist"
            raise BadInput(
                f"run={self.path or 'null'} {fault}. Write run=FILE: a TREC run with the ids of the dataset, or a jsonl with"
                ' lines {"query": "...", "documents": ["...", "..."]}.'
            )
        with path.open("rb") as file:
            if not any(line.strip() for line in file):
                raise BadInput(f"run={self.path}: the file is empty, so there is nothing to rerank.")
        return path


def _begins_with_brace(path: Path) -> bool:
    with path.open("rb") as file:
        return next(line for line in file if line.strip()).lstrip().startswith((b"{", b"\xef\xbb\xbf{"))


def _texts(path: Path, out: Path) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The queries by number of their line's place, every text once as a document, and candidates in the lines' order."""
    queries, texts, sizes, others = [], [], [], []
    for block in _blocks(path):
        queries.append(pa.array([query for query, _, _ in block], pa.string()))
        texts.append(pa.array([text for _, found, _ in block for text in found], pa.string()))
        sizes += [len(found) for _, found, _ in block]
        others.append(pa.array([other for _, _, other in block], pa.string()))
    asked, read = pa.chunked_array(queries, pa.string()), pa.chunked_array(texts, pa.string())
    write_parquet(pa.table([pa.chunked_array(others, pa.string())], schema=OTHER), OTHER, out, "other")
    distinct = pc.unique(read)
    query_ids = pc.cast(pa.array(np.arange(len(asked))), pa.string())
    doc_ids = pc.cast(pa.array(np.arange(len(distinct))), pa.string())
    rank = np.arange(len(read)) - np.repeat(starts(np.array(sizes))[:-1], sizes)
    candidates = {
        "query_id": query_ids.take(pa.array(np.repeat(np.arange(len(sizes)), sizes))),
        "doc_id": doc_ids.take(pc.index_in(read, value_set=distinct)),
        "rank": rank,
        "score": -rank,  # the order in which they were given
    }
    return (
        pa.table([query_ids, asked, pa.repeat(pa.scalar(TEST), len(asked))], schema=QUERY),
        pa.table([doc_ids, pa.repeat(pa.scalar(""), len(doc_ids)), distinct], schema=DOCUMENT),
        pa.table(candidates),
    )


def _blocks(path: Path) -> Iterator[list[tuple[str, list[str], str]]]:
    """Up to LINES lines at a time: query, documents, and the rest as JSON."""
    block: list[tuple[str, list[str], str]] = []
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    block.append(_line(line, f"{path}, line {number}"))
                if len(block) == LINES:
                    yield block
                    block = []
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8.") from None
    if block:
        yield block


def _line(line: str, place: str) -> tuple[str, list[str], str]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{place}: not JSON ({error}). Write one JSON object on each line.") from None
    if not isinstance(record, dict):
        raise BadInput(f"{place}: a JSON {type(record).__name__}. Write one JSON object on each line.")
    query, documents = record.pop("query", None), record.pop("documents", None)
    if not isinstance(query, str) or not query.strip():
        raise BadInput(
            f'{place}: no text as "query" but {query!r:.60}. Each line is {{"query": text, "documents": [...]}}.'
        )
    texts = isinstance(documents, list) and all(isinstance(text, str) for text in documents)
    if not texts or not documents:
        raise BadInput(f'{place}: "documents" is {documents!r:.60}. Give a list of one text or more.')
    try:
        "".join([query, *documents]).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{place}: holds half of a surrogate pair, no character. Remove it.") from None
    return query, documents, json.dumps(record)
