"""A student's scores as training targets for another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.records import EXAMPLE
from zelo.store import Table, write_shard


@dataclass(frozen=True, kw_only=True)
class Teach:
    """Writes examples (EXAMPLE) whose target is the sigmoid of a student's score, which is a log odds; each has weight 1.

    So an embedding model learns from a reranker (method: zembed-1, 2026).
    """

    inputs: dict[str, str]  # data: the load stage; scored: a score stage, of train and dev queries

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput for a score that is no number."""
        queries, scored = tables["data"].read("queries"), tables["scored"].read("scored")
        score = scored["score"].to_numpy().astype(np.float64)
        if not np.isfinite(score).all():
            row = int(np.argmin(np.isfinite(score)))
            named = [scored[name][row].as_py() for name in ("query_id", "doc_id")]
            raise BadInput(
                f"teach: the score of query {named[0]!r} and document {named[1]!r} is {score[row]}, which teaches nothing. Train"
                " the student anew with a lower optimizer.lr."
            )
        split = queries["split"].take(pc.index_in(scored["query_id"], queries["query_id"].combine_chunks()))
        target = 0.5 + 0.5 * np.tanh(score / 2)  # the sigmoid, without overflow
        columns = {"query_id": scored["query_id"], "doc_id": scored["doc_id"], "target": target}
        examples = pa.table({**columns, "weight": np.ones(len(score)), "split": split})
        write_shard(examples, EXAMPLE, out, "examples", 0)
        return {"rows": len(examples), "mean_target": float(target.mean()), "sd_target": float(target.std())}
