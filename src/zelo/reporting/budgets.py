"""What asking on was worth: the loss that an adaptive graph expected of a query after each of its pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import ZeloError
from zelo.graphs.expected_loss import expected_loss
from zelo.likelihood.covariance import covariances, has_errors
from zelo.likelihood.randomness import content_seed
from zelo.outcomes import Graphs
from zelo.protocols import ExpectedLossGraph, Solver
from zelo.records import Comparisons, starts

POINTS = 16  # of a curve
LARGE = 400  # candidates from which on a query has no curve: each point takes their cube of time


@dataclass(frozen=True)
class BudgetCurve:
    """A query's curve; the last point is where the graph stopped."""

    pairs: np.ndarray  # [P] asked so far
    loss: np.ndarray  # [P] expected loss in nDCG@10, the graph's measured optimism corrected
    stop_at: float | None  # expected loss from which on the graph asks no more
    most: int  # pairs that the graph would have asked at most


def of_queries(stage: Any, outcomes: pa.Table, shown: list[str]) -> Mapping[str, BudgetCurve]:
    """Query -> its curve, of a judge stage whose graph is adaptive; {} for others. outcomes: OUTCOME in the order asked.

    The answers so far are fitted again with the graph's own solver. A prefix that ends within one of the graph's rounds is
    one that it has never judged itself by.
    """
    if not isinstance(stage.graph, ExpectedLossGraph) or stage.design is not None:
        return {}
    solver = stage.graph.solver
    if not has_errors(solver):  # and so no expected loss
        return {}
    outcomes = outcomes.filter(pc.is_in(outcomes["query_id"], pa.array(shown, pa.string())))
    found = Graphs.of(outcomes)
    p, weight, _ = found.average(outcomes)
    asked = np.full(len(p), len(outcomes))
    np.minimum.at(asked, found.pair, np.arange(len(outcomes)))  # row in which each pair was asked first
    first = starts(found.sizes)
    query = np.searchsorted(first, found.edges[:, 0], side="right") - 1
    curves: dict[str, BudgetCurve] = {}
    for number, (name, n) in enumerate(zip(found.query_id.to_pylist(), found.sizes.tolist(), strict=True)):
        rows = np.flatnonzero(query == number)
        rows = rows[np.argsort(asked[rows])]
        if not 2 <= n <= LARGE:
            continue
        counts = np.unique(np.linspace(min(n, len(rows)), len(rows), POINTS).round().astype(int))
        prefixes = [rows[:count] for count in counts.tolist()]
        comparisons = _together(found.edges - first[number], p, weight, prefixes, n)
        try:
            loss = _losses(solver, comparisons, content_seed(name, stage.seed))
        except ZeloError:  # the ratings stand without this curve
            continue
        optimism = stage.graph.OPTIMISM
        most = int(stage.graph.most(np.array([n]))[0])
        curves[name] = BudgetCurve(counts, optimism * loss, stage.graph.stop_at, most)
    return curves


def _together(edges: np.ndarray, p: np.ndarray, weight: np.ndarray, prefixes: list[np.ndarray], n: int) -> Comparisons:
    """Several subsets of the edges of a query of n documents, as so many queries. Pairs that nobody answered are left out."""
    known = [rows[~np.isnan(p[rows])] for rows in prefixes]
    place = np.repeat(np.arange(len(known)) * n, [len(rows) for rows in known])
    rows = np.concatenate(known)
    return Comparisons(np.full(len(known), n), edges[rows] + place[:, None], p[rows], weight[rows])


def _losses(solver: Solver, comparisons: Comparisons, seed: int) -> np.ndarray:
    """[P] expected loss of each query of `comparisons`, all of one size, as a graph's stopping rule computes it."""
    fit, n = solver.fit(comparisons), int(comparisons.sizes[0])
    rating, error = (values.reshape(-1, n) for values in (fit.rating, fit.stderr))
    found = covariances(fit.sizes, fit.edges[:, 0] // n, fit.edges, fit.curvature, fit.ridge)
    return expected_loss(rating, error, np.stack(list(found)), np.full(len(rating), seed, np.uint64), fit.link)
