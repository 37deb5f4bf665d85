"""How long ratings take: against peers that fit one query at a time, with their errors, and as the queries grow.

Run: python benchmarks/solvers.py [--queries 2048] [--peers 6] [--rounds 3] [--growth 10000 112000]. CPU time on one core, in
one process, interleaved; set OMP_NUM_THREADS=1. Ratios are to the batched fit of the same link without standard errors, from
the medians over the rounds; seconds are scaled to the paper's 112,000 queries. Each case is 100 documents with 400
comparisons; peers that know whole wins only get three votes for each. --growth fits that many queries, all in memory, each
in a process of its own, and says what it took.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import TypeVar

import choix
import evalica
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, ndtr

from zelo.likelihood import covariance, newton
from zelo.likelihood.blocks import Blocks
from zelo.records import Comparisons
from zelo.solvers.bradley_terry import BradleyTerry
from zelo.solvers.fixed_point import FixedPoint
from zelo.solvers.thurstone import Thurstone

PAPER = 112_000  # queries
DOCUMENTS, TOLERANCE = 100, 1e-6
Solver = Thurstone | BradleyTerry
T = TypeVar("T")
Peer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ridge(kind: type[Solver], votes: int = 0) -> float:
    """The precision of the simulated ratings where votes need it; soft labels need next to none."""
    return (1.0 if kind is Thurstone else 0.3) if votes else 1e-3


def solver(kind: type[Solver], votes: int = 0) -> Solver:
    settings = {"tolerance": TOLERANCE, "max_steps": 50, "stderr": "laplace", "lapse": 0.0, "held_out": 0.0}
    return kind(ridge=ridge(kind, votes), **settings)


def simulated(queries: int, kind: type[Solver], votes: int = 0, seed: int = 0) -> Comparisons:
    """Soft labels with latent noise and 2 % of uniform answers, or means of hard votes."""
    rng = np.random.default_rng(seed)
    sizes = np.full(queries, DOCUMENTS)
    order = np.empty((queries, 4, DOCUMENTS), np.int32)
    order[:] = np.arange(DOCUMENTS, dtype=np.int32)
    order = rng.permuted(order, axis=2, out=order) + (np.arange(queries, dtype=np.int32) * DOCUMENTS)[:, None, None]
    edges = np.stack([order, np.roll(order, -1, 2)], 3).reshape(-1, 2)
    truth = rng.normal(0, 1.2, queries * DOCUMENTS)
    gap = truth[edges[:, 0]] - truth[edges[:, 1]]
    noise = 0 if votes else rng.normal(0, 0.2, len(gap))
    p = expit(gap + noise) if kind is BradleyTerry else ndtr(np.sqrt(2) * 0.443 * (gap + noise))
    p = rng.binomial(votes, p) / votes if votes else 0.98 * p + 0.02 * rng.random(len(p))
    return Comparisons(sizes, edges, p, np.full(len(p), float(max(votes, 1))))


def lbfgs(kind: type[Solver], votes: int) -> Peer:
    link, weight, prior = solver(kind, votes), max(votes, 1), ridge(kind, votes)

    def fit(edges: np.ndarray, p: np.ndarray) -> np.ndarray:
        a, b = edges.T

        def loss(e: np.ndarray) -> tuple[float, np.ndarray]:
            losses = weight * link.loss(e[a] - e[b], p)
            slope = weight * link.derivatives(e[a] - e[b], p)[0]
            gradient = np.bincount(a, slope, DOCUMENTS) - np.bincount(b, slope, DOCUMENTS) + prior * e
            return float(prior / 2 * e @ e + losses.sum()), gradient

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
    return choix.opt_pairwise(DOCUMENTS, wins.tolist(), alpha=ridge(BradleyTerry, 3) / 2)  # its penalty has no 1/2


def log_space(edges: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The fixed-point iteration of the public reference as it stands there: dense, one query at a time."""
    wins = np.zeros((DOCUMENTS, DOCUMENTS))
    np.add.at(wins, (edges[:, 0], edges[:, 1]), 3 * p)
    np.add.at(wins, (edges[:, 1], edges[:, 0]), 3 * (1 - p))
    wins[np.diag_indices(DOCUMENTS)] = 0.5
    e, before = np.zeros(DOCUMENTS), np.inf
    for t in range(1000):
        behind = expit(e[None] - e[:, None])
        e = e + (np.log((wins * behind).sum(1)) - np.log((wins.T * behind.T).sum(1))) * (1 + t) ** -0.125
        e -= e.mean()
        loss = -(wins * np.log(expit(e[:, None] - e[None]))).sum()
        if abs(loss - before) < 1e-4:
            break
        before = loss
    return e


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
    ours, case = solver(kind, votes), simulated(queries, kind, votes)
    ours.fit(simulated(1, kind, votes))  # so that the loops are compiled
    times: dict[str, list[float]] = {}
    apart: dict[str, float] = {}
    iteration = FixedPoint(
        damping=0.125, diagonal=0.5, tolerance=1e-4, max_steps=1000, ridge=ours.ridge, stderr="two_walk"
    )
    for turn in range(rounds):
        spent, (rating, _, _) = cpu(lambda: newton.minimise(Blocks(case), ours, ours.ridge, TOLERANCE, 50))
        times.setdefault("zelo", []).append(spent / queries)
        spent, _ = cpu(lambda: ours.fit(case))
        times.setdefault("zelo with exact errors, triads, curl", []).append(spent / queries)
        spent, _ = cpu(lambda: replace(ours, stderr="two_walk").fit(case))
        times.setdefault("the same with two-walk errors", []).append(spent / queries)
        if votes:
            spent, _ = cpu(lambda: iteration.fit(case))
            times.setdefault("zelo solver=fixed_point", []).append(spent / queries)
        for name, (peer, count) in peers.items():
            first = turn * count % (queries - count)
            spent, theirs = cpu(lambda peer=peer, first=first, count=count: one_by_one(case, peer, first, count))
            times.setdefault(name, []).append(spent / count)
            own = rating.reshape(queries, DOCUMENTS)[first : first + count]
            apart[name] = max(apart.get(name, 0.0), float(np.abs(np.array(theirs) - own).max()))
    base = median(times["zelo"])
    print(f"\n{title}: {queries} queries, {rounds} rounds")
    for name, spent in times.items():
        note = f"   max difference of ratings {apart[name]:.1e}" if apart.get(name, 1.0) < 0.01 else ""
        each = median(spent)
        print(
            f"  {name:36s} {each * 1e6:9.0f} us per query {each * PAPER:9.0f} s {each / base:8.1f} x{note}", flush=True
        )


