"""Thurstone ratings: the difference of two documents, seen with Gaussian noise, decides which is preferred."""

from dataclasses import dataclass

import numpy as np

from zelo.likelihood.links import Probit
from zelo.records import Comparisons, Fit
from zelo.solvers import posterior_mode


@dataclass(frozen=True, kw_only=True)
class Thurstone(Probit):
    """P(i preferred to j) = F(D) = (1 + erf D) / 2 with D = e_i - e_j (Thurstone 1927, case V; zELO 2025, section 4.2.2).

    The ratings e of a query minimise sum_k w_k loss(D_k, p_k) + (ridge / 2) sum_i e_i^2 over its comparisons k, of weight w
    and preference p: the mode of the posterior under a Gaussian prior. They are in units of sqrt(2) standard deviations of
    the noise in a difference; about 0.44 times a Bradley-Terry rating.
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query
    stderr: posterior_mode.Stderr
    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and predicts

    def __post_init__(self) -> None:
        posterior_mode.check_settings("thurstone", **vars(self))

    def loss(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """-p log F(D) - (1 - p) log F(-D): the objective, of each comparison."""
        return -p * self.log(difference) - (1 - p) * self.log(-difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and curvature of the loss by D, from the hazards h = F' / F, whose derivative is -h(D) (h(D) + 2 D)."""
        rise, fall = self.hazards(difference)  # h(D) and h(-D)
        slope = (1 - p) * fall - p * rise
        curvature = p * rise * (rise + 2 * difference) + (1 - p) * fall * (fall - 2 * difference)
        return slope, curvature

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return posterior_mode.fit(comparisons, self, **vars(self))
