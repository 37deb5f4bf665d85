"""Learns judges and ratings from each other: discrimination, order bias and noise of each judge."""

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.blocks import Blocks, Judges, hidden
from zelo.likelihood.covariance import counted, overdispersion
from zelo.likelihood.links import Link
from zelo.likelihood.newton import minimise
from zelo.records import Comparisons, starts

_QUERIES = 1000  # from which judges are learned: more do not move the three numbers of a judge
_ROUNDS, _SETTLED = 200, 1e-4  # of ratings and judges in turn; change of a judge's numbers at which they end
_STEPS, _SOLVED = 50, 1e-9  # Newton steps of the judges in a round, and the step at which they end
_LEAST = 1e-3  # gain of a judge that does not follow the documents; one below 0 is a contrarian and not followed either


def learn(
    comparisons: Comparisons,
    link: Link,
    *,
    ridge: float,
    judge_ridge: float,
    tolerance: float,
    max_steps: int,
    lapse: float,
    held_out: float,
) -> tuple[Judges, int]:
    """(judges, rounds) from at most _QUERIES queries, evenly spread over the numbers, without the held-out pairs.

    At the true judges the equations for a are unbiased though the ratings are estimated from the same answers: an error of
    e_i - e_j draws a down by as much as its correlation with the answer's own error lifts it. The noise is divided by the
    answers that are left after the ratings, which each judge has paid for by its share of the information.
    """
    if comparisons.judge is None:
        raise ValueError("judges are learned from comparisons that say who judged")
    count = int(np.max(comparisons.judge, initial=0)) + 1
    rows = _sample(comparisons, held_out)
    judges = Judges(np.ones(count), np.zeros(count), np.ones(count))
    task = _Task(rows, link, lapse, judge_ridge)
    for turn in range(1, _ROUNDS + 1):
        rating, _, _ = minimise(Blocks(rows, lapse=lapse, judges=judges), link, ridge, tolerance, max_steps)
        learned = task.judges(rating, judges)
        moved = (learned.gain - judges.gain, learned.order - judges.order, np.log(learned.weight / judges.weight))
        judges = learned
        if np.abs(moved).max() < _SETTLED:
            return judges, turn
    raise BadInput(f"solver=judge_weighted: the judges did not settle in {_ROUNDS} rounds; raise solver.judge_ridge")


def _sample(comparisons: Comparisons, held_out: float) -> Comparisons:
    blocks = Blocks(comparisons)
    compared = blocks.compared
    queries = compared[np.unique(np.linspace(0, len(compared) - 1, _QUERIES).astype(np.int64))]
    rows, sizes = blocks.rows(queries), blocks.sizes[queries]
    local = comparisons.edges[rows] - np.repeat(blocks.starts[queries], blocks.counts[queries])[:, None]
    shown = np.flatnonzero(~hidden(local, held_out))
    edges = local + np.repeat(starts(sizes)[:-1], blocks.counts[queries])[:, None]
    parts = (comparisons.p, comparisons.weight, comparisons.judge, comparisons.swapped)
    p, weight, judge, swapped = (None if part is None else part[rows][shown] for part in parts)
    assert p is not None
    assert weight is not None
    return Comparisons(sizes, edges[shown], p, weight, judge, swapped)


class _Task:
    """The judges' side of the alternation: E answers of M judges, about differences that are given."""

    def __init__(self, rows: Comparisons, link: Link, lapse: float, prior: float):
        assert rows.judge is not None
        self.rows, self.link, self.judge, self.prior = rows, link, rows.judge, prior
        self.p = np.clip((np.asarray(rows.p, np.float64) - lapse / 2) / (1 - lapse), 0, 1)
        self.order = np.zeros(len(rows.p)) if rows.swapped is None else np.where(rows.swapped, -1.0, 1.0)
        self.parameters = int(np.maximum(rows.sizes - 1, 0).sum())
        self.soft = ~counted(rows.p, rows.weight)

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
