"""The candidates of some of the queries: for experiments with fewer of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.randomness import content_seed
from zelo.records import CANDIDATE
from zelo.store.shards import write_shard
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class SomeQueries:
    """Writes the candidates (CANDIDATE) of a share of the queries, drawn by their ids."""

    inputs: dict[str, str]  # candidates: a retrieve stage
    share: float  # of the queries
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput(f"some_queries: share={self.share} must lie in (0, 1]; it is the share of the queries.")

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard. Raises BadInput where no query is drawn."""
        rows, drawn, limit = 0, 0, int(self.share * 2**64)
        for number, file in enumerate(tables["candidates"].shards("candidates")):
            candidates = pq.read_table(file)
            query = candidates["query_id"].combine_chunks().dictionary_encode()
            chosen = np.array([content_seed(name, self.seed) < limit for name in query.dictionary.to_pylist()], bool)
            kept = candidates.filter(pa.array(chosen[query.indices.to_numpy()]))
            rows, drawn = rows + len(kept), drawn + int(chosen.sum())
            write_shard(kept, CANDIDATE, out, "candidates", number)
        if not drawn:
            raise BadInput(f"some_queries: share={self.share} leaves no query; raise it.")
        return {"rows": rows, "queries": drawn}
