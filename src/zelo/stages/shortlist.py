"""The best candidates by their ratings, for judges that cost too much to be asked about all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import CANDIDATE
from zelo.store.shards import write_shard
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class Shortlist:
    """Writes candidates (CANDIDATE): each query's `top_k` documents with the highest ratings, of equal ones the first by id."""

    inputs: dict[str, str]  # ratings: a rate stage
    top_k: int

    def __post_init__(self) -> None:
        if self.top_k < 2:
            raise BadInput(
                f"shortlist: top_k={self.top_k}; at least 2 documents are needed to compare, set top_k >= 2."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard."""
        rows = queries = 0
        for number, file in enumerate(tables["ratings"].shards("ratings")):
            best = _best(pq.read_table(file, columns=["query_id", "doc_id", "rating"]), self.top_k)
            write_shard(best, CANDIDATE, out, "candidates", number)
            rows, queries = rows + len(best), queries + len(pc.unique(best["query_id"]))
        return {"rows": rows, "queries": queries}


def _best(ratings: pa.Table, top_k: int) -> pa.Table:
    order = [("query_id", "ascending"), ("rating", "descending"), ("doc_id", "ascending")]
    ratings = ratings.sort_by(order)
    query = pc.rank(ratings["query_id"], tiebreaker="dense").to_numpy()
    place = np.arange(len(query)) - np.searchsorted(query, query)
    kept = ratings.filter(pa.array(place < top_k))
    rank = pa.array(place[place < top_k], pa.int32())
    return pa.table([kept["query_id"], kept["doc_id"], rank, kept["rating"]], names=CANDIDATE.names)
