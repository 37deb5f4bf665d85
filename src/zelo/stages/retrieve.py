"""First-stage retrieval: the candidates of each query."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.protocols import Retriever
from zelo.records import CANDIDATE, TRAIN
from zelo.store import Table, write_shard

SHARD = 4096  # queries


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Writes candidates (CANDIDATE) of the queries of these splits: the best `top_k` documents, grouped by query."""

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]  # data: the load stage
    retriever: Retriever
    top_k: int
    splits: list[str]

    def __post_init__(self) -> None:
        if self.top_k < 2:
            raise BadInput(
                f"retrieve: top_k={self.top_k}; at least 2 candidates are needed to compare, set top_k >= 2."
            )

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput when no query of the train split has two candidates."""
        queries = tables["data"].read("queries")
        queries = queries.filter(pc.is_in(queries["split"], pc.cast(self.splits, "string")))
        candidates = self.retriever.search(queries, tables["data"].read("documents"), self.top_k)
        found = candidates["query_id"].value_counts()
        counts = dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
        sizes = np.array([counts.get(query, 0) for query in queries["query_id"].to_pylist()], np.int64)
        if TRAIN in self.splits and not (sizes[np.array(queries["split"]) == TRAIN] >= 2).any():
            raise BadInput(
                "retrieve: no train query has two candidates, so nothing can be compared. Check that the queries are in the"
                " language of the documents, or choose another retriever."
            )
        ends = np.append(np.cumsum(sizes)[SHARD - 1 :: SHARD], len(candidates))
        for number, (low, high) in enumerate(pairwise([0, *np.unique(ends).tolist()])):
            write_shard(candidates.slice(low, high - low), CANDIDATE, out, "candidates", number)
        return {"rows": len(candidates), "queries_below_two": int((sizes < 2).sum())}
