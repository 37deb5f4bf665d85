"""Ratings from judges who differ: how sharply each tells documents apart, how much it likes the first, how noisy it is."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.blocks import Blocks, Judges
from zelo.likelihood.covariance import counted, overdispersion
from zelo.likelihood.links import LinkFunction, Logit, Probit
from zelo.likelihood.newton import minimise
from zelo.records import Comparisons, Fit
from zelo.solvers.posterior_mode import PosteriorMode

Model = Literal["thurstone", "bradley_terry"]
_LINKS: dict[str, LinkFunction] = {"thurstone": Probit(), "bradley_terry": Logit()}
_QUERIES = 1000  # from which judges are learned: more do not move the three numbers of a judge
_ROUNDS, _SETTLED = 200, 1e-4  # of ratings and judges in turn; change of a judge's numbers at which they end
_STEPS, _SOLVED = 50, 1e-9  # Newton steps of the judges in a round, and the step at which they end
_LEAST = 1e-3  # gain of a judge that does not follow the documents; one below 0 is a contrarian and not followed either


@dataclass(frozen=True, kw_only=True)
class JudgeWeighted(PosteriorMode):
    """P(i preferred to j by judge m) = F(a_m (e_i - e_j) + c_m o), o = 1 if i was shown first and -1 otherwise.

    A judge's discrimination a_m and its liking for the first document c_m hold for all queries. The ratings are the posterior
    mode given the judges, the judges given the ratings, in turn; a soft judge's answers also count by the noise that they
    show, as 1 over its dispersion (quasi-likelihood, Wedderburn 1974), a hard judge's as the votes that they are. Where
    comparisons come `weighed`, their weights say how far each judge is believed, and noise is not looked for again. Priors:
    e ~ N(0, 1 / ridge), a ~ N(1, 1 / judge_ridge) above 0, c ~ N(0, 1 / judge_ridge). Ratings are in units of the mean
    judge's link, the mean weighted by what each judge tells: a judge of pure noise neither moves nor shrinks them.

    Simulated (60 queries of 50 documents, three judges, error after the best scale against that of plain means): one of pure
    noise 0.265 : 0.334 with votes and 0.043 : 0.173 with soft labels, as without that judge; three alike 0.223 : 0.223 and
    0.035 : 0.035; order biases of 0.3, -0.1 and 0.6 0.231 : 0.244 and 0.035 : 0.095; latent noise of 0.1, 0.3 and 0.9 0.245 :
    0.250 and 0.038 : 0.114. With votes the gains come out too far apart (2 : 1 as 2.7 : 1), which costs the
    ratings nothing measurable.

    Comparisons without `judge` are one judge's; without `swapped`, c = 0.
    """

    NAME: ClassVar[str] = "judge_weighted"
    per_judge: ClassVar[Literal[True]] = True  # comparisons come one row per judge, not averaged

    model: Model
    judge_ridge: float  # precision of the prior of judges

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in get_args(Model):
            raise BadInput(f"solver=judge_weighted: model={self.model} must be one of {', '.join(get_args(Model))}")
        if not 0 < self.judge_ridge < np.inf:
            raise BadInput(f"solver=judge_weighted: judge_ridge={self.judge_ridge} must be positive and finite; try 10")

    @property
    def link(self) -> LinkFunction:
        """Of the mean judge, whatever the order."""
        return _LINKS[self.model]

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unconverged queries."""
        if comparisons.judge is None and comparisons.swapped is not None:
            comparisons = replace(comparisons, judge=np.zeros(len(comparisons.edges), np.int32))
        if comparisons.judge is None or not len(comparisons.edges):
            return super().fit(comparisons)
        judges, rounds = self._learn(comparisons, int(np.max(comparisons.judge)) + 1)
        fit = self._fit(Blocks(comparisons, lapse=self.lapse, judges=judges))
        named = {"gain": judges.gain, "order": judges.order, "weight": judges.weight}
        said = {name: [round(float(value), 4) for value in column] for name, column in named.items()}
        return replace(fit, diagnosis=fit.diagnosis | {"judges": said, "judge_rounds": rounds})

    def _learn(self, comparisons: Comparisons, count: int) -> tuple[Judges, int]:
        """(judges, rounds) from at most _QUERIES queries, evenly spread over the numbers, without the held-out pairs.

        At the true judges the equations for a are unbiased though the ratings are estimated from the same answers: an error of
        e_i - e_j draws a down by as much as its correlation with the answer's own error lifts it. The noise is divided by the
        answers that are left after the ratings, which each judge has paid for by its share of the information.
        """
        rows = _sample(comparisons, self.held_out)
        judges = Judges(np.ones(count), np.zeros(count), np.ones(count))
        task = _Task(rows, self.link, self.lapse, self.judge_ridge)
        for turn in range(1, _ROUNDS + 1):
            blocks = Blocks(rows, lapse=self.lapse, judges=judges)
            rating, _, _ = minimise(blocks, self.link, self.ridge, self.tolerance, self.max_steps)
            learned = task.judges(rating, judges)
            moved = (learned.gain - judges.gain, learned.order - judges.order, np.log(learned.weight / judges.weight))
            judges = learned
            if np.abs(moved).max() < _SETTLED:
                return judges, turn
        raise BadInput(
            f"solver=judge_weighted: the judges did not converge in {_ROUNDS} rounds; raise solver.judge_ridge"
        )


