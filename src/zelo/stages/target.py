"""Turns ratings into training targets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zelo import protocols
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.covariance import has_errors
from zelo.ratings import Ratings
from zelo.records import EXAMPLE
from zelo.store.shards import write_shard
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class TargetStage:
    """Writes examples (EXAMPLE): a target for each document that is to be trained on, with its query's split."""

    inputs: dict[str, str]  # data: the load stage; ratings: the calibrate stage
    target: protocols.Target
    solver: protocols.Solver  # its link turns a difference of ratings into a probability
    seed: int

    def __post_init__(self) -> None:
        selection = self.target.selection if isinstance(self.target, protocols.SelectingTarget) else None
        certain = isinstance(selection, protocols.CertaintySelection) and selection.var0 is not None
        if certain and not has_errors(self.solver):
            raise BadInput(
                "target: selection.var0 weighs ratings by their standard errors, of which solver.stderr=null computes none; set"
                " solver.stderr=two_walk, or target.selection.var0=null."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when no document is left to train on or a target is out of range, and what the target raises."""
        ratings = Ratings(tables, self.solver.link, self.seed)
        rated = ratings.rated
        target, weight = self.target.targets(rated)
        _refuse_out_of_range(type(self.target).__name__, target, weight)
        chosen = weight > 0
        if not chosen.any():
            raise BadInput(
                "target: no document is left to train on; choose selection@target.selection=all, or judge more queries."
            )
        split = ratings.queries["split"].take(ratings.query_row)
        query, low = np.repeat(np.arange(len(rated.sizes)), rated.sizes), 0
        for number, file in enumerate(ratings.table.shards("ratings")):
            rows = pq.read_table(file, columns=["query_id", "doc_id"])
            part = slice(low, low + len(rows))
            low += len(rows)
            examples = pa.table(
                {
                    "query_id": rows["query_id"],
                    "doc_id": rows["doc_id"],
                    "target": target[part],
                    "weight": weight[part],
                    "split": split.take(query[part]),
                }
            )
            write_shard(examples.filter(pa.array(chosen[part])), EXAMPLE, out, "examples", number)
        notes = []
        if isinstance(self.target, protocols.CrossQueryTarget) and not ratings.on_one_scale:
            notes.append(
                "target: it compares documents of different queries, whose ratings are on no common scale; choose a calibrator"
            )
        return {
            "notes": notes,
            "rows": int(chosen.sum()),
            "left_out": int((~chosen).sum()),
            "mean_target": float(target[chosen].mean()),
            "sd_target": float(target[chosen].std()),
        }


def _refuse_out_of_range(name: str, target: np.ndarray, weight: np.ndarray) -> None:
    """Raises BadInput naming the first target outside [0, 1] or weight that is negative or no number."""
    inside = (target >= 0) & (target <= 1)  # not so for NaN
    if not inside.all():
        row = int(np.argmin(inside))
        raise BadInput(
            f"target {name}: target number {row} is {target[row]}; losses take targets in [0, 1]: scale or clip them."
        )
    usable = np.isfinite(weight) & (weight >= 0)
    if not usable.all():
        row = int(np.argmin(usable))
        raise BadInput(f"target {name}: weight number {row} is {weight[row]}; a weight is at least 0 and finite.")
