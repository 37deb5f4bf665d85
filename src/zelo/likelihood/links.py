"""What the fit of ratings asks of a link, and the two links: of Thurstone's model and of Bradley and Terry's."""

from typing import Protocol

import numpy as np
from scipy.special import erf, erfcx, erfinv, expit, logit

_TAIL = 2.5  # |D| from which 1 - erf loses digits and erfcx is worth its price
_ROOT_PI = np.sqrt(np.pi)


class LinkFunctions(Protocol):
    """A link F and what the fit needs of it, each elementwise. D: differences of ratings; p: preferences in [0, 1]."""

    def link(self, difference: np.ndarray) -> np.ndarray:
        """F(D)."""
        ...

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative by D of -p log F(D) - (1 - p) log F(-D); the second is positive."""
        ...

    def log_link(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log F(D) and log F(-D), finite for every finite D."""
        ...

    def information(self, difference: np.ndarray) -> np.ndarray:
        """F'(D)^2 / (F(D) F(-D)): what one Bernoulli comparison tells about D."""
        ...

    def start(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The D at which F(D) = p and the information there, for p inside (0, 1)."""
        ...


class Probit:
    """F(D) = (1 + erf D) / 2: the difference of two documents, seen with Gaussian noise of variance 1/2, decides."""

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


class Logit:
    """F(D) = 1 / (1 + exp(-D)): D is the logarithm of the odds that one document is preferred to another."""

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
