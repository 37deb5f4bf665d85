"""What the fit of ratings asks of a link."""

from typing import Protocol

import numpy as np


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
