"""Bradley-Terry ratings: the odds that one document is preferred to another are the ratio of their strengths."""

from dataclasses import dataclass
from typing import ClassVar

from zelo.likelihood.links import Logit
from zelo.solvers.posterior_mode import PosteriorMode


@dataclass(frozen=True, kw_only=True)
class BradleyTerry(Logit, PosteriorMode):
    """P(i preferred to j) = F(D) = 1 / (1 + exp(-D)) with D = e_i - e_j (Bradley and Terry 1952; zELO 2025, section 4.2.1).

    The ratings e of a query minimise sum_k w_k loss(D_k, p_k) + (ridge / 2) sum_i e_i^2 over its comparisons k, of weight w
    and preference p: the mode of the posterior under a Gaussian prior. The loss -p D - log F(-D) has the slope F(D) - p and the
    curvature F(D) F(-D). Ratings are log-odds (natural logarithm).
    """

    NAME: ClassVar[str] = "bradley_terry"
