"""Averages the judges and turns preferences into ratings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.outcomes import Graphs
from zelo.protocols import Solver
from zelo.records import RATING, Comparisons
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Writes ratings (RATING) of every candidate that took part in a comparison.

    A pair's preference is the mean over the answers, weighted as each counts, and it counts as much as they do on average;
    fewer than `quorum` judges are no preference, and a document that is left without any is not rated.
    """

    inputs: dict[str, str]  # outcomes: a judge stage
    solver: Solver
    quorum: int

    def __post_init__(self) -> None:
        if self.quorum < 1:
            raise BadInput(f"rate: quorum={self.quorum}; at least one judge must have answered, set quorum >= 1.")

    def check_inputs(self, stages: Mapping[str, Any]) -> None:
        """Raises BadInput for a quorum that the judges of the stage above cannot reach."""
        members = getattr(stages["outcomes"], "members", None)
        if members is not None and self.quorum > len(members):
            raise BadInput(
                f"quorum={self.quorum} is above the number of judges, {len(members)} ({', '.join(members)}); set it to at"
                f" most {len(members)}."
            )

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput when no pair has a quorum, and what the solver raises."""
        outcomes = tables["outcomes"].read("outcomes", ["query_id", "doc_a", "doc_b", "judge", "p", "weight"])
        graphs = Graphs.of(outcomes)
        p, weight, judges = graphs.average(outcomes)
        enough = judges >= self.quorum
        if not enough.any():
            raise BadInput(f"rate: no pair has the quorum of {self.quorum} judges; lower quorum or add judges.")
        comparisons = Comparisons(sizes=graphs.sizes, edges=graphs.edges[enough], p=p[enough], weight=weight[enough])
        fit = self.solver.fit(comparisons)
        degree = np.bincount(comparisons.edges.ravel(), minlength=len(fit.rating))
        rated = pa.array(degree > 0)  # the others stand where the prior puts them, which nobody has judged
        ratings = pa.table(
            {
                "query_id": graphs.query_id.take(np.repeat(np.arange(len(graphs.sizes)), graphs.sizes)),
                "doc_id": graphs.doc_id,
                "rating": fit.rating,
                "stderr": fit.stderr,
                "degree": degree,
                "offset": np.zeros(len(degree)),
                "scale": np.ones(len(degree)),
            }
        )
        ratings = ratings.filter(rated)
        write_parquet(ratings, RATING, out, "ratings")
        return {
            "rows": len(ratings),
            "unrated": len(degree) - len(ratings),
            "pairs": int(enough.sum()),
            "pairs_below_quorum": int((~enough).sum()),
            "fit": fit.diagnosis,
        }
