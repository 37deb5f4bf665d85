"""A search as units of work: some queries each, against what a first stage has made of the corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zelo import passages
from zelo.facts import Facts
from zelo.progress import Advance, progress
from zelo.protocols import Executor, PreparedSearch, SpreadRetriever
from zelo.records import CANDIDATE
from zelo.store.shards import shard, write_parquet, write_shard

FOUND, QUERIES, DOCUMENTS = "found", "queries", "documents"
TEXTS = ("title", "text")  # columns of documents that are read by then


@dataclass(frozen=True)
class Searching:
    """The work: a unit is `size` queries, and leaves what it has found in `folder`, where queries and ids of documents lie."""

    search: PreparedSearch
    folder: Path
    top_k: int
    size: int

    @staticmethod
    def of(
        retriever: SpreadRetriever, queries: pa.Table, documents: pa.Table, folder: Path, top_k: int, size: int
    ) -> "Searching":
        """Of a corpus and its queries. folder: theirs alone, which outlives an attempt."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = documents.drop_columns(list(TEXTS))
        for name, table in ((QUERIES, queries), (DOCUMENTS, ids)):
            write_parquet(table, table.schema, folder, name)
        return Searching(retriever.prepared(queries, documents, folder), folder, top_k, size)

    def candidates(self, executor: Executor) -> pa.Table:
        """CANDIDATE rows, once all units have run."""
        sizes = {
            unit: min(self.size, len(self._queries) - low)
            for unit, low in enumerate(range(0, len(self._queries), self.size))
        }
        with progress("retrieve", len(self._queries), "queries") as advance:
            executor.run(self, sizes, advance)
        parts = [pq.read_table(shard(self.folder, FOUND, unit)) for unit in sizes]
        return pa.concat_tables([CANDIDATE.empty_table(), *parts])

    def __call__(self, unit: int, advance: Advance) -> Facts:
        """Searches for the queries of one unit, where that is not done."""
        if not shard(self.folder, FOUND, unit).exists():
            some = self._queries.slice(unit * self.size, self.size)
            found = passages.search(self._find, some, self._documents, self.top_k)
            write_shard(found, CANDIDATE, self.folder, FOUND, unit)
        return {}

    def _find(self, asked: pa.Table, top_k: int) -> pa.Table:
        return self.search.search(asked, self._queries, self._documents, top_k)

    def __getstate__(self) -> Mapping[str, object]:
        return {name: vars(self)[name] for name in ("search", "folder", "top_k", "size")}

    @cached_property
    def _queries(self) -> pa.Table:
        return pq.read_table(self.folder / f"{QUERIES}.parquet")

    @cached_property
    def _documents(self) -> pa.Table:
        return pq.read_table(self.folder / f"{DOCUMENTS}.parquet")
