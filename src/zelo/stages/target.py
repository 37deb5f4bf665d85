"""Turns ratings into training targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from zelo import protocols
from zelo.records import EXAMPLE
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class Target:
    """Writes examples (EXAMPLE) of every rated document, each with its query's split."""

    inputs: dict[str, str]  # data: the load stage; ratings: the calibrate stage
    target: protocols.Target
    solver: protocols.Solver  # its link turns a difference of ratings into a probability

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Targets in [0, 1] and weights, one row per rated document."""
        ratings = tables["ratings"].read("ratings")
        queries = tables["data"].read("queries", ["query_id", "split"])
        rating, stderr = ratings["rating"].to_numpy(), ratings["stderr"].to_numpy()
        target, weight = self.target.targets(rating, stderr, self.solver.link)
        row = pc.index_in(ratings["query_id"], queries["query_id"].combine_chunks())
        examples = pa.table(
            {
                "query_id": ratings["query_id"],
                "doc_id": ratings["doc_id"],
                "target": target,
                "weight": weight,
                "split": queries["split"].take(row),
            }
        )
        write_parquet(examples, EXAMPLE, out, "examples")
        return {"rows": len(examples), "mean_target": float(target.mean()), "sd_target": float(target.std())}
