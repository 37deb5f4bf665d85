"""A weighted sum of the scores of several systems, learned from a few queries, and the file that says how to compute it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from zelo.errors import BadInput
from zelo.facts import Facts

FILE = "hybrid.json"
BM25, EMBEDDING, RERANKER = PARTS = ("bm25", "embedding", "reranker")
RIDGE = 3.0  # queries' worth of belief that all parts count the same


@dataclass(frozen=True)
class HybridScore:
    """score = sum over parts of weight / scale * score of the part: each is computed for one document at a time.

    A scale is the deviation of the part's scores within a query, in the mean over queries. Weights are at least 0 and sum to 1.
    """

    weights: dict[str, float]
    scales: dict[str, float]

    @property
    def factors(self) -> dict[str, float]:
        """What each part's score is multiplied by."""
        return {name: weight / self.scales[name] for name, weight in self.weights.items()}

    def scores(self, parts: np.ndarray) -> np.ndarray:
        """[N] scores from those of the P parts [N, P]."""
        return parts @ np.array(list(self.factors.values()))

    def write(self, folder: Path, facts: Facts) -> None:
        """Writes hybrid.json. facts: what else a reader must know."""
        parts = {
            name: {"weight": weight, "scale": self.scales[name], "factor": float(f"{self.factors[name]:.6g}")}
            for name, weight in self.weights.items()
        }
        said = {"score": "sum over parts of factor * score", "parts": parts, **facts}
        (folder / FILE).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> tuple["HybridScore", Facts]:
        """(the score, all that the file says). Raises BadInput for a file that cannot be used."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            parts = said["parts"]
            if missing := [name for name in PARTS if name not in parts]:
                raise BadInput(f"{path} has no part {' and no '.join(missing)}; a hybrid is of {', '.join(PARTS)}.")
            weights, scales = ({name: float(parts[name][key]) for name in PARTS} for key in ("weight", "scale"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path} cannot be read ({type(error).__name__}: {error}); copy the run's folder again."
            ) from error
        if not all(0 <= weights[name] <= 1 and 0 < scales[name] < np.inf for name in PARTS):
            raise BadInput(f"{path}: a weight is in [0, 1] and a scale above 0; found {weights} and {scales}.")
        return HybridScore(weights, scales), said


def deviations(parts: np.ndarray, query: np.ndarray) -> np.ndarray:
    """[P] deviations of scores [N, P] within a query, in the mean over queries; 1 where all are equal. query: [N] from 0."""
    count = np.maximum(np.bincount(query), 1)
    found = np.empty(parts.shape[1])
    for column, score in enumerate(parts.T.astype(np.float64)):
        centred = score - (np.bincount(query, score) / count)[query]
        found[column] = np.sqrt(np.bincount(query, centred**2) / count)[np.unique(query)].mean() if len(query) else 0
    return np.where(found > 0, found, 1.0)


def learned(parts: np.ndarray, gain: np.ndarray, query: np.ndarray, ridge: float) -> np.ndarray:
    """[P] weights, 0 or more and 1 in sum, under which a softmax of the sum is most like the gains.

    Minimises the cross-entropy between each query's gains and softmax(parts @ w), a convex function (ListNet: Cao et al., ICML
    2007), plus ridge / 2 times the squared distance of w from equal weights of whatever size: with no query they are equal.
    parts: [N, P], each divided by its scale; gain: [N], 0 or more; query: [N] from 0.
    """
    order = np.argsort(query, kind="stable")
    parts, gain, query = parts[order].astype(np.float64), gain[order], query[order]
    first = np.flatnonzero(np.diff(query, prepend=-1))
    place = np.cumsum(np.diff(query, prepend=-1) != 0) - 1  # [N] the number of its query, none left out
    share = np.add.reduceat(gain, first) if len(gain) else np.zeros(0)
    count = parts.shape[1]
    apart = np.eye(count) - 1 / count

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = parts @ weights
        pull = apart @ weights * ridge
        value, gradient = 0.5 * weights @ pull, pull
        if len(score):
            best = np.maximum.reduceat(score, first)[place]
            total = np.add.reduceat(np.exp(score - best), first)
            expected = np.exp(score - best) / total[place] * share[place]
            value += (share * np.log(total)).sum() + (gain * (best - score)).sum()
            gradient = pull + (expected - gain) @ parts
        return float(value), gradient

    weights = minimize(loss, np.ones(count), jac=True, bounds=[(0, None)] * count, method="L-BFGS-B").x
    return weights / weights.sum() if weights.sum() > 0 else np.full(count, 1 / count)
