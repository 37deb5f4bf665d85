"""Do judges and labels put systems in the same order?"""

import numpy as np

from zelo.evaluation.measured import MeasuredSplit
from zelo.facts import Facts
from zelo.metrics.significance import drawn


def kendall(one: MeasuredSplit, other: MeasuredSplit, resamples: int, seed: int) -> Facts | None:
    """Kendall's tau-b of the systems by two measurements, with a 95 % interval over the queries; None below two systems.

    Tau-b (Kendall, The Treatment of Ties in Ranking Problems, Biometrika 33, 1945) is 1 for the same order, -1 for the reverse.
    Each measurement resamples its own queries.
    """
    systems = [system for system in one.systems if system in other.systems]
    if len(systems) < 2:
        return None
    means = []
    for number, split in enumerate((one, other)):
        values = np.stack([split.of(system)[split.primary] for system in systems])
        blocks = [values.mean(axis=1)[None]]
        blocks += [counts @ values.T / values.shape[1] for counts in drawn(values.shape[1], resamples, seed + number)]
        means.append(np.concatenate(blocks))
    tau = _tau(*means)
    low, high = np.nanpercentile(tau[1:], [2.5, 97.5])
    by = [dict(zip(systems, found[0].tolist(), strict=True)) for found in means]
    return {
        "tau": float(tau[0]),
        "ci_low": float(low),
        "ci_high": float(high),
        "systems": len(systems),
        "by_judges": by[0],
        "by_labels": by[1],
    }


def _tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[B] tau-b of two [B, S]; 0 where one side ties all systems."""
    first, second = np.triu_indices(a.shape[1], 1)
    x, y = (np.sign(values[:, first] - values[:, second]) for values in (a, b))
    spread = np.sqrt(np.abs(x).sum(axis=1) * np.abs(y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.zeros(len(a)), where=spread > 0)
