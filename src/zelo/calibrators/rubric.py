"""One scale and offset per query, found from a few documents that are held against the criteria of a rubric."""

from dataclasses import dataclass

import numpy as np

from zelo.calibrators import item_response
from zelo.calibrators.answered import answered, query_of, refuse_without
from zelo.calibrators.documents import spread
from zelo.calibrators.item_response import Responses
from zelo.calibrators.rubric_answers import ask_criteria, refuse_other
from zelo.errors import BadInput
from zelo.records import Answers, Asks, Rated, Scale

_NAME = "rubric"


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """rating * tau_q + alpha_q by the two-parameter item response model of Cohere (2026, arXiv 2609.35739).

    A few documents of each query, even over its rating order with the best and the worst, are asked yes or no on each criterion
    of a rubric that goes from easy to strict. tau is 1 and alpha 0 but for what the answers say. The criteria's
    parameters, in the unit of the ratings, are in the diagnosis: `discrimination`, `difficulty`; with them a calibrated rating
    has an expected share of criteria met.
    """

    criteria: int  # of the rubric, easiest first
    documents: int  # of each query

    def __post_init__(self) -> None:
        if self.criteria < 2:
            raise BadInput(f"calibrator=rubric: criteria={self.criteria} must be at least 2; the rubric has 5")
        if self.documents < 2:
            raise BadInput(f"calibrator=rubric: documents={self.documents} must be at least 2; try 5")

    def asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """`documents` times `criteria` questions on each query; None once there are answers."""
        return None if answers is not None else ask_criteria(spread(rated, self.documents), self.criteria)

    def fit(self, rated: Rated, answers: Answers | None) -> Scale:
        """Scale tau and offset alpha of each query. Raises BadInput naming what cannot be used, or queries without answers."""
        usable = answered(_NAME, rated, answers)
        criterion = refuse_other(_NAME, usable, self.criteria)
        query = query_of(rated)[usable.asks.a]
        queries = len(rated.sizes)
        without = np.flatnonzero(np.bincount(query, minlength=queries) == 0)
        refuse_without(_NAME, "have no answer on any criterion", without, queries, "run again to retry failed calls")
        unit = 4 * rated.link.slope  # logits per unit of the ratings, where the slopes at 0 agree
        theta = unit * rated.rating[usable.asks.a]
        curves = item_response.fit(Responses(query, criterion, theta, usable.p, usable.weight, queries, self.criteria))
        if not curves.converged:
            raise BadInput(
                f"calibrator=rubric: the fit did not converge: a step still gains {curves.promised:.1e} nats after "
                f"{curves.steps} steps; "
                "there are too few answers: raise calibrator.documents"
            )
        diagnosis = {
            "queries": queries,
            "answers": len(usable.p),
            "steps": curves.steps,
            "promised": curves.promised,
            "log_loss": curves.log_loss,
            "offset_sd": float(curves.offset.std() / unit),
            "scale_sd": float(curves.scale.std()),
            "discrimination": (curves.discrimination * unit).tolist(),  # per unit of the ratings
            "difficulty": (curves.difficulty / unit).tolist(),  # in units of the ratings
        }
        return Scale(curves.offset / unit, curves.scale, curves.stderr / unit, diagnosis)
