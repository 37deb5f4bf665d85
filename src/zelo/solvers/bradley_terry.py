"""Bradley-Terry ratings: the odds that one document is preferred to another are the ratio of their strengths."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from zelo.records import Comparisons, Fit
from zelo.solvers import newton


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """P(i preferred to j) = 1 / (1 + exp(e_j - e_i)) with a Gaussian prior on the ratings e (Bradley and Terry 1952).

    Ratings are log-odds (natural logarithm).
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query

    def __post_init__(self) -> None:
        newton.check_settings("bradley_terry", ridge=self.ridge, tolerance=self.tolerance, max_steps=self.max_steps)

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return newton.fit(comparisons, self, ridge=self.ridge, tolerance=self.tolerance, max_steps=self.max_steps)

    def link(self, difference: np.ndarray) -> np.ndarray:
        """Probability that the first document is preferred."""
        return expit(difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and curvature of -p log F(D) - (1 - p) log F(-D); the curvature does not depend on p."""
        ratio = np.exp(-np.abs(difference))
        unlikely = ratio / (1 + ratio)
        predicted = np.where(difference >= 0, 1 - unlikely, unlikely)
        return predicted - p, unlikely / (1 + ratio)

    def log_link(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log F(D) and log F(-D)."""
        likely = -np.log1p(np.exp(-np.abs(difference)))
        return likely + np.minimum(difference, 0), likely - np.maximum(difference, 0)

    def information(self, difference: np.ndarray) -> np.ndarray:
        """F'^2 / (F (1 - F)) = F (1 - F)."""
        ratio = np.exp(-np.abs(difference))
        return ratio / (1 + ratio) ** 2

    def start(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The difference that gives p, and the information there."""
        return logit(p), p * (1 - p)
