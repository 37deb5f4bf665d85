"""The fixed-point iteration of the public reference implementation, for comparison."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.errors import BadInput, OfQueries, first_few
from zelo.likelihood.blocks import Block, Blocks
from zelo.likelihood.links import Logit
from zelo.likelihood.newton import EDGES_PER_BLOCK
from zelo.records import Comparisons, Fit
from zelo.solvers.diagnosis import centred, diagnosed
from zelo.solvers.posterior_mode import Iterative


@dataclass(frozen=True, kw_only=True)
class FixedPoint(Logit, Iterative):
    """Bradley-Terry ratings by e_i <- e_i + (log won_i - log lost_i) (1 + t)^-damping, from 0, all documents at once.

    won_i = sum_j w_ij S_ij and lost_i = sum_j w_ji S_ji with S_ij = 1 / (1 + exp(e_i - e_j)), w_ij = weight times P(i preferred
    to j) and w_ii = `diagonal`, which shortens the steps and is no prior: what won all comparisons has no finite rating, and
    is where it is because the iteration stopped. It stops when the loss of a query, the sum of -w_ij log P_ij, changes by
    less than `tolerance`, which is some way from the optimum (github zeroentropy-ai/zbench, 2025). A query that does not stop
    within `max_steps` is refused, where the reference prints a line and goes on. In a query of several parts each part has
    the mean 0.

    `tolerance` is in nats. Standard errors are those of Laplace at the result, as if there were a prior of precision `ridge`.
    """

    NAME: ClassVar[str] = "fixed_point"

    damping: float  # exponent of the step length
    diagonal: float  # weight of a document against itself

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("damping", self.damping), ("diagonal", self.diagonal)):
            if not 0 <= value < np.inf:
                raise BadInput(f"solver=fixed_point: {name}={value} must not be negative")
        if self.diagonal == 0:
            raise BadInput(
                "solver=fixed_point: diagonal=0: a document that lost all would have rating minus infinity; try 0.5"
            )

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each. Raises BadInput naming unusable rows or unfinished queries."""
        blocks = Blocks(comparisons)
        rating = np.zeros(blocks.starts[-1])
        steps, gradient = np.zeros(len(blocks.sizes), np.int64), np.zeros(len(blocks.sizes))
        for queries in blocks.cut(blocks.compared, blocks.counts, EDGES_PER_BLOCK):
            self._iterate(blocks, queries, rating, steps, gradient)
        return diagnosed(blocks, rating, steps, gradient, self, self.ridge, self.stderr)

    def _iterate(
        self, blocks: Blocks, queries: np.ndarray, rating: np.ndarray, steps: np.ndarray, gradient: np.ndarray
    ) -> None:
        """Fills in the results of these queries; when half of them have stopped, the others go on in a smaller block."""
        t, e, before = 0, np.zeros(blocks.sizes[queries].sum()), np.full(len(queries), np.inf)
        while len(queries):
            block = blocks.block(queries)
            active = np.ones(len(queries), bool)
            while 2 * active.sum() >= len(queries):
                if t == self.max_steps:
                    late = queries[active]
                    raise OfQueries(
                        f"solver=fixed_point: {len(late):,} queries (numbers {first_few(late)}) have not stopped after {t} "
                        "steps; raise solver.max_steps or solver.tolerance",
                        late,
                    )
                e = np.where(block.spread(active), self._step(block, e, t), e)
                t += 1
                loss = block.sum_edges(block.losses(self, e))  # but for the constant that the diagonal adds
                stopped = active & (np.abs(loss - before) < self.tolerance)
                before = loss
                steps[queries[stopped]] = t
                active &= ~stopped
                if not active.any():
                    break
            docs, done = blocks.documents(queries), ~active
            rating[docs] = centred(block, e)
            gradient[queries[done]] = block.worst(block.gradient(block.derivatives(self, e)[0]))[done]
            queries, before, e = queries[active], before[active], e[block.spread(active)]

    def _step(self, block: Block, e: np.ndarray, t: int) -> np.ndarray:
        """[N] the ratings after `e` [N]."""
        first, second = block.edges.T
        ahead = self(block.difference(e))
        n = len(e)
        for_first, for_second = block.weight * block.p, block.weight * (1 - block.p)
        won_first, won_second = for_first * (1 - ahead), for_second * ahead
        own = self.diagonal / 2
        won = np.bincount(first, won_first, n) + np.bincount(second, won_second, n) + own
        lost = np.bincount(second, won_first, n) + np.bincount(first, won_second, n) + own
        moved = e + (np.log(won) - np.log(lost)) * (1 + t) ** -self.damping
        return moved - block.spread(block.sum(moved) / block.sizes)