def _sample(comparisons: Comparisons, held_out: float) -> Comparisons:
    blocks = Blocks(comparisons).hiding(held_out)
    queries = blocks.compared[np.unique(np.linspace(0, len(blocks.compared) - 1, _QUERIES).astype(np.int64))]
    block, rows = blocks.block(queries), blocks.rows(queries)
    shown = np.flatnonzero(block.weight)
    judge, swapped = (None if part is None else part[rows][shown] for part in (comparisons.judge, comparisons.swapped))
    return Comparisons(
        block.sizes, block.edges[shown], block.p[shown], block.weight[shown], judge, swapped, comparisons.weighed
    )


class _Task:
    """The judges' side of the alternation: E answers of M judges, about differences that are given."""

    def __init__(self, rows: Comparisons, link: LinkFunction, lapse: float, prior: float):
        assert rows.judge is not None
        self.rows, self.link, self.judge, self.prior = rows, link, rows.judge, prior
        self.p = np.clip((np.asarray(rows.p, np.float64) - lapse / 2) / (1 - lapse), 0, 1)
        self.order = np.zeros(len(rows.p)) if rows.swapped is None else np.where(rows.swapped, -1.0, 1.0)
        self.parameters = int(np.maximum(rows.sizes - 1, 0).sum())
        self.soft = ~counted(rows.p, rows.weight) & (not rows.weighed)

    def judges(self, rating: np.ndarray, before: Judges) -> Judges:
        """The judges that these ratings [N] make most probable; `before` says which of them the ratings were made of."""
        difference = rating[self.rows.edges[:, 0]] - rating[self.rows.edges[:, 1]]
        gain, order = self._mode(difference, before)
        count = len(gain)
        asked = gain[self.judge] * difference + order[self.judge] * self.order
        slope = self.rows.weight * self.link.derivatives(asked, self.p)[0]
        told = self._per_judge(self.rows.weight * self.link.information(asked), count)
        share = gain**2 * told * before.weight
        answers = self._per_judge(np.ones(len(slope)), count)
        freedom = np.maximum(answers - self.parameters * share / share.sum(), 0)
        noise = overdispersion(answers, self._per_judge(slope**2, count), told, freedom)
        weight = np.where(self._per_judge(self.soft, count) == 0, 1.0, 1 / noise)
        weight *= (gain**2 * told).sum() / (gain**2 * told * weight).sum()  # what all know together stays as it is
        share = gain**2 * told * weight
        return Judges(np.maximum(gain * share.sum() / (share * gain).sum(), _LEAST), order, weight)

    def _mode(self, difference: np.ndarray, before: Judges) -> tuple[np.ndarray, np.ndarray]:
        """(gain [M], order bias [M]) by Newton's method: the loss is convex in both."""
        gain, order = before.gain.copy(), before.order.copy()
        count, weight = len(gain), self.rows.weight
        prior = self.prior / before.weight  # the answers count `weight` times as much as their own sums say
        for _ in range(_STEPS):
            asked = gain[self.judge] * difference + order[self.judge] * self.order
            slope, bend = (weight * part for part in self.link.derivatives(asked, self.p))
            by_gain = self._per_judge(slope * difference, count) + prior * (gain - 1)
            by_order = self._per_judge(slope * self.order, count) + prior * order
            gains = self._per_judge(bend * difference**2, count) + prior
            orders = self._per_judge(bend * self.order**2, count) + prior
            both = self._per_judge(bend * difference * self.order, count)
            determinant = gains * orders - both**2
            moved = np.maximum(gain - (orders * by_gain - both * by_order) / determinant, _LEAST) - gain
            turned = (both * by_gain - gains * by_order) / determinant
            gain, order = gain + moved, order + turned
            if max(np.abs(moved).max(), np.abs(turned).max()) < _SOLVED:
                break
        return gain, order

    def _per_judge(self, values: np.ndarray, count: int) -> np.ndarray:
        return np.bincount(self.judge, values, count)
