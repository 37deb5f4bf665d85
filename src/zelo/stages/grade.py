"""Turns judges' ratings into graded labels with error bars, for a test set that nobody has labelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.covariance import has_errors
from zelo.protocols import SolvingStage
from zelo.records import QREL
from zelo.store.shards import write_parquet
from zelo.store.table import Table

REACH = 1.96  # standard errors on each side of a 95 % interval
GRADED = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("relevance", pa.int32()),
        ("low", pa.int32()),  # 95 % interval of the grade
        ("high", pa.int32()),
        ("rating", pa.float64()),
        ("stderr", pa.float64()),
        ("drawn", pa.list_(pa.int8())),  # grades that are as likely as the errors of the rating allow
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Writes labels (QREL) of every rated document, and beside them GRADED: the interval of each grade, and draws from it.

    A document's grade is the number of `cuts` up to its rating: in standard deviations of its query's ratings, so that sharp and
    cautious judges give the same grades, or, with `per_query` false, on the scale of a calibrator. Draws are from a normal
    distribution around the rating with its standard error: multiple imputation (Rubin, Multiple Imputation for Nonresponse in
    Surveys, 1987), so that an evaluation carries what the judges leave open.
    """

    inputs: dict[str, str]  # data: the load stage; ratings: the calibrate stage
    cuts: list[float]  # least rating of grade 1, 2, ...
    per_query: bool
    draws: int  # odd, so that the middle one decides
    seed: int

    def __post_init__(self) -> None:
        if not self.cuts or sorted(set(self.cuts)) != list(self.cuts) or not np.isfinite(self.cuts).all():
            raise BadInput(f"grade: cuts={list(self.cuts)} must be numbers that rise; write [1, 1.5, 2].")
        if self.draws < 1 or self.draws % 2 == 0:
            raise BadInput(f"grade: draws={self.draws} must be odd and at least 1; write 11.")

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for ratings without standard errors."""
        rated = stages["ratings"]
        if isinstance(rated, SolvingStage) and not has_errors(rated.solver):
            raise BadInput(
                "grade: intervals and draws of grades need standard errors, of which solver.stderr=null computes none; set"
                " solver.stderr=laplace or two_walk."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for ratings of another dataset."""
        queries, table = tables["data"].read("queries", ["query_id", "split"]), tables["ratings"]
        rows = table.read("ratings", ["query_id", "doc_id", "rating", "stderr"])
        rows = passages.by_document(rows, passages.read(tables["data"]), "rating")
        home = pc.index_in(rows["query_id"], queries["query_id"].combine_chunks())
        if home.null_count:
            raise BadInput("grade: the ratings are of queries that this dataset lacks. Rate this one's queries.")
        place = np.unique(home.to_numpy(), return_inverse=True)[1]
        unit = _spread(rows["rating"].to_numpy(), place) if self.per_query else np.ones(len(rows))
        rating, error = (rows[name].to_numpy() / unit for name in ("rating", "stderr"))
        error = np.nan_to_num(error)
        grade, low, high = (self._grades(rating + step * error) for step in (0.0, -REACH, REACH))
        # A number for each document, whatever the order of rows.
        order = np.lexsort((rows["doc_id"].to_numpy(), rows["query_id"].to_numpy()))
        noise = np.empty((len(rows), self.draws))
        noise[order] = np.random.default_rng(self.seed).standard_normal(noise.shape)
        drawn = pa.array(self._grades(rating[:, None] + error[:, None] * noise).ravel(), pa.int8())
        columns = {
            "query_id": rows["query_id"],
            "doc_id": rows["doc_id"],
            "relevance": grade,
            "low": low,
            "high": high,
            "rating": rows["rating"],
            "stderr": rows["stderr"],
            "drawn": pa.FixedSizeListArray.from_arrays(drawn, self.draws).cast(pa.list_(pa.int8())),
            "split": queries["split"].take(home),
        }
        made = pa.table(columns).cast(GRADED)
        write_parquet(made, GRADED, out, "graded")
        write_parquet(made.select(QREL.names), QREL, out, "qrels")
        counts = np.bincount(grade, minlength=len(self.cuts) + 1)
        sure = int((low == high).sum())
        shares = ", ".join(f"{number} {count / len(grade):.1%}" for number, count in enumerate(counts.tolist()))
        return {
            "rows": len(grade),
            "grades": counts.tolist(),
            "sure": sure,
            "draws": self.draws,
            "notes": [
                f"labels from judge ratings: grades {shares} of {len(grade):,} documents; {sure / len(grade):.0%} of the grades"
                " are sure within the error of their rating (95 %)"
            ],
        }

    def _grades(self, rating: np.ndarray) -> np.ndarray:
        return np.searchsorted(np.array(self.cuts, np.float64), rating, side="right")


def _spread(rating: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[N] standard deviation of the ratings of each row's query; infinite where all are the same. place: [N] query numbers."""
    count = np.bincount(place)
    centred = rating - (np.bincount(place, rating) / count)[place]
    spread = np.sqrt(np.bincount(place, centred**2) / count)
    return np.where(spread > 1e-9, spread, np.inf)[place]
