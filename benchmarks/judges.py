"""Ratings from three judges of different quality: `solver=judge_weighted` against equal judge weights, on simulated queries.

Run: python benchmarks/judges.py. Some ten seconds. A line gives the RMSE of both, each after the best scale.
"""

from dataclasses import dataclass, replace

import numpy as np
import yaml
from scipy.special import ndtr

from plots import TOP, simulated, solver
from zelo.records import Comparisons
from zelo.solvers.judge_weighted import JudgeWeighted

QUERIES, DOCUMENTS, DEGREE, SEED = 60, 50, 8, 1
RIDGE = {"votes": 1.0, "soft labels": 1e-3}


@dataclass(frozen=True)
class Judge:
    """A simulated judge."""

    sharpness: float = 1.0
    bias: float = 0.0  # towards the document shown first
    noise: float = 0.15  # sd, in the difference of two ratings


GOOD = Judge()
CASES: dict[str, list[Judge]] = {
    "one is pure noise": [GOOD, GOOD, Judge(sharpness=0.0)],
    "all the same": [GOOD, GOOD, GOOD],
    "position bias 0.3, -0.1, 0.6": [Judge(bias=0.3), Judge(bias=-0.1), Judge(bias=0.6)],
}


def answers(judges: list[Judge], votes: bool) -> tuple[np.ndarray, Comparisons, Comparisons]:
    """([N] true ratings, one comparison per pair and judge, one mean per pair)."""
    truth, pairs = simulated(QUERIES, DOCUMENTS, DEGREE)
    rng = np.random.default_rng(SEED)
    gap = truth[pairs.edges[:, 0]] - truth[pairs.edges[:, 1]]
    swapped = rng.random((len(gap), len(judges))) < 0.5
    p = np.empty(swapped.shape)
    for m, judge in enumerate(judges):
        seen = judge.sharpness * (gap + rng.normal(0, judge.noise, len(gap)))
        p[:, m] = ndtr(np.sqrt(2) * (seen + judge.bias * np.where(swapped[:, m], -1, 1)))
        if not votes and not judge.sharpness:
            p[:, m] = rng.random(len(gap))
    if votes:
        p = (rng.random(p.shape) < p).astype(float)
    count = len(judges)
    rows = Comparisons(
        pairs.sizes,
        np.repeat(pairs.edges, count, axis=0),
        p.ravel(),
        np.ones(p.size),
        np.tile(np.arange(count, dtype=np.int32), len(gap)),
        swapped.ravel(),
    )
    return truth, rows, replace(pairs, p=p.mean(1), weight=np.full(len(gap), float(count)))


def error(truth: np.ndarray, rating: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - rating * (truth @ rating) / (rating @ rating)) ** 2)))


def main() -> None:
    fields = yaml.safe_load((TOP / "conf/solver/judge_weighted.yaml").read_text())
    fields.pop("_target_")
    for kind, ridge in RIDGE.items():
        for name, judges in CASES.items():
            truth, rows, means = answers(judges, kind == "votes")
            weighted = JudgeWeighted(**fields | {"ridge": ridge}).fit(rows)
            equal = solver(ridge=ridge).fit(means)
            print(f"{kind}, {name}: {error(truth, weighted.rating):.3f} : {error(truth, equal.rating):.3f}")


if __name__ == "__main__":
    main()
