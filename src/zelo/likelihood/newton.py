"""Posterior modes of many queries at once, by truncated Newton steps with a conjugate gradient inside.

Per query: minimise L(e) = sum_k w_k [-p_k log F(D_k) - (1 - p_k) log F(-D_k)] + (ridge / 2) sum_i e_i^2 with a link F and the
differences D of a `Block`: the prior is Gaussian, of precision `ridge`. L is strictly convex, its Hessian a weighted graph
Laplacian plus ridge on the diagonal (Dembo, Eisenstat and Steihaug, "Inexact Newton methods", 1982).

What happens to a query depends on its own comparisons only, to the last bit: each has its own step lengths and its own
end, and what is left of a block is finished in pools by the same rules.
"""

import numpy as np

from zelo.likelihood.blocks import Block, Blocks
from zelo.likelihood.links import LinkFunction

EDGES_PER_BLOCK = 1 << 16  # some 160 queries of 400 comparisons; a quarter and twice as many take 5 % longer
_LEFT_OVER = 0.05  # share of a block's queries that is left to a pool
_EARLY_STEPS, _EARLY_CAP = 6, 40  # Newton steps with at most so many conjugate-gradient steps; later ones may be long
_CUTS = 30  # of one Newton step; a convex loss needs none or few


def minimise(
    blocks: Blocks, link: LinkFunction, ridge: float, tolerance: float, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rating [N], mean 0 per query, Newton steps [Q], largest absolute gradient [Q]).

    tolerance: largest absolute gradient at which a query is done; one that isn't after max_steps is left as it is.
    """
    rating = np.zeros(blocks.starts[-1])
    steps = np.zeros(len(blocks.sizes), np.int64)
    gradient = np.zeros(len(blocks.sizes))

    def advance(queries: np.ndarray, fresh: bool) -> np.ndarray:
        """Works on one block until few of its queries are left; returns these."""
        block, docs = blocks.block(queries), blocks.documents(queries)
        e = start(block, link, ridge) if fresh else rating[docs]
        e, taken, worst = newton(block, e, steps[queries], link, ridge, tolerance, max_steps)
        rating[docs], steps[queries], gradient[queries] = e, taken, worst
        return queries[~(worst <= tolerance) & (taken < max_steps)]

    pool = np.empty(0, np.int64)
    for queries in blocks.cut(blocks.compared, blocks.counts, EDGES_PER_BLOCK):
        pool = np.concatenate([pool, advance(queries, fresh=True)])
        if blocks.counts[pool].sum() > EDGES_PER_BLOCK:
            pool = advance(pool, fresh=False)
    while len(pool):
        pool = advance(pool, fresh=False)
    filled = np.flatnonzero(blocks.sizes)
    if len(filled):
        means = np.add.reduceat(rating, blocks.starts[filled]) / blocks.sizes[filled]
        rating -= np.repeat(means, blocks.sizes[filled])
    return rating, steps, gradient


def start(block: Block, link: LinkFunction, ridge: float) -> np.ndarray:
    """Unknowns from one weighted least-squares step on the link's inverse; saves about two Newton steps."""
    weight, flow = block.flow(link)
    eta, cap = np.full(len(block.sizes), 0.1), np.full(len(block.sizes), _EARLY_CAP)
    return block.solve(weight, ridge, block.gradient(weight * flow), eta, cap)


def newton(
    block: Block, e: np.ndarray, steps: np.ndarray, link: LinkFunction, ridge: float, tolerance: float, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton steps from `e` until at most _LEFT_OVER of the queries go on; (e, steps [B], largest absolute gradient [B])."""
    gradient, curvature = _derivatives(block, e, link, ridge)
    worst = block.worst(gradient)
    while True:
        active = ~(worst <= tolerance) & (steps < max_steps)
        if active.sum() <= _LEFT_OVER * len(active):
            return e, steps, worst
        right = np.where(block.spread(active), -gradient, 0.0)
        # Eisenstat and Walker (1996): no more accuracy than this step can use, none that the last step does not need.
        eta = np.clip(worst, 0.3 * tolerance / np.maximum(worst, tolerance), 0.1)
        cap = np.where(steps < _EARLY_STEPS, _EARLY_CAP, np.maximum(200, 4 * block.sizes))
        x = block.solve(curvature, ridge, right, eta, cap)
        e, gradient, curvature = _safe_step(block, e, gradient, x, link, ridge)
        worst = block.worst(gradient)
        steps = steps + active


def _derivatives(block: Block, e: np.ndarray, link: LinkFunction, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """(gradient of L, curvature of each comparison [E]) at `e`."""
    slope, curvature = block.derivatives(link, e)
    return block.gradient(slope) + ridge * e, curvature


def _safe_step(
    block: Block, e: np.ndarray, gradient: np.ndarray, x: np.ndarray, link: LinkFunction, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(e, gradient, curvature) after the step `x`, cut per query until the slope along it is no steep ascent.

    The loss itself is not needed: it is convex, so a slope at the end that is not positive proves descent.
    """
    before = block.sum(gradient * x)
    cuts = 0
    while True:
        moved = e + x
        gradient, curvature = _derivatives(block, moved, link, ridge)
        after = block.sum(gradient * x)
        ascent = after > 0.5 * np.abs(before)
        if cuts == _CUTS or not ascent.any():
            return moved, gradient, curvature
        shorter = np.divide(before, before - after, out=np.ones_like(before), where=ascent)
        factor = np.where(ascent, np.clip(shorter, 0.1, 0.7), 1.0)
        x, before = x * block.spread(factor), before * factor
        cuts += 1
