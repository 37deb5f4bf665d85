"""What other first stages find besides the candidates: with these, a reranker has scored all that any of them found."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.ranking import rows_of
from zelo.records import SCORED
from zelo.stages.score import best, candidates
from zelo.store.shards import write_parquet
from zelo.store.table import Table

DATA, CANDIDATES = "data", "candidates"


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Writes scored documents (SCORED, every score 0) of a split: the first `top_k` of each other input, no pair twice."""

    inputs: dict[str, str]  # data; candidates, which are left out; any other is a first stage
    split: str
    top_k: int

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Ordered by query and document."""
        queries, documents = tables[DATA].read("queries"), tables[DATA].read("documents", ["doc_id"])
        queries = queries.filter(pc.equal(queries["split"], self.split))
        keys = {role: self._keys(table, queries, documents) for role, table in tables.items() if role != DATA}
        known = keys.pop(CANDIDATES)
        found = np.setdiff1d(np.concatenate(list(keys.values())), known) if keys else known[:0]
        query, document = np.divmod(found, len(documents))
        ids = queries["query_id"].take(pa.array(query)), documents["doc_id"].take(pa.array(document))
        table = pa.table([*ids, np.zeros(len(found), np.float32)], schema=SCORED)
        write_parquet(table, SCORED, out, "scored")
        return {"rows": len(table)}

    def _keys(self, table: Table, queries: pa.Table, documents: pa.Table) -> np.ndarray:
        """[N] query row * documents + document row of the first `top_k` of each query."""
        first = candidates(table)
        first = first.filter(pc.is_in(first["query_id"], queries["query_id"].combine_chunks()))
        first = best(first, self.top_k)
        row = rows_of(first["query_id"], queries["query_id"])
        return row * len(documents) + rows_of(first["doc_id"], documents["doc_id"])
