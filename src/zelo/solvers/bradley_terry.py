"""Bradley-Terry ratings: the odds that one document is preferred to another are the ratio of their strengths."""

from dataclasses import dataclass

from zelo.likelihood import newton
from zelo.likelihood.links import Logit
from zelo.records import Comparisons, Fit


@dataclass(frozen=True, kw_only=True)
class BradleyTerry(Logit):
    """P(i preferred to j) = 1 / (1 + exp(e_j - e_i)) with a Gaussian prior on the ratings e (Bradley and Terry 1952).

    Ratings are log-odds (natural logarithm).
    """

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query
    stderr: newton.Stderr
    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and foretells

    def __post_init__(self) -> None:
        newton.check_settings("bradley_terry", **vars(self))

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        return newton.fit(comparisons, self, **vars(self))
