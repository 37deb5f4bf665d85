"""Thurstone ratings: the difference of two documents, seen with Gaussian noise, decides which is preferred."""

from dataclasses import dataclass
from typing import ClassVar

from zelo.likelihood.links import Probit
from zelo.solvers.posterior_mode import PosteriorMode


@dataclass(frozen=True, kw_only=True)
class Thurstone(Probit, PosteriorMode):
    """P(i preferred to j) = F(D) = (1 + erf D) / 2 with D = e_i - e_j (Thurstone 1927, case V; zELO 2025, section 4.2.2).

    The ratings e of a query minimise sum_k w_k loss(D_k, p_k) + (ridge / 2) sum_i e_i^2 over its comparisons k, of weight w
    and preference p: the mode of the posterior under a Gaussian prior. They are in units of sqrt(2) standard deviations of
    the noise in a difference; about 0.44 times a Bradley-Terry rating.
    """

    NAME: ClassVar[str] = "thurstone"