def errors(queries: int, rounds: int) -> None:
    """Standard errors of all documents by both ways, in blocks of 256 queries."""
    case, link = simulated(queries, Thurstone), solver(Thurstone)
    blocks = Blocks(case)
    rating, _, _ = newton.minimise(blocks, link, link.ridge, TOLERANCE, 50)
    spent: dict[str, list[float]] = {"exact": [], "two_walk": []}
    near: dict[str, list[np.ndarray]] = {"exact": [], "two_walk": []}
    for turn in range(rounds):
        seconds = dict.fromkeys(spent, 0.0)
        for first in range(0, queries, 256):
            group = np.arange(first, min(first + 256, queries))
            block = blocks.block(group)
            _, curvature = block.derivatives(link, rating[blocks.documents(group)])
            for name, variances in (("exact", covariance.variances), ("two_walk", covariance.two_walk)):
                took, variance = cpu(lambda v=variances, b=block, c=curvature: v(b, c, link.ridge))
                seconds[name] += took
                if turn == 0:
                    near[name].append(variance)
        for name, took in seconds.items():
            spent[name].append(took * PAPER / queries)
    off = 100 * (np.sqrt(np.concatenate(near["two_walk"]) / np.concatenate(near["exact"])) - 1)
    print(f"\nStandard errors of soft labels, {queries} queries, {rounds} rounds, seconds for {PAPER:,} queries")
    print(f"  exact    {median(spent['exact']):6.1f}")
    print(f"  two_walk {median(spent['two_walk']):6.2f}   error in %: mean {off.mean():.2f} sd {off.std():.2f}", end="")
    print(f" worst {off[np.abs(off).argmax()]:.1f}")


def grown(queries: int) -> None:
    """One complete run of this many queries in this process; prints its seconds and peak of memory."""
    edges = np.empty((queries * 4 * DOCUMENTS, 2), np.int32)
    p = np.empty(len(edges), np.float32)
    for first in range(0, queries, 1000):
        part = simulated(min(1000, queries - first), Thurstone, seed=first)
        rows = slice(first * 4 * DOCUMENTS, first * 4 * DOCUMENTS + len(part.edges))
        edges[rows], p[rows] = part.edges + first * DOCUMENTS, part.p
    case = Comparisons(np.full(queries, DOCUMENTS), edges, p, np.broadcast_to(np.float32(1), p.shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    spent, (_, steps, gradient) = cpu(
        lambda: newton.minimise(Blocks(case), solver(Thurstone), ridge(Thurstone), TOLERANCE, 50)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    rows = (edges.nbytes + p.nbytes) / 2**20
    print(
        f"  {queries:8,d} queries {spent:7.2f} s {spent / queries * 1e6:7.1f} us per query, {steps.max()} Newton steps, gradient"
        f" {gradient.max():.1e}; the comparisons {rows:,.0f} MB, peak {peak:,.0f} MB (before the fit {before:,.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2048, help="of the batched fit")
    parser.add_argument("--peers", type=int, default=6, help="queries that each peer fits in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", default=[], help="numbers of queries, a process each")
    parser.add_argument("--grown", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.grown:
        return grown(given.grown)
    own, few = given.peers, 1
    size = {"queries": given.queries, "rounds": given.rounds}
    evalica_peer, scipy_peer = "evalica bradley_terry (no prior)", "scipy L-BFGS-B"
    soft = {scipy_peer: (lbfgs(Thurstone, 0), own), evalica_peer: (evalica_bradley_terry, own)}
    race("Thurstone, soft labels", Thurstone, 0, soft, **size)
    hard = {
        scipy_peer: (lbfgs(Thurstone, 3), own),
        evalica_peer: (evalica_bradley_terry, own),
        "fixed point, one by one": (log_space, few),
    }
    race("Thurstone, three votes", Thurstone, 3, hard, **size)
    soft = {scipy_peer: (lbfgs(BradleyTerry, 0), own), evalica_peer: (evalica_bradley_terry, own)}
    race("Bradley-Terry, soft labels", BradleyTerry, 0, soft, **size)
    hard = {
        scipy_peer: (lbfgs(BradleyTerry, 3), own),
        "choix opt_pairwise": (choix_opt, few),
        "fixed point, one by one": (log_space, few),
    }
    race("Bradley-Terry, three votes", BradleyTerry, 3, hard, **size)
    errors(given.queries, given.rounds)
    if given.growth:
        print("\nGrowth: Thurstone, soft labels, all in memory")
        for queries in given.growth:
            subprocess.run([sys.executable, __file__, "--grown", str(queries)], check=True)


if __name__ == "__main__":
    main()
