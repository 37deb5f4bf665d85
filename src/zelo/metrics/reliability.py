"""How far several judges agree beyond chance: Krippendorff's alpha over any number of them, answers missing or not."""

import numpy as np

from zelo.metrics.judging import verdicts
from zelo.metrics.measure import Measure, Resampling

INTERVAL, NOMINAL = "interval", "nominal"
_ALIKE = "all answers are the same"


def alpha(values: np.ndarray, query: np.ndarray, level: str, interval: Resampling) -> Measure:
    """1 - observed / expected disagreement (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011); 1 is full agreement.

    values: [U, J] of U units by J observers, nan where there is none; a unit with fewer than two is left out. query: [U], what
    units are resampled by. level: `interval` weighs a difference by its square, `nominal` says equal or not.
    """
    kept = (~np.isnan(values)).sum(axis=1) > 1
    values, query = values[kept], query[kept]
    if not len(values):
        return Measure.none("no pair was answered by two judges")
    if level == NOMINAL:
        return interval.measure(_nominal(values), query, _of_nominal, _ALIKE)
    centred = values - np.nanmean(values)  # so that sums of squares lose no digits
    return interval.measure(_interval(centred), query, _of_interval, _ALIKE)


def agreement_of_preferences(p: np.ndarray, query: np.ndarray, interval: Resampling) -> dict[str, Measure]:
    """Level -> alpha of judges' preferences (`interval`) and of their verdicts first, tie, second (`nominal`).

    p: [E, J] P(first document of each pair preferred). Which one is called first means nothing, so each pair counts both ways
    round: that both documents are preferred equally often is then no accident of naming.
    """
    both, twice = np.concatenate([p, 1 - p]), np.concatenate([query, query])
    found = {}
    for level, values in ((INTERVAL, both), (NOMINAL, verdicts(both))):
        one = alpha(values, twice, level, interval)
        found[level] = Measure(one.value, one.low, one.high, one.count // 2, one.missing)
    return found


def _interval(values: np.ndarray) -> np.ndarray:
    """[U, 4] disagreement within each unit, its number of values, their sum and the sum of their squares."""
    n = (~np.isnan(values)).sum(axis=1)
    total, squares = np.nansum(values, axis=1), np.nansum(values**2, axis=1)
    return np.stack([2 * (n * squares - total**2) / (n - 1), n, total, squares], axis=1)


def _of_interval(totals: np.ndarray) -> np.ndarray:
    apart, n, total, squares = (totals[..., column] for column in range(4))
    return 1 - (n - 1) * apart / (2 * (n * squares - total**2))


def _nominal(values: np.ndarray) -> np.ndarray:
    """[U, 2 + C] disagreement within each unit, its number of values, and how many there are of each of C categories."""
    counts = np.stack([(values == category).sum(axis=1) for category in np.unique(values[~np.isnan(values)])], axis=1)
    n = counts.sum(axis=1)
    return np.column_stack([(n**2 - (counts**2).sum(axis=1)) / (n - 1), n, counts])


def _of_nominal(totals: np.ndarray) -> np.ndarray:
    apart, n, counts = totals[..., 0], totals[..., 1], totals[..., 2:]
    return 1 - (n - 1) * apart / (n**2 - (counts**2).sum(axis=-1))
