"""One offset per query, found from comparisons of documents of different queries."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components

from zelo.calibrators.answered import answered, query_of
from zelo.calibrators.documents import nearest, random_of
from zelo.calibrators.query_graph import QueryGraph, fit
from zelo.errors import BadInput, OfQueries, first_few
from zelo.likelihood.randomness import mixed
from zelo.protocols import CrossQueryGraph
from zelo.records import Answers, Asks, Rated, Scale

_NAME = "offset"
_SECOND = np.uint64(2)  # sets the draw of the second document apart


@dataclass(frozen=True, kw_only=True)
class Offset:
    """rating + b_q, b by maximum likelihood (method described by ZeroEntropy, 2025; a Bradley-Terry or Thurstone model with
    known handicaps and a Gaussian prior): P(document i of q beats j of r) = F(slope (e_i + b_q - e_j - b_r)), e the ratings.

    Each round asks the graph's pairs of queries again, with other documents: in the first two random ones, later a
    random one of the first query and that of the second whose difference is predicted to be nearest 0, where an answer tells
    most. Offsets sum to 0. A graph of a single query has offset 0.
    """

    rounds: int
    ridge: float  # precision of the prior, in units of the link: 1 / variance of the offsets
    slope: float | None  # of the link across queries; None: fitted, with a prior of N(1, 1)
    graph: CrossQueryGraph  # of one round

    def __post_init__(self) -> None:
        if not isinstance(self.graph, CrossQueryGraph):
            raise BadInput(
                f"calibrator=offset: graph {type(self.graph).__name__} compares documents of one query; use"
                " graph@calibrator.graph=cross_query"
            )
        if self.rounds < 1:
            raise BadInput(f"calibrator=offset: rounds={self.rounds} must be at least 1; try 2")
        if not 0 < self.ridge < np.inf:
            raise BadInput(f"calibrator=offset: ridge={self.ridge} must be positive; try 1")
        if self.slope is not None and not 0 < self.slope < np.inf:
            raise BadInput(f"calibrator=offset: slope={self.slope} must be positive, or null to fit it; try 1")

    def asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """The next round's pairs, one for each edge of the graph; None after the last round or if there is no edge.

        answers: to all rounds so far, each as it was asked, nan where nobody answered.
        """
        asked = 0 if answers is None else len(answers.asks.a)
        begun = 0
        for turn in range(self.rounds):
            seeds = mixed(rated.seeds, np.uint64(turn))
            edges = self.graph.over(seeds, rated.domain)
            if begun >= asked and len(edges):
                return self._pairs(rated, answers, edges, seeds)
            begun += len(edges)
        return None

    def fit(self, rated: Rated, answers: Answers | None) -> Scale:
        """Offsets with standard errors. Raises BadInput naming rows that cannot be used, or queries left unconnected."""
        graph = _graph(rated, answered(_NAME, rated, answers))
        _refuse_unconnected(graph)
        if not len(graph.p):
            return Scale(np.zeros(graph.queries), np.ones(graph.queries), np.full(graph.queries, np.nan))
        return fit(graph, rated.link, self.ridge, self.slope)

    def _pairs(self, rated: Rated, answers: Answers | None, edges: np.ndarray, seeds: np.ndarray) -> Asks:
        first, second = edges.T
        state = mixed(seeds[first], seeds[second])
        a = random_of(rated, first, state)
        usable = answered(_NAME, rated, answers)
        if not len(usable.p):
            return Asks(a, random_of(rated, second, mixed(state, _SECOND)), True)
        # Not yet connected is no error here: this round may connect what the last one did not.
        offset = fit(_graph(rated, usable), rated.link, self.ridge, self.slope).offset
        return Asks(a, nearest(rated, second, rated.rating[a] + offset[first] - offset[second]), True)


def _graph(rated: Rated, usable: Answers) -> QueryGraph:
    """Raises BadInput naming the first pair that is no comparison across queries."""
    a, b = usable.asks.a, usable.asks.b
    query = query_of(rated)
    first, second = query[a], query[b]
    if len(a) and not (usable.asks.across and (first != second).all()):
        row = int((first == second).argmax())
        raise BadInput(
            f"calibrator=offset: pair number {row} of those answered is within one query (documents {a[row]} and {b[row]});"
            " offsets follow from pairs of two queries: give it the answers to its own questions"
        )
    ends = np.stack([first, second], 1)
    return QueryGraph(len(rated.sizes), ends, rated.rating[a] - rated.rating[b], usable.p, usable.weight)


def _refuse_unconnected(graph: QueryGraph) -> None:
    parts, label = connected_components(graph.block(1.0).adjacency(graph.weight), directed=False)
    if parts > 1:
        outside = np.flatnonzero(label != np.bincount(label).argmax())
        raise OfQueries(
            f"calibrator=offset: the answers across queries leave {graph.queries:,} queries in {parts:,} disconnected"
            f" parts: {len(outside):,} are outside the largest (query numbers {first_few(outside)})."
            " Run again to retry failed calls, or raise calibrator.rounds; calibrator=none needs no answers",
            outside,
        )
