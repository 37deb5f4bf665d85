"""Averages the judges and turns preferences into ratings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
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


@dataclass(frozen=True)
class Graphs:
    """The distinct pairs of an outcomes table as integer graphs, queries and documents in order of id."""

    query_id: pa.Array  # [Q]
    sizes: np.ndarray  # [Q]
    doc_id: pa.Array  # [N], grouped by query
    edges: np.ndarray  # [E, 2] rows of doc_id
    pair: np.ndarray  # [rows] which edge an outcome is about
    flipped: np.ndarray  # [rows] the outcome names the edge's documents the other way round

    @staticmethod
    def of(outcomes: pa.Table) -> "Graphs":
        """Grouped by sorting integers; no object per row."""
        queries = _sorted_ids(outcomes["query_id"])
        documents = _sorted_ids(outcomes["doc_a"], outcomes["doc_b"])
        query = pc.index_in(outcomes["query_id"], queries).to_numpy().astype(np.int64)
        ends = [pc.index_in(outcomes[name], documents).to_numpy().astype(np.int64) for name in ("doc_a", "doc_b")]
        n = len(documents)
        nodes, number = np.unique(np.concatenate([query * n + end for end in ends]), return_inverse=True)
        a, b = number[: len(query)], number[len(query) :]
        flipped = a > b
        low, high = np.where(flipped, b, a), np.where(flipped, a, b)
        keys, pair = np.unique(low * len(nodes) + high, return_inverse=True)
        return Graphs(
            query_id=queries,
            sizes=np.bincount(nodes // n, minlength=len(queries)),
            doc_id=documents.take(nodes % n),
            edges=np.stack([keys // len(nodes), keys % len(nodes)], axis=1),
            pair=pair,
            flipped=flipped,
        )

    def average(self, outcomes: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """([E] mean of the answered preferences, [E] their mean weight, [E] judges that answered); nan where there is none."""
        values = outcomes["p"].to_numpy().astype(np.float64)  # null becomes nan
        answered = ~np.isnan(values)
        values = np.where(self.flipped, 1 - values, values)[answered]
        pair, weights = self.pair[answered], outcomes["weight"].to_numpy()[answered].astype(np.float64)
        judge = outcomes["judge"].combine_chunks()
        judge = judge if pa.types.is_dictionary(judge.type) else judge.dictionary_encode()
        asked = pair * max(len(judge.dictionary), 1) + judge.indices.to_numpy()[answered]
        judges = np.bincount(np.unique(asked) // max(len(judge.dictionary), 1), minlength=len(self.edges))
        count, total = (np.bincount(pair, of, len(self.edges)) for of in (np.ones(len(pair)), weights))
        with np.errstate(invalid="ignore"):
            return np.bincount(pair, values * weights, len(self.edges)) / total, total / count, judges


def _sorted_ids(*columns: pa.ChunkedArray) -> pa.Array:
    values = pc.unique(pa.concat_arrays([pc.unique(column) for column in columns]))
    return values.take(pc.array_sort_indices(values))
