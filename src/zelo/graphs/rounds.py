"""Adaptive graphs: the queries that still want pairs, and what is known about each of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from zelo.errors import BadInput
from zelo.graphs.expected_loss import expected_loss
from zelo.graphs.groups import FEW_CELLS, alike
from zelo.likelihood.blocks import ranges
from zelo.likelihood.covariance import covariances, has_errors
from zelo.protocols import Solver
from zelo.records import Fit, starts


@dataclass(frozen=True)
class Round:
    """B queries of n candidates each that want more pairs."""

    queries: np.ndarray  # [B] query numbers
    seeds: np.ndarray  # [B] uint64
    rating: np.ndarray  # [B, n]
    judged: np.ndarray  # [B, n, n] bool, symmetric; a document counts as compared with itself
    pairs: np.ndarray  # [B] so far
    covariance: np.ndarray | None  # [B, n, n] of the ratings, if it was asked for

    @property
    def n(self) -> int:
        """Candidates of each query."""
        return self.rating.shape[1]

    def only(self, which: np.ndarray) -> "Round":
        """Some of the queries. which: [B] bool."""
        columns = {name: column[which] for name, column in vars(self).items() if column is not None}
        return replace(self, **columns)


def check_stop(graph: str, stop_at: float | None, solver: Solver) -> None:
    """Raises BadInput if the stopping rule cannot be used. solver: rates the pairs so far."""
    if stop_at is not None and not 0 < stop_at < 1:
        raise BadInput(
            f"graph={graph}: stop_at={stop_at} must be an expected loss in nDCG@10 between 0 and 1, or null for none; "
            "try graph.stop_at=0.01"
        )
    if stop_at is not None and not has_errors(solver):
        raise BadInput(
            f"graph={graph}: stop_at={stop_at} needs standard errors, of which graph.solver.stderr=null computes none; set"
            " graph.solver.stderr=two_walk, or graph.stop_at=null"
        )


def rounds(
    sizes: np.ndarray,
    seeds: np.ndarray,
    fit: Fit,
    most: np.ndarray,
    stop_at: float | None,
    *,
    optimism: float,
    covariance: bool,
) -> Iterator[Round]:
    """The queries with fewer than `most` [Q] pairs whose expected loss is above `stop_at`, in groups of the same size.

    optimism: true over expected loss, as measured for the graph; the expected loss is multiplied by it. A query's part of
    the fit alone decides. So one that has stopped does so each time it is asked: nothing about it changes.
    """
    sizes, seeds = np.asarray(sizes, np.int64), np.asarray(seeds, np.uint64)
    first = starts(sizes)
    query = np.searchsorted(first, fit.edges[:, 0], side="right") - 1
    order = np.arange(len(query)) if (np.diff(query) >= 0).all() else np.argsort(query, kind="stable")
    first_edge = np.searchsorted(query[order], np.arange(len(sizes) + 1))
    for n, queries in alike(sizes, FEW_CELLS):
        counts = np.diff(first_edge)[queries]
        rows = order[ranges(first_edge[queries], counts)]
        place = np.repeat(np.arange(len(queries)), counts)
        edges = fit.edges[rows] - first[queries][place][:, None]
        judged = np.zeros((len(queries), n, n), bool)
        judged[place, edges[:, 0], edges[:, 1]] = judged[place, edges[:, 1], edges[:, 0]] = True
        pairs = judged.sum((1, 2)) // 2
        judged[:, np.arange(n), np.arange(n)] = True
        docs, wanting = first[queries][:, None] + np.arange(n), pairs < most[queries]
        group = Round(queries, seeds[queries], fit.rating[docs], judged, pairs, None).only(wanting)
        if not len(group.queries):
            continue
        if covariance or stop_at is not None:
            kept = wanting[place]
            own = (np.cumsum(wanting) - 1)[place[kept]]
            edges = edges[kept] + n * own[:, None]
            found = covariances(np.full(len(group.queries), n), own, edges, fit.curvature[rows[kept]], fit.ridge)
            group = replace(group, covariance=np.stack(list(found)))
        if stop_at is not None:
            assert group.covariance is not None, "it was computed above"
            loss = expected_loss(group.rating, fit.stderr[docs[wanting]], group.covariance, group.seeds, fit.link)
            group = group.only(optimism * loss > stop_at)
        if len(group.queries):
            yield group
