"""How long ratings take against peers that fit one query at a time: CPU time per query, in one process, interleaved.

Run: python benchmarks/solvers.py [--queries 2048] [--peers 6] [--rounds 3]. Ratios are to the batched fit of the same link
without standard errors, from the medians over the rounds. Each case is 100 documents with 400 comparisons; peers that know
whole wins only get three votes for each.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import choix
import evalica
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, ndtr

from zelo.graphs.random_cycles import RandomCycles
from zelo.records import Comparisons
from zelo.solvers import newton
from zelo.solvers.blocks import Blocks
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.thurstone import Thurstone

DOCUMENTS, RIDGE, TOLERANCE = 100, 1e-3, 1e-6
Solver = Thurstone | BradleyTerry
T = TypeVar("T")
Peer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def solver(kind: type[Solver]) -> Solver:
    return kind(ridge=RIDGE, tolerance=TOLERANCE, max_steps=50)


def simulated(queries: int, kind: type[Solver], votes: int = 0, seed: int = 0) -> Comparisons:
    """Soft labels with latent noise and 2 % of uniform answers, or means of hard votes."""
    rng = np.random.default_rng(seed)
    sizes = np.full(queries, DOCUMENTS)
    edges = RandomCycles(degree=8).propose(sizes, rng.integers(0, 2**64, queries, dtype=np.uint64), None)
    assert edges is not None
    truth = rng.normal(0, 1.2, queries * DOCUMENTS)
    gap = truth[edges[:, 0]] - truth[edges[:, 1]]
    noise = 0 if votes else rng.normal(0, 0.2, len(gap))
    p = expit(gap + noise) if kind is BradleyTerry else ndtr(np.sqrt(2) * 0.443 * (gap + noise))
    p = rng.binomial(votes, p) / votes if votes else 0.98 * p + 0.02 * rng.random(len(p))
    return Comparisons(sizes, edges, p, np.full(len(p), float(max(votes, 1))))


def lbfgs(kind: type[Solver], votes: int) -> Peer:
    link, weight = solver(kind), max(votes, 1)

    def fit(edges: np.ndarray, p: np.ndarray) -> np.ndarray:
        a, b = edges.T

        def loss(e: np.ndarray) -> tuple[float, np.ndarray]:
            ahead, behind = link.log_link(e[a] - e[b])
            slope = weight * link.derivatives(e[a] - e[b], p)[0]
            gradient = np.bincount(a, slope, DOCUMENTS) - np.bincount(b, slope, DOCUMENTS) + RIDGE * e
            return float(RIDGE / 2 * e @ e - weight * (p @ ahead + (1 - p) @ behind)), gradient

        options = {"gtol": TOLERANCE, "ftol": 1e-15, "maxiter": 1000}
        return minimize(loss, np.zeros(DOCUMENTS), jac=True, method="L-BFGS-B", options=options).x

    return fit


def evalica_bradley_terry(edges: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Soft labels as two weighted wins; maximum likelihood without a prior."""
    names = [str(k) for k in range(DOCUMENTS)]
    a, b = ([names[k] for k in side] * 2 for side in edges.T.tolist())
    winners = [evalica.Winner.X] * len(p) + [evalica.Winner.Y] * len(p)
    result = evalica.bradley_terry(
        a, b, winners, weights=np.concatenate([p, 1 - p]).tolist(), tolerance=1e-6, limit=1000
    )
    scores = np.log(np.asarray(result.scores[names], float))
    return scores - scores.mean()


def choix_opt(edges: np.ndarray, p: np.ndarray) -> np.ndarray:
    won = np.rint(3 * p).astype(int)
    wins = np.concatenate([np.repeat(edges, won, axis=0), np.repeat(edges[:, ::-1], 3 - won, axis=0)])
    return choix.opt_pairwise(DOCUMENTS, wins.tolist(), alpha=RIDGE / 2)  # its penalty has no 1/2


def cpu(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def one_by_one(case: Comparisons, peer: Peer, first: int, count: int) -> list[np.ndarray]:
    edges, p = case.edges.reshape(len(case.sizes), -1, 2), case.p.reshape(len(case.sizes), -1)
    return [peer(edges[q] - q * DOCUMENTS, p[q]) for q in range(first, first + count)]


def race(
    title: str, kind: type[Solver], votes: int, peers: dict[str, tuple[Peer, int]], queries: int, rounds: int
) -> None:
    """Prints CPU time per query of the batched fit and of each peer (with its queries per round)."""
    ours, case = solver(kind), simulated(queries, kind, votes)
    times: dict[str, list[float]] = {}
    apart: dict[str, float] = {}
    for turn in range(rounds):
        spent, (rating, _, _) = cpu(lambda: newton.minimise(Blocks(case), ours, RIDGE, TOLERANCE, 50))
        times.setdefault("zelo", []).append(spent / queries)
        spent, _ = cpu(lambda: ours.fit(case))
        times.setdefault("zelo with standard errors", []).append(spent / queries)
        for name, (peer, count) in peers.items():
            first = turn * count % (queries - count)
            spent, theirs = cpu(lambda peer=peer, first=first, count=count: one_by_one(case, peer, first, count))
            times.setdefault(name, []).append(spent / count)
            own = rating.reshape(queries, DOCUMENTS)[first : first + count]
            apart[name] = max(apart.get(name, 0.0), float(np.abs(np.array(theirs) - own).max()))
    base = median(times["zelo"])
    print(f"\n{title}: {queries} queries, {rounds} rounds")
    for name, spent in times.items():
        note = f"   max difference of ratings {apart[name]:.1e}" if name in apart else ""
        print(f"  {name:28s} {median(spent) * 1e6:11.0f} us per query {median(spent) / base:9.1f} x{note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2048, help="of the batched fit")
    parser.add_argument("--peers", type=int, default=6, help="queries that each peer fits in a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    own, few = given.peers, 1
    size = {"queries": given.queries, "rounds": given.rounds}
    race("Thurstone, soft labels", Thurstone, 0, {"scipy L-BFGS-B": (lbfgs(Thurstone, 0), own)}, **size)
    race("Thurstone, three votes", Thurstone, 3, {"scipy L-BFGS-B": (lbfgs(Thurstone, 3), own)}, **size)
    soft = {"scipy L-BFGS-B": (lbfgs(BradleyTerry, 0), own), "evalica (no prior)": (evalica_bradley_terry, own)}
    race("Bradley-Terry, soft labels", BradleyTerry, 0, soft, **size)
    hard = {"scipy L-BFGS-B": (lbfgs(BradleyTerry, 3), own), "choix opt_pairwise": (choix_opt, few)}
    race("Bradley-Terry, three votes", BradleyTerry, 3, hard, **size)


if __name__ == "__main__":
    main()
