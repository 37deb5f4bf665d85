"""One ranking from two systems, each for the queries of its domain."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.records import SCORED
from zelo.store.shards import write_parquet
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class ByDomain:
    """Writes `scored` (SCORED): of each `NAME` the queries that the candidates of `NAME_queries` are of."""

    inputs: dict[str, str]  # NAME: a score stage; NAME_queries: a stage with candidates of its domain

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """A query of no domain is in none."""
        parts = []
        for name in self.inputs:
            if f"{name}_queries" in tables:
                queries = pc.unique(tables[f"{name}_queries"].read("candidates", ["query_id"])["query_id"])
                scored = tables[name].read("scored")
                parts.append(scored.filter(pc.is_in(scored["query_id"], queries)))
        scored = pa.concat_tables(parts)
        write_parquet(scored, SCORED, out, "scored")
        return {"rows": len(scored)}
