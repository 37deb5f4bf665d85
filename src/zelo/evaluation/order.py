"""Do judges and labels put systems in the same order?"""

import numpy as np

from zelo.evaluation.measured import MeasuredSplit
from zelo.facts import Facts
from zelo.metrics.significance import drawn


def kendall(one: MeasuredSplit, other: MeasuredSplit, resamples: int, seed: int) -> Facts | None:
    """Kendall's tau-b of the systems by two measurements, with a 95 % interval over the queries; None below two systems.

    Tau-b (Kendall, The Treatment of Ties in Ranking Problems, Biometrika 33, 1945) is 1 for the same order, -1 for the reverse.
    It is None, and so are the ends, where a measurement ties all systems: then there is no order. Each measurement resamples its
    own queries; `undefined` is the share of resamples without an order, which the interval leaves out.
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
    known = tau[1:][~np.isnan(tau[1:])]
    low, high = np.percentile(known, [2.5, 97.5]).tolist() if len(known) and not np.isnan(tau[0]) else (None, None)
    by = [dict(zip(systems, found[0].tolist(), strict=True)) for found in means]
    return {
        "tau": None if np.isnan(tau[0]) else float(tau[0]),
        "ci_low": low,
        "ci_high": high,
        "undefined": 1 - len(known) / resamples,
        "systems": len(systems),
        "by_judges": by[0],
        "by_labels": by[1],
    }


def in_words(order: Facts) -> str:
    """For the terminal and the report."""
    count = order["systems"]
    if order["tau"] is None:
        tied = [by for by in ("judges", "labels") if len(set(order[f"by_{by}"].values())) == 1]
        return (
            f"whether judges and labels order the {count} systems alike is undefined (Kendall's tau): by"
            f" {' and by '.join(tied)} all systems are equal"
        )
    return (
        f"judges and labels order the {count} systems with Kendall's tau {order['tau']:.2f} (95 % interval"
        f" {order['ci_low']:.2f} to {order['ci_high']:.2f}); 1 is the same order"
    )


def _tau(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[B] tau-b of two [B, S]; nan where one side ties all systems."""
    first, second = np.triu_indices(a.shape[1], 1)
    x, y = (np.sign(values[:, first] - values[:, second]) for values in (a, b))
    spread = np.sqrt(np.abs(x).sum(axis=1) * np.abs(y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), spread, out=np.full(len(a), np.nan), where=spread > 0)
