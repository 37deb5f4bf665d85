"""Thurstone ratings: the difference of two documents, seen with Gaussian noise, decides which is preferred."""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf, erfcx, erfinv

from zelo.records import Comparisons, Fit
from zelo.solvers import newton

_TAIL = 2.5  # |D| from which 1 - erf loses digits and erfcx is worth its price
_ROOT_PI = np.sqrt(np.pi)


@dataclass(frozen=True, kw_only=True)
class Thurstone:
    """P(i preferred to j) = (1 + erf(e_i - e_j)) / 2 with a Gaussian prior on the ratings e (Thurstone 1927, case V).

    Ratings are in units of sqrt(2) standard deviations of the noise in a difference; about 0.44 times a Bradley-Terry rating.
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query

    def __post_init__(self) -> None:
        newton.check_settings("thurstone", ridge=self.ridge, tolerance=self.tolerance, max_steps=self.max_steps)

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return newton.fit(comparisons, self, ridge=self.ridge, tolerance=self.tolerance, max_steps=self.max_steps)

    def link(self, difference: np.ndarray) -> np.ndarray:
        """Probability that the first document is preferred."""
        return 0.5 * (1 + erf(difference))

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and curvature of -p log F(D) - (1 - p) log F(-D), from the hazards h: F' = h F, h' = -h (h + 2 D)."""
        rise, fall = _hazards(difference)
        rise_part, fall_part = p * rise, (1 - p) * fall
        twice = 2 * difference
        return fall_part - rise_part, rise_part * (rise + twice) + fall_part * (fall - twice)

    def log_link(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log F(D) and log F(-D)."""
        size = np.abs(difference)
        unlikely = np.log(0.5 * erfcx(size)) - size**2
        likely = np.log1p(-np.exp(unlikely))
        ahead = difference >= 0
        return np.where(ahead, likely, unlikely), np.where(ahead, unlikely, likely)

    def information(self, difference: np.ndarray) -> np.ndarray:
        """F'^2 / (F (1 - F)) = h(D) h(-D)."""
        rise, fall = _hazards(difference)
        return rise * fall

    def start(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The difference that gives p, and the information there."""
        difference = erfinv(2 * p - 1)
        return difference, np.exp(-2 * difference**2) / (np.pi * p * (1 - p))


def _hazards(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h(D) and h(-D), h(D) = (2 / sqrt(pi)) exp(-D^2) / (1 + erf D), with full relative precision at any D."""
    density = (2 / _ROOT_PI) * np.exp(-(difference**2))
    tilt = erf(difference)
    far = np.flatnonzero(np.abs(difference) > _TAIL)
    tilt[far] = 0.0
    rise, fall = density / (1 + tilt), density / (1 - tilt)
    if len(far):
        d = difference[far]
        scaled = erfcx(np.abs(d))
        unlikely = 2 / (_ROOT_PI * scaled)
        likely = density[far] / (2 - np.exp(-(d**2)) * scaled)
        rise[far] = np.where(d > 0, likely, unlikely)
        fall[far] = np.where(d > 0, unlikely, likely)
    return rise, fall
