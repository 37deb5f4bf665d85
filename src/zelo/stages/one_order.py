"""What judges say that are always shown a pair in one order: for comparison with orders that are drawn."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.facts import Facts
from zelo.records import OUTCOME
from zelo.store.shards import write_shard
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class OneOrder:
    """Writes the outcomes (OUTCOME) of a judge stage in which doc_a was shown first.

    The better candidate of the first stage is doc_a with graph=random_pairs and graph=complete, as where documents are shown
    as they were found.
    """

    inputs: dict[str, str]  # outcomes: a judge stage with presentation=both

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard."""
        rows = 0
        for number, file in enumerate(tables["outcomes"].shards("outcomes")):
            outcomes = pq.read_table(file)
            kept = outcomes.filter(pc.invert(outcomes["swapped"]))
            rows += len(kept)
            write_shard(kept, OUTCOME, out, "outcomes", number)
        return {"rows": rows}
