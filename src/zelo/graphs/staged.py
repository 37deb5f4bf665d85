"""Ever shorter lists of the best so far, each compared along a few random round trips of its own."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.errors import BadInput
from zelo.graphs.degrees import budget
from zelo.graphs.groups import all_pairs, gather, some
from zelo.graphs.round_trips import exchange, first_cycles, shuffled, steps, take
from zelo.graphs.rounds import Round, check_stop, rounds
from zelo.likelihood.randomness import mix, random, uniform
from zelo.protocols import Solver
from zelo.records import Fit

_STAGES = 1 << 16  # streams, one for each stage, that the first cycles do not draw from


@dataclass(frozen=True, kw_only=True)
class Staged:
    """`cycles` random cycles over all candidates, then for each (m, c) of `stages` c cycles over the m that lead so far.

    No pair comes twice: where the leaders have no such cycle left, it is filled up with other pairs that they have not met in,
    and then with the next documents' pairs. So a query of n candidates has exactly cycles * n + c_1 * min(m_1, n) + ... pairs
    after each stage, until it has them all. A ranking's top gets most of the comparisons, and its tail few: for nDCG@10 this
    takes less than half the pairs of `cycles`; ratings of the tail are worse than theirs. With `stop_at` a query is done as
    soon as its expected loss in nDCG@10 is no more than that.
    """

    # true over expected loss in nDCG@10, three hard votes simulated, expected loss 0.004 to 0.02; soft labels 0.8
    OPTIMISM: ClassVar[float] = 1.25

    cycles: int
    stages: list[list[int]]
    solver: Solver  # rates the pairs so far, between rounds
    stop_at: float | None  # expected loss in nDCG@10; None: go on to the last stage

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise BadInput(f"graph=staged: cycles={self.cycles} must be at least 1, or candidates are not connected")
        for stage in self.stages:
            if len(stage) != 2 or stage[0] < 3 or stage[1] < 1:
                raise BadInput(
                    f"graph=staged: {list(stage)} in stages must be two numbers: of leading documents, at least 3, and of "
                    "cycles on them, at least 1; try graph.stages=[[40,1],[20,2],[12,2]]"
                )
        check_stop("staged", self.stop_at, self.solver)

    def propose(self, sizes: np.ndarray, seeds: np.ndarray, fit: Fit | None) -> np.ndarray | None:
        """[E, 2] int64 global document numbers, query by query; None once no query wants more.

        sizes: [Q] candidates; seeds: [Q] uint64; fit: of all pairs so far. A query's pairs depend on its own part of these,
        its stage on how many there are: some that are missing are made up for before the next stage.
        """
        if fit is None:
            return first_cycles(sizes, seeds, self.cycles)
        parts = []
        for group in rounds(
            sizes, seeds, fit, self.most(sizes), self.stop_at, optimism=self.OPTIMISM, covariance=False
        ):
            goals = self._goals(np.array([group.n]))[0]
            stage = np.searchsorted(goals, group.pairs, side="right")
            for number in np.unique(stage).tolist():
                documents, count = ([group.n, self.cycles], *self.stages)[number]
                part = group.only(stage == number)
                parts.append(_stage(part, min(documents, group.n), count, int(goals[number]), number))
        return gather(sizes, parts) if parts else None

    def most(self, sizes: np.ndarray) -> np.ndarray:
        """[Q] pairs."""
        return self._goals(np.asarray(sizes, np.int64))[:, -1]

    def _goals(self, sizes: np.ndarray) -> np.ndarray:
        """[Q, 1 + S] pairs after each stage."""
        added = [budget(sizes, 2 * self.cycles)] + [count * np.minimum(m, sizes) for m, count in self.stages]
        return np.minimum(np.cumsum(np.stack(added, 1), 1), (sizes * (sizes - 1) // 2)[:, None])


def _stage(group: Round, leaders: int, count: int, goal: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of the pairs that bring each query of the group to `goal` pairs: cycles on the leaders, then what is missing."""
    wide = leaders  # so many documents have `goal` pairs among them: enough, whichever of these are judged
    while wide * (wide - 1) // 2 < goal:
        wide += 1
    rows = np.arange(len(group.queries))
    top = np.argsort(-group.rating, axis=1, kind="stable")[:, :wide]
    judged = group.judged[rows[:, None, None], top[:, :, None], top[:, None, :]]
    state = random(mix(group.seeds), _STAGES + number, np.zeros(1))[:, 0]
    left = goal - group.pairs
    parts = []
    for c in range(count):
        order = shuffled(state, c, leaders)
        exchange(order, judged, rows, state, count + c)
        pairs = steps(order)
        fresh = ~judged[rows[:, None], pairs[:, :, 0], pairs[:, :, 1]]
        fresh &= np.cumsum(fresh, 1) <= left[:, None]
        left = left - fresh.sum(1)
        take(order, judged, rows)
        parts.append(_named(group, top, pairs, fresh))
    short = np.flatnonzero(left)
    if len(short):
        pairs = all_pairs(wide)
        outer = np.maximum(pairs[:, 1], leaders - 1)  # a pair of leaders is as good as any other
        key = outer + uniform(random(state[short], 2 * count, np.arange(len(pairs))))
        key[judged[short][:, pairs[:, 0], pairs[:, 1]]] = np.inf
        order = np.argsort(key, axis=1, kind="stable")
        which = np.arange(len(pairs)) < left[short, None]
        parts.append(_named(group, top, pairs[order], which, short))
    return np.concatenate([query for query, _ in parts]), np.concatenate([pairs for _, pairs in parts])


def _named(
    group: Round, top: np.ndarray, pairs: np.ndarray, which: np.ndarray, rows: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """A part of the chosen pairs [B', P, 2] of leaders, in the numbers of the query's documents."""
    documents = np.take_along_axis(top[rows], pairs.reshape(len(pairs), -1), 1).reshape(pairs.shape)
    return some(group.queries[rows], documents, which)
