"""Turns a trained student's scores into training targets for another."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import DEV, EXAMPLE, TRAIN
from zelo.store.shards import write_parquet
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class Distil:
    """Writes examples (EXAMPLE) of train and dev queries: target = sigmoid(score), weight 1.

    Scores are log odds, as a pairwise or pointwise student's are, so that the targets' log odds are the teacher's scores and a
    loss may divide them by a temperature of its own (Hinton et al. 2015; zembed-1, 2026).
    """

    inputs: dict[str, str]  # data: the load stage; scored: a score stage with the splits train and dev

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where train or dev queries have no scores, or one is no number."""
        queries = tables["data"].read("queries", ["query_id", "split"])
        scored = tables["scored"].read("scored")
        row = pc.index_in(scored["query_id"], queries["query_id"].combine_chunks())
        split = queries["split"].take(row)
        for wanted in (TRAIN, DEV):
            if not pc.any(pc.equal(split, wanted)).as_py():
                raise BadInput(f"distil: no {wanted} query was scored; put {wanted} among the score stage's splits.")
        score = scored["score"].to_numpy().astype(np.float64)
        if not np.isfinite(score).all():
            query = scored["query_id"][int(np.argmin(np.isfinite(score)))]
            raise BadInput(f"distil: a document of query {query.as_py()!r} has a score that is no number.")
        target = 1 / (1 + np.exp(-np.clip(score, -80, 80)))
        rows = pa.table(
            {
                "query_id": scored["query_id"],
                "doc_id": scored["doc_id"],
                "target": pa.array(target.astype(np.float32)),
                "weight": pa.array(np.ones(len(score), np.float32)),
                "split": split,
            },
            schema=EXAMPLE,
        )
        rows = rows.filter(pc.is_in(rows["split"], pa.array([TRAIN, DEV])))
        write_parquet(rows, EXAMPLE, out, "examples")
        target = rows["target"].to_numpy()
        return {"rows": len(rows), "mean_target": float(target.mean()), "sd_target": float(target.std())}
