"""Links: how the difference of two ratings becomes the probability that the first document is preferred.

A comparison with the preference p loses -p log F(D) - (1 - p) log F(-D), D the difference of the two ratings. `LinkFunction`
has this and its two derivatives for any link; a solver may have a quicker form for its own.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import erfinv, expit, log_ndtr, logit, ndtr

_ROOT_2, _ROOT_PI = np.sqrt(2), np.sqrt(np.pi)


class LinkFunction:
    """F, symmetric (F(-D) = 1 - F(D)) and log-concave; all elementwise. D: differences of ratings; p: preferences in [0, 1]."""

    slope: float  # F'(0)

    @property
    def link(self) -> "LinkFunction":
        """Itself: what a solver that is a link fits ratings with."""
        return self

    def __call__(self, difference: np.ndarray) -> np.ndarray:
        """F(D), the probability that the first document is preferred."""
        raise NotImplementedError

    def log(self, difference: np.ndarray) -> np.ndarray:
        """log F(D), finite for every finite D."""
        raise NotImplementedError

    def hazards(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(D) and h(-D), h = F' / F, the derivative of log F."""
        raise NotImplementedError

    def bends(self, difference: np.ndarray, rise: np.ndarray, fall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-h'(D) / h(D) and -h'(-D) / h(-D), both positive; -h' is minus the second derivative of log F. rise, fall: hazards."""
        raise NotImplementedError

    def inverse(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(the D at which F(D) = p, the information there), for p inside (0, 1)."""
        raise NotImplementedError

    def loss(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """-p log F(D) - (1 - p) log F(-D), in nats."""
        return -p * self.log(difference) - (1 - p) * self.log(-difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and curvature of the loss by D; the curvature is positive."""
        rise, fall = self.hazards(difference)
        rise_bend, fall_bend = self.bends(difference, rise, fall)
        rise, fall = p * rise, (1 - p) * fall
        return fall - rise, rise * rise_bend + fall * fall_bend

    def information(self, difference: np.ndarray) -> np.ndarray:
        """F'^2 / (F(D) F(-D)) = h(D) h(-D): what one Bernoulli comparison tells about D, the expected curvature."""
        rise, fall = self.hazards(difference)
        return rise * fall


class Probit(LinkFunction):
    """F(D) = (1 + erf D) / 2 = Phi(sqrt(2) D): the difference, seen with Gaussian noise of variance 1/2, decides."""

    slope = 1 / _ROOT_PI

    def __call__(self, difference: np.ndarray) -> np.ndarray:
        return ndtr(_ROOT_2 * difference)

    def log(self, difference: np.ndarray) -> np.ndarray:
        return log_ndtr(_ROOT_2 * difference)

    def loss(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """By log F(-|D|) = log(exp(D^2) F(-|D|)) - D^2, in a quarter of the time of two calls of `log`."""
        from zelo.likelihood import kernels

        scaled, likely = _filled(kernels.probit_tails, difference)
        ahead = np.where(difference > 0, p, 1 - p)
        return (1 - ahead) * (difference**2 - np.log(scaled, out=scaled)) - ahead * np.log(likely, out=likely)

    def hazards(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(D) = (2 / sqrt(pi)) exp(-D^2) / (1 + erf D), with full relative precision at any D."""
        from zelo.likelihood import kernels

        return _filled(kernels.probit_hazards, difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By the hazards h = F' / F, whose own derivative is -h(D) (h(D) + 2 D)."""
        from zelo.likelihood import kernels

        return _filled(kernels.probit_derivatives, difference, p)

    def bends(self, difference: np.ndarray, rise: np.ndarray, fall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-h' / h = h + 2 D."""
        twice = 2 * difference
        return rise + twice, fall - twice

    def inverse(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        difference = erfinv(2 * p - 1)
        return difference, np.exp(-2 * difference**2) / (np.pi * p * (1 - p))


class Logit(LinkFunction):
    """F(D) = 1 / (1 + exp(-D)): D is the logarithm of the odds that one document is preferred to another."""

    slope = 0.25

    def __call__(self, difference: np.ndarray) -> np.ndarray:
        return expit(difference)

    def log(self, difference: np.ndarray) -> np.ndarray:
        # In half the time of scipy's log_expit, and as exact.
        return np.minimum(difference, 0) - np.log1p(np.exp(-np.abs(difference)))

    def hazards(self, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(D) = F(-D)."""
        return expit(-difference), expit(difference)

    def loss(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """-p D - log F(-D)."""
        return -p * difference - self.log(-difference)

    def derivatives(self, difference: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F(D) - p and F(D) F(-D)."""
        from zelo.likelihood import kernels

        return _filled(kernels.logit_derivatives, difference, p)

    def inverse(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return logit(p), p * (1 - p)


def _filled(kernel: Callable[..., None], *given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays that a kernel writes of the given ones, all [E]."""
    one, two = np.empty(len(given[0])), np.empty(len(given[0]))
    kernel(*(np.ascontiguousarray(values, np.float64) for values in given), one, two)
    return one, two
