"""When do pairs pay? Simulated: a judge reads documents one at a time, or two at a time, and the tokens are the same.

Run: python benchmarks/pairs_matter.py [--queries 400] [--documents 20]. Seconds, on one core.

A document of true score t ~ N(0, 1) that is read alone gets t + bias + noise: `bias` is of the document and the same in every
reading (the model likes its style), `noise` is new each time. Two documents that are read together get the difference of
their true scores, of what is left of their biases (`kept`), and noise whose variance is `ratio` times that of two readings
apart; `cycle` is a preference of the pair that no scores explain. A pair costs two readings, so a graph of degree k costs as
many tokens as k readings of each document. Soft preferences are fitted by solver=bradley_terry as in a run. nDCG@10, where
the gain is 1 for the best tenth of the documents.
"""

import argparse
from itertools import product

import numpy as np
from scipy.special import expit

from zelo.graphs.cycles import Cycles
from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry

NOISE = 1.5  # standard deviation of one reading
CASES = {  # (bias, kept, cycle): standard deviations, and the share of a bias that is left where two are read together
    "noise alone": (0.0, 1.0, 0.0),
    "bias that pairs keep": (0.7, 1.0, 0.0),
    "bias that pairs halve": (0.7, 0.5, 0.0),
    "preferences that are no order": (0.0, 1.0, 1.0),
}
RATIOS = (1.0, 0.5, 0.25)
READINGS = (2, 4, 8)


def ndcg(score: np.ndarray, truth: np.ndarray) -> float:
    """Mean over queries. score, truth: [Q, N]."""
    best = max(truth.shape[1] // 10, 1)
    gain = (np.argsort(np.argsort(-truth, 1), 1) < best).astype(float)
    ranked = np.take_along_axis(gain, np.argsort(-score, 1), 1)[:, :10]
    discount = 1 / np.log2(np.arange(2, 12))
    return float((ranked @ discount[: ranked.shape[1]]).mean() / discount[:best].sum())


def pointwise(truth: np.ndarray, readings: int, bias: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[Q, N] means of the readings."""
    return truth + bias + rng.normal(0, NOISE / np.sqrt(readings), truth.shape)


def pairwise(
    truth: np.ndarray, degree: int, bias: np.ndarray, ratio: float, cycle: float, rng: np.random.Generator
) -> np.ndarray:
    """[Q, N] ratings from soft preferences on a graph of this degree."""
    queries, documents = truth.shape
    sizes = np.full(queries, documents)
    edges = Cycles(degree=degree).propose(sizes, np.arange(queries, dtype=np.uint64), None)
    assert edges is not None
    seen = (truth + bias).ravel()
    noise = rng.normal(0, NOISE * np.sqrt(2 * ratio), len(edges)) + rng.normal(0, cycle, len(edges))
    p = expit(seen[edges[:, 0]] - seen[edges[:, 1]] + noise)
    solver = BradleyTerry(ridge=1e-3, tolerance=1e-6, max_steps=50, stderr="laplace", lapse=0.0, held_out=0.0)
    fit = solver.fit(Comparisons(sizes=sizes, edges=edges, p=p, weight=np.ones(len(p))))
    return fit.rating.reshape(queries, documents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--documents", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{'':<32}{'readings':>9}{'alone':>8}" + "".join(f"{f'pairs {ratio:g}':>12}" for ratio in RATIOS))
    for (name, (spread, kept, cycle)), readings in product(CASES.items(), READINGS):
        rng = np.random.default_rng(0)
        truth = rng.normal(size=(arguments.queries, arguments.documents))
        bias = rng.normal(0, spread, truth.shape)
        alone = ndcg(pointwise(truth, readings, bias, rng), truth)
        pairs = [ndcg(pairwise(truth, readings, kept * bias, ratio, cycle, rng), truth) for ratio in RATIOS]
        print(f"{name:<32}{readings:>9}{alone:>8.3f}" + "".join(f"{value:>12.3f}" for value in pairs))


if __name__ == "__main__":
    main()
