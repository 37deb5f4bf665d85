"""Splits long documents into passages, which all later stages take for documents."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.domains import with_domain
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import progress
from zelo.protocols import Checked, LeavesWhole, Splitter
from zelo.ranking import rows_of
from zelo.records import DOMAIN, PASSAGE
from zelo.store.shards import write_parquet
from zelo.store.table import Table

ROWS = 512  # documents that are Python objects at a time
SIGN = "#"  # between a document's id and the number of its passage


@dataclass(frozen=True, kw_only=True)
class Passages:
    """Writes queries (QUERY) as they are, and documents (PASSAGE): the passages of those that are too long, and the others.

    A passage is DOCUMENT#1, DOCUMENT#2 and so on; a document that is one passage keeps its id. What ranks passages is mapped to
    documents where it is compared with labels, by the best passage of each (Callan, Passage-level evidence in document
    retrieval, SIGIR 1994; MaxP in Dai and Callan, SIGIR 2019).
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]  # data: a load or load_run stage
    splitter: Splitter

    @property
    def passes(self) -> str | None:
        """`data`, where documents stay whole."""
        return "data" if isinstance(self.splitter, LeavesWhole) else None

    def check(self) -> None:
        """Raises BadInput for a model that cannot count tokens, before anything runs."""
        if isinstance(self.splitter, Checked):
            self.splitter.check()

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Some documents at a time. Raises BadInput where a passage would get the id of a document."""
        data = tables["data"]
        queries, documents = data.read("queries"), data.read("documents")
        write_parquet(queries, queries.schema, out, "queries")
        most: Facts = {"doc_id": None, "passages": 1}
        split, made = 0, []
        with (
            pq.ParquetWriter(out / "documents.parquet", with_domain(PASSAGE, documents), compression="zstd") as writer,
            progress("split documents", len(documents), "documents") as advance,
        ):
            for low in range(0, len(documents), ROWS):
                some = documents.slice(low, ROWS)
                parts = self.splitter.split(some)
                passages = _passages(some["doc_id"].to_pylist(), parts)
                writer.write_table(_with_domain(passages, some))
                new = passages.filter(pc.not_equal(passages["doc_id"], passages["document_id"]))
                made.append(new["doc_id"].combine_chunks())
                split += len(pc.unique(new["document_id"]))
                longest = int(np.argmax([len(found) for found in parts]))
                if len(parts[longest]) > most["passages"]:
                    most = {"doc_id": some["doc_id"][longest].as_py(), "passages": len(parts[longest])}
                advance(len(some))
        _refuse_taken(pa.chunked_array(made), documents["doc_id"])
        rows = len(documents) - split + sum(map(len, made))
        said = {"documents": len(documents), "split": split, "passages": rows, "most": most, "rule": self.splitter.rule}
        facts = {key: data.manifest[key] for key in ("name", "queries") if key in data.manifest}
        return facts | {"rows": rows, "passages": said, "notes": [_note(said)]}


def _ids(doc_id: str, passages: int) -> list[str]:
    return [f"{doc_id}{SIGN}{number}" for number in range(1, passages + 1)] if passages > 1 else [doc_id]


def _passages(ids: list[str], parts: list[list[tuple[str, str]]]) -> pa.Table:
    """PASSAGE rows. parts: (title, text) of the passages of each document."""
    rows = [
        (passage, title, text, doc_id)
        for doc_id, found in zip(ids, parts, strict=True)
        for passage, (title, text) in zip(_ids(doc_id, len(found)), found, strict=True)
    ]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=PASSAGE)


def _with_domain(passages: pa.Table, documents: pa.Table) -> pa.Table:
    """The passages, of the domain of their document where it has one."""
    if DOMAIN not in documents.column_names:
        return passages
    return passages.append_column(
        DOMAIN, documents[DOMAIN].take(pa.array(rows_of(passages["document_id"], documents["doc_id"])))
    )


def _refuse_taken(made: pa.ChunkedArray, known: pa.ChunkedArray) -> None:
    taken = made.filter(pc.is_in(made, known.combine_chunks()))
    if len(taken):
        raise BadInput(
            f"passages: a document has the id {taken[0].as_py()!r}, which a passage of another would get"
            f" ({len(taken):,} such). Give documents ids that do not end with {SIGN} and a number, or set splitter=none."
        )


def _note(said: Facts) -> str:
    if not said["split"]:
        return f"no document is long enough to be split ({said['rule']})"
    count = f"{said['split']:,} of {said['documents']:,} documents are split, {said['passages']:,} passages in all"
    longest = f"{said['most']['doc_id']} has {said['most']['passages']:,}"
    return f"{count} ({longest}): {said['rule']}; the score of a document is that of its best passage"
