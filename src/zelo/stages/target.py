"""Turns ratings into training targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zelo import protocols
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.covariance import has_errors
from zelo.progress import Advance, progress
from zelo.ratings import COLUMNS, Ratings, rated
from zelo.records import EXAMPLE, Rated
from zelo.store.shards import CHECKPOINT, shard, write_shard
from zelo.store.table import Table
from zelo.units import HERE, of_shards


@dataclass(frozen=True, kw_only=True)
class TargetStage:
    """Writes examples (EXAMPLE): a target for each document that is to be trained on, with its query's split."""

    spreads: ClassVar[Literal[True]] = True

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

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """The shards of ratings."""
        return of_shards(tables, above, "ratings", "ratings")

    def run(self, tables: dict[str, Table], out: Path, executor: protocols.Executor = HERE) -> Facts:
        """Shard by shard; a CrossQueryTarget sees all ratings before.

        Raises BadInput when no document is left to train on or a target is out of range, and what the target raises.
        """
        rows = [pq.read_metadata(file).num_rows for file in tables["ratings"].shards("ratings")]
        notes = []
        if isinstance(self.target, protocols.CrossQueryTarget):
            ratings, folder = Ratings(tables, self.solver.link, self.seed), out / CHECKPOINT
            folder.mkdir(exist_ok=True)
            for number, part in enumerate(np.split(self._targets(ratings.rated), np.cumsum(rows)[:-1], axis=1)):
                np.save(folder / f"{number}.npy", part, allow_pickle=False)
            if not ratings.on_one_scale:
                notes = [
                    "target: it compares documents of different queries, whose ratings are on no common scale; choose a"
                    " calibrator"
                ]
        with progress("target", sum(rows), "ratings") as advance:
            found = list(executor.run(_Shards(self, tables, out), dict(enumerate(rows)), advance).values())
        counts, mean, variance = (np.array([one[name] for one in found]) for name in ("rows", "mean", "variance"))
        if not counts.any():
            raise BadInput(
                "target: no document is left to train on; choose selection@target.selection=all, or judge more queries."
            )
        middle = np.average(mean, weights=counts)
        return {
            "notes": notes,
            "rows": int(counts.sum()),
            "left_out": sum(rows) - int(counts.sum()),
            "mean_target": float(middle),
            "sd_target": float(np.sqrt(np.average(variance + (mean - middle) ** 2, weights=counts))),
        }

    def _targets(self, of: Rated) -> np.ndarray:
        """[2, N] target and weight. Raises BadInput naming the first target outside [0, 1] or weight that is no weight."""
        target, weight = self.target.targets(of)
        _refuse_out_of_range(type(self.target).__name__, target, weight)
        return np.stack([target, weight])


@dataclass(frozen=True)
class _Shards:
    """The work of a stage: a unit is a shard. Sent elsewhere it is small, for it reads its tables there."""

    stage: TargetStage
    tables: dict[str, Table]
    out: Path

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("stage", "tables", "out")}

    def __call__(self, number: int, advance: Advance) -> Facts:
        """Makes a shard, where it is not there yet."""
        if not (done := shard(self.out, "examples", number)).exists():
            write_shard(self._examples(number), EXAMPLE, self.out, "examples", number)
        target = pq.read_table(done, columns=["target"])["target"].to_numpy().astype(np.float64)
        mean, variance = (float(target.mean()), float(target.var())) if len(target) else (0.0, 0.0)
        return {"rows": len(target), "mean": mean, "variance": variance}

    def _examples(self, number: int) -> pa.Table:
        stage, table = self.stage, self.tables["ratings"]
        file = table.shards("ratings")[number]
        rows = pq.read_table(file, columns=[*COLUMNS, "doc_id"])
        query_row, ratings = rated(rows, self._queries, stage.solver.link, stage.seed, table.manifest.get("fit", {}))
        if isinstance(stage.target, protocols.CrossQueryTarget):
            target, weight = np.load(self.out / CHECKPOINT / f"{number}.npy", allow_pickle=False)
        else:
            try:
                target, weight = stage._targets(ratings)
            except BadInput as error:
                raise BadInput(f"{error} It is of {file}.") from error
        split = self._queries["split"].take(query_row.repeat(ratings.sizes))
        columns = {"query_id": rows["query_id"], "doc_id": rows["doc_id"], "target": target, "weight": weight}
        return pa.table({**columns, "split": split}).filter(pa.array(weight > 0))

    @cached_property
    def _queries(self) -> pa.Table:
        return self.tables["data"].read("queries")


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
