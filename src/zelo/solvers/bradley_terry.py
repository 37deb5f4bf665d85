"""Bradley-Terry ratings: the odds that one document is preferred to another are the ratio of their strengths."""

from dataclasses import dataclass

import numpy as np

from zelo.likelihood.links import Logit
from zelo.records import Comparisons, Fit
from zelo.solvers import posterior_mode


@dataclass(frozen=True, kw_only=True)
class BradleyTerry(Logit):
    """P(i preferred to j) = F(D) = 1 / (1 + exp(-D)) with D = e_i - e_j (Bradley and Terry 1952; zELO 2025, section 4.2.1).

    The ratings e of a query minimise sum_k w_k loss(D_k, p_k) + (ridge / 2) sum_i e_i^2 over its comparisons k, of weight w
    and preference p: the mode of the posterior under a Gaussian prior. They are log-odds (natural logarithm).
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query
    stderr: posterior_mode.Stderr
    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and predicts

    def __post_init__(self) -> None:
        posterior_mode.check_settings("bradley_terry", **vars(self))

    def loss(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """-p log F(D) - (1 - p) log F(-D) = -p D - log F(-D): the objective, of each comparison."""
        return -p * difference - self.log(-difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope F(D) - p and curvature F(D) F(-D) of the loss by D."""
        odds = np.exp(-np.abs(difference))  # in half the time of scipy's expit, and as exact
        unlikely = odds / (1 + odds)
        return np.where(difference >= 0, 1 - unlikely, unlikely) - p, unlikely / (1 + odds)

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return posterior_mode.fit(comparisons, self, **vars(self))
