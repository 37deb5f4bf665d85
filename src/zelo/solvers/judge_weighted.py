"""Ratings from judges who differ: how sharply each tells documents apart, how much it likes the first, how noisy it is."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood import newton
from zelo.likelihood.links import LinkFunctions, Logit, Probit
from zelo.records import Comparisons, Fit
from zelo.solvers.judges import learn

Model = Literal["thurstone", "bradley_terry"]
_LINKS: dict[str, LinkFunctions] = {"thurstone": Probit(), "bradley_terry": Logit()}


@dataclass(frozen=True, kw_only=True)
class JudgeWeighted:
    """P(i preferred to j by judge m) = F(a_m (e_i - e_j) + c_m o), o = 1 if i was shown first and -1 otherwise.

    A judge's discrimination a_m and its liking for the first document c_m hold for all queries. The ratings are the posterior
    mode given the judges, the judges given the ratings, in turn; a soft judge's answers also count by the noise that they
    show, as 1 over its dispersion (quasi-likelihood, Wedderburn 1974), a hard judge's as the votes that they are. Priors:
    e ~ N(0, 1 / ridge), a ~ N(1, 1 / judge_ridge) above 0, c ~ N(0, 1 / judge_ridge). Ratings are in units of the mean
    judge's link, the mean weighted by what each judge tells: a judge of pure noise neither moves nor shrinks them.

    Simulated (60 queries of 50 documents, three judges, error after the best scale against that of plain means): one of pure
    noise 0.265 : 0.334 with votes and 0.043 : 0.173 with soft labels, as without that judge; three alike 0.223 : 0.223 and
    0.035 : 0.035; order biases of 0.3, -0.1 and 0.6 0.231 : 0.244 and 0.035 : 0.095; latent noise of 0.1, 0.3 and 0.9 0.245 :
    0.250 and 0.038 : 0.114. With votes the gains come out too far apart (2 : 1 as 2.7 : 1), which costs the
    ratings nothing measurable.

    Comparisons without `judge` are one judge's; without `swapped`, c = 0.
    """

    per_judge: ClassVar[Literal[True]] = True  # comparisons come one row per judge, not averaged

    model: Model
    ridge: float  # precision of the prior of ratings
    judge_ridge: float  # precision of the prior of judges
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # Newton steps per query
    stderr: newton.Stderr
    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and foretells; judges are learned without them

    def __post_init__(self) -> None:
        newton.check_settings("judge_weighted", **self._settings())
        if self.model not in get_args(Model):
            raise BadInput(f"solver=judge_weighted: model={self.model} must be one of {', '.join(get_args(Model))}")
        if not 0 < self.judge_ridge < np.inf:
            raise BadInput(f"solver=judge_weighted: judge_ridge={self.judge_ridge} must be positive and finite; try 10")

    def link(self, difference: np.ndarray) -> np.ndarray:
        """Probability that the first document is preferred by the mean judge, whatever the order."""
        return _LINKS[self.model].link(difference)

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        link = _LINKS[self.model]
        if comparisons.judge is None and comparisons.swapped is not None:
            comparisons = replace(comparisons, judge=np.zeros(len(comparisons.edges), np.int32))
        if comparisons.judge is None or not len(comparisons.edges):
            return newton.fit(comparisons, link, **self._settings())
        judges, rounds = learn(
            comparisons,
            link,
            ridge=self.ridge,
            judge_ridge=self.judge_ridge,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
            lapse=self.lapse,
            held_out=self.held_out,
        )
        fit = newton.fit(comparisons, link, **self._settings(), judges=judges)
        named = {"gain": judges.gain, "order": judges.order, "weight": judges.weight}
        said = {name: [round(float(value), 4) for value in column] for name, column in named.items()}
        return replace(fit, diagnosis=fit.diagnosis | {"judges": said, "judge_rounds": rounds})

    def _settings(self) -> dict[str, Any]:
        names = ("ridge", "tolerance", "max_steps", "stderr", "lapse", "held_out")
        return {name: getattr(self, name) for name in names}
