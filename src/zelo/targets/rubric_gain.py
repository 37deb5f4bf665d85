"""Targets by what a rubric asks: the share of its criteria that a document is expected to meet."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from zelo.errors import BadInput
from zelo.records import Rated
from zelo.targets.selection import Selection, refuse_no_number


@dataclass(frozen=True, kw_only=True)
class RubricGain:
    """target = sum_c gamma_c sigmoid(gamma_c (rating - beta_c)) / sum_c gamma_c (Cohere 2026, arXiv 2609.35739).

    gamma and beta are the criteria's discrimination and difficulty as `calibrator=rubric` fitted them, in the unit of the
    calibrated ratings. A target is then an absolute statement, comparable between collections with the same rubric.
    """

    selection: Selection

    def targets(self, rated: Rated) -> tuple[np.ndarray, np.ndarray]:
        """(target in (0, 1), weight), each [N].

        Raises BadInput without criteria, or naming the first rating that is not a number.
        """
        if rated.criteria is None:
            raise BadInput(
                "target=rubric_gain needs the criteria that calibrator=rubric fits; choose calibrator=rubric"
            )
        refuse_no_number("rubric_gain", rated.rating)
        met = sum(steep * expit(steep * (rated.rating - hard)) for steep, hard in rated.criteria)
        return np.asarray(met / rated.criteria[:, 0].sum()), self.selection.weights(
            rated.rating, rated.stderr, rated.sizes, rated.seeds
        )
