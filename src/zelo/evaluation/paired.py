"""Paired tests of systems against their baselines, and the smallest difference that so many queries could have shown."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from zelo.evaluation.measured import MeasuredSplit
from zelo.metrics.significance import FlipTest, holm, holm_factor

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class PairedTests:
    """P tests on one split, the intervals and what follows at the level that Holm's correction leaves to each.

    Where labels are known up to an error, each figure is the median over the draws of labels (the median P rule for multiple
    imputation: Eekhout, van de Wiel and Heymans, BMC Medical Research Methodology 17, 2017).
    """

    p: np.ndarray  # [M, P] p-values, corrected over the P tests of a metric
    difference: np.ndarray  # [P] of the deciding metric
    low: np.ndarray  # [P] ends of its interval; 0 is outside exactly where p is below ALPHA
    high: np.ndarray  # [P]
    detectable: np.ndarray  # [P] smallest difference that is shown with a probability of POWER

    @staticmethod
    def of(one: MeasuredSplit, pairs: list[tuple[str, str]], resamples: int, seed: int) -> "PairedTests":
        """pairs: (system, baseline)."""
        metrics, tests = len(one.metrics), len(pairs)
        if not tests:
            return PairedTests(np.empty((metrics, 0)), *np.empty((4, 0)))
        rows = np.array([[one.systems.index(name) for name in pair] for pair in pairs])
        differences = [values[rows[:, 0]] - values[rows[:, 1]] for values in one.samples]  # [P, M, Q] each
        flat = [found.swapaxes(0, 1).reshape(metrics * tests, -1) for found in differences]
        found = [FlipTest.of(rows, resamples, seed) for rows in flat]
        p = np.median([test.p() for test in found], axis=0).reshape(metrics, tests)
        decides = slice(one.primary * tests, (one.primary + 1) * tests)
        level = ALPHA / holm_factor(p[one.primary])
        ends = [FlipTest(t.low[decides], t.high[decides], t.mean[decides]).interval(level) for t in found]
        # No difference is larger than this: of an end that so few queries do not bound.
        bound = max(1.0, *(float(np.abs(rows[decides]).max()) for rows in flat))
        low, high = np.clip(np.median(ends, axis=0), -bound, bound)
        mean = np.mean([rows[decides].mean(axis=1) for rows in flat], axis=0)
        detected = np.median([smallest_difference(rows[decides], level) for rows in flat], axis=0)
        return PairedTests(np.stack([holm(row) for row in p]), mean, low, high, detected)


def smallest_difference(differences: np.ndarray, level: np.ndarray) -> np.ndarray:
    """[P] the true mean difference that a two-sided paired test at this level shows with a probability of POWER.

    (z(1 - level / 2) + z(POWER)) s / sqrt(Q) with the spread s of the differences of Q queries (Sakai, Information Retrieval
    19, 2016, section 3). differences: [P, Q]; level: [P]. nan for a single query.
    """
    queries = differences.shape[1]
    if queries < 2:
        return np.full(len(differences), np.nan)
    normal = NormalDist()
    reach = np.array([normal.inv_cdf(1 - one / 2) + normal.inv_cdf(POWER) for one in level.tolist()])
    return reach * differences.std(axis=1, ddof=1) / queries**0.5
