"""Thurstone ratings: the difference of two documents, seen with Gaussian noise, decides which is preferred."""

from dataclasses import dataclass

from zelo.likelihood import newton
from zelo.likelihood.links import Probit
from zelo.records import Comparisons, Fit


@dataclass(frozen=True, kw_only=True)
class Thurstone(Probit):
    """P(i preferred to j) = (1 + erf(e_i - e_j)) / 2 with a Gaussian prior on the ratings e (Thurstone 1927, case V).

    Ratings are in units of sqrt(2) standard deviations of the noise in a difference; about 0.44 times a Bradley-Terry rating.
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query
    stderr: newton.Stderr
    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and foretells

    def __post_init__(self) -> None:
        newton.check_settings("thurstone", **vars(self))

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return newton.fit(comparisons, self, **vars(self))
