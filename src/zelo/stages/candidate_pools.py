"""The candidates that a judge stage asks about, shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import protocols
from zelo.pools import Pools
from zelo.records import Questions, distinct

CANDIDATES_PER_BATCH = 51_200  # of whole queries: a scorer reads a document once for all of them


@dataclass(frozen=True)
class CandidatePools:
    """The candidates of all queries, one shard in memory at a time, or a sample of them as one shard."""

    queries: pa.Table
    documents: pa.Table
    files: list[Path]
    sample: Pools | None
    whole: list[Path] | None  # files of the queries' whole lists; None: they are in `files`
    new: list[Path] | None  # files of documents that join those in `files`: only pairs with one of them are compared
    top_k: int  # of each query, in `files`

    def batches(self, number: int) -> Iterator[Pools]:
        """The pools of one shard, a batch of queries at a time."""
        pools = self.sample
        if pools is None:
            pools = Pools.of(pq.read_table(self.files[number]), self.queries, self.documents).best(self.top_k)
            if self.new is not None:
                more = Pools.of(pq.read_table(self.new[number]), self.queries, self.documents)
                pools = pools.only(np.isin(pools.query_row, more.query_row)).joined(more)
        yield from pools.batches(CANDIDATES_PER_BATCH)

    def lists_of(self, batch: Pools) -> Pools:
        """All candidates of the queries of a batch."""
        if self.whole is None:
            return batch
        names = self.queries["query_id"].take(batch.query_row).combine_chunks()
        rows = (pq.read_table(file, columns=["query_id", "doc_id"]) for file in self.whole)
        found = pa.concat_tables([part.filter(pc.is_in(part["query_id"], value_set=names)) for part in rows])
        return Pools.of(found, self.queries, self.documents)

    def with_new(self, batch: Pools, edges: np.ndarray) -> np.ndarray:
        """Those of the pairs [E, 2] of a batch that are compared: with a new document in them, where there are new ones."""
        if self._new_keys is None:
            return edges
        key = np.repeat(batch.query_row.astype(np.int64), batch.sizes) * len(self.documents) + batch.doc_row
        return edges[np.isin(key, self._new_keys)[edges].any(axis=1)]

    @cached_property
    def _new_keys(self) -> np.ndarray | None:
        """[N] query row * documents + document row of each new document; None: all pairs are compared."""
        if self.new is None:
            return None
        tables = [pq.read_table(file, columns=["query_id", "doc_id"]) for file in self.new]
        pools = Pools.of(pa.concat_tables(tables), self.queries, self.documents)
        return np.repeat(pools.query_row.astype(np.int64), pools.sizes) * len(self.documents) + pools.doc_row

    def every(self) -> Iterator[Pools]:
        """Those of all shards."""
        for number in range(len(self.files) if self.sample is None else 1):
            yield from self.batches(number)

    def cut(self, judge: protocols.TruncatingJudge) -> dict[str, int]:
        """How many of the candidates were longer than the judge reads."""
        rows = distinct(np.concatenate([np.zeros(0, np.int32), *(batch.doc_row for batch in self.every())]))
        none = np.zeros(len(rows), np.int32)
        return {"cut": judge.cut(Questions(self.queries, self.documents, none, rows, rows, none.astype(np.int16)))}


def queries_in(files: list[Path]) -> dict[int, int]:
    """How many queries each file of candidates has, by its number."""
    read = (pq.read_table(file, columns=["query_id"], read_dictionary=["query_id"]) for file in files)
    return {number: len(pc.unique(table["query_id"])) for number, table in enumerate(read)}
