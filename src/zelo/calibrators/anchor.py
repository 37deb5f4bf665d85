"""One offset per query, found from something that is taken to be worth the same for every query."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from zelo.calibrators.answered import answered, query_of, refuse_without
from zelo.calibrators.documents import random_of, spread
from zelo.calibrators.rubric_answers import ask_criteria, refuse_other
from zelo.errors import BadInput
from zelo.likelihood.blocks import Blocks
from zelo.likelihood.newton import minimise
from zelo.likelihood.randomness import mixed
from zelo.records import Answers, Asks, Comparisons, Rated, Scale

_NAME = "anchor"
GRADES, GHOST = "grades", "ghost"
_TOLERANCE, _STEPS = 1e-6, 200  # of the ghosts' ratings


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """rating + b_q, from a few documents of each query, even over its rating order with the best and the worst.

    `grades`: each is asked on all criteria of a rubric; the share that it meets is its grade g, and b_q the mean of
    F^-1(g) - rating, F the link: a calibrated rating says which grade to expect. `ghost`: each is compared with a ghost, a
    random document of another query, which should be of no use; b_q is minus the ghost's rating (maximum a posteriori, the
    documents' ratings known), less the mean: as if all ghosts were equally bad.
    """

    by: Literal["grades", "ghost"]
    documents: int  # of each query that are graded or compared
    criteria: int  # of the rubric, for grades
    ridge: float  # for ghosts: precision of the prior on their ratings, in units of the link

    def __post_init__(self) -> None:
        if self.by not in (GRADES, GHOST):
            raise BadInput(f"calibrator=anchor: by={self.by!r} is unknown; use {GRADES} or {GHOST}")
        if self.documents < 2:
            raise BadInput(f"calibrator=anchor: documents={self.documents} must be at least 2; try 10")
        if self.criteria < 1:
            raise BadInput(f"calibrator=anchor: criteria={self.criteria} must be at least 1; the rubric has 5")
        if not 0 < self.ridge < np.inf:
            raise BadInput(f"calibrator=anchor: ridge={self.ridge} must be positive; try 0.1")

    def asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """`documents` of each query, on each criterion or against the query's ghost; None once there are answers."""
        if answers is not None:
            return None
        documents = spread(rated, self.documents)
        if self.by == GRADES:
            return ask_criteria(documents, self.criteria)
        return Asks(documents, _ghosts(rated)[query_of(rated)[documents]], False)

    def fit(self, rated: Rated, answers: Answers | None) -> Scale:
        """Offsets with standard errors. Raises BadInput naming what cannot be used, or queries without answers."""
        usable = answered(_NAME, rated, answers)
        fit = self._by_grades if self.by == GRADES else self._by_ghosts
        offset, stderr, figures = fit(rated, usable)
        figures = {"queries": len(offset), "answers": len(usable.p), "offset_sd": float(offset.std()), **figures}
        return Scale(offset, np.ones(len(offset)), stderr, figures)

    def _by_grades(self, rated: Rated, usable: Answers) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        """Mean of F^-1(grade) - rating over a query's documents, and its standard error if all queries vary alike."""
        document, grade, incomplete = _grades(usable, self.criteria, refuse_other(_NAME, usable, self.criteria))
        query, queries = query_of(rated)[document], len(rated.sizes)
        count = np.bincount(query, minlength=queries)
        _refuse_unanswered(count, "have no document with an answer on every criterion")
        value = rated.link.inverse(grade)[0] - rated.rating[document]
        mean = np.bincount(query, value, queries) / count
        variance = np.sum((value - mean[query]) ** 2) / max(len(value) - queries, 1)
        return mean, np.sqrt(variance / count), {"graded": len(document), "incomplete": incomplete}

    def _by_ghosts(self, rated: Rated, usable: Answers) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        """Minus the rating of each query's ghost, less the mean, and its standard error."""
        query, queries = query_of(rated)[usable.asks.a], len(rated.sizes)
        if usable.asks.across or (usable.asks.criterion is not None and len(query)):
            raise BadInput(
                "calibrator=anchor: by=ghost needs the answers to its own questions, documents against ghosts"
            )
        _refuse_unanswered(np.bincount(query, minlength=queries), "have no answer on any document")
        ghost, stderr = _ghost_ratings(rated, usable, query, self.ridge)
        return ghost.mean() - ghost, stderr, {}


def _refuse_unanswered(count: np.ndarray, what: str) -> None:
    refuse_without(_NAME, what, np.flatnonzero(count == 0), len(count), "run again to retry failed calls")


def _ghosts(rated: Rated) -> np.ndarray:
    """[Q] a random document of another query for each. Queries are taken in the order of their seeds, whatever theirs is."""
    queries = len(rated.sizes)
    if queries < 2:
        raise BadInput("calibrator=anchor: by=ghost needs a second query to take a document from; use calibrator=none")
    order = np.argsort(rated.seeds, kind="stable")
    away = 1 + (mixed(rated.seeds[order], np.uint64(1)) % np.uint64(queries - 1)).astype(np.int64)
    other = np.empty(queries, np.int64)
    other[order] = order[(np.arange(queries) + away) % queries]
    return random_of(rated, other, mixed(rated.seeds, np.uint64(2)))


def _grades(usable: Answers, criteria: int, criterion: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(document [D], its grade [D], how many others lack an answer), documents with an answer on every criterion.

    A grade is kept half a criterion from 0 and 1: a document that meets all of five is not better than all others.
    """
    document, place = np.unique(usable.asks.a, return_inverse=True)
    cells = place * criteria + criterion
    weight = np.bincount(cells, usable.weight, len(document) * criteria).reshape(-1, criteria)
    met = np.bincount(cells, usable.weight * usable.p, len(document) * criteria).reshape(-1, criteria)
    whole = (weight > 0).all(1)
    grade = (met[whole] / weight[whole]).mean(1)
    return document[whole], np.clip(grade, 0.5 / criteria, 1 - 0.5 / criteria), int((~whole).sum())


def _ghost_ratings(rated: Rated, usable: Answers, query: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """(rating of each query's ghost [Q], standard error [Q]).

    D = known - ghost: two documents per query, of which the second stands for the ghost and the first for the known one's
    zero. Their ratings are equal but for the sign, so that twice the ridge on each is the prior on their difference.
    """
    queries = len(rated.sizes)
    edges = 2 * query[:, None] + np.arange(2)
    comparisons = Comparisons(np.full(queries, 2), edges, usable.p, usable.weight)
    known = rated.rating[usable.asks.a]
    pair, _, gradient = minimise(Blocks(comparisons, shift=known), rated.link, 2 * ridge, _TOLERANCE, _STEPS)
    if not gradient.max(initial=0.0) <= _TOLERANCE:
        raise BadInput(
            f"calibrator=anchor: the ratings of ghosts did not converge in {_STEPS} steps; raise calibrator.ridge={ridge}"
        )
    ghost = pair[1::2] - pair[::2]
    information = usable.weight * rated.link.information(known - ghost[query])
    return ghost, 1 / np.sqrt(ridge + np.bincount(query, information, queries))
