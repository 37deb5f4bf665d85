"""Ratings that minimise a penalised preference loss, for many queries at once: Newton steps by conjugate gradient.

Per query: minimise L(e) = -sum_k w_k [p_k log F(D_k) + (1 - p_k) log F(-D_k)] + (ridge / 2) sum_i e_i^2, with D_k = e_i - e_j
and a link F; this is the mode of the posterior under a Gaussian prior of precision `ridge`. L is strictly convex, its
Hessian is a weighted graph Laplacian plus ridge on the diagonal. Truncated Newton: Dembo, Eisenstat and Steihaug,
"Inexact Newton methods" (1982).

What happens to a query depends on its own comparisons only, to the last bit: each has its own step lengths and its own
end, and what is left of a block is finished in pools by the same rules.
"""

from typing import Literal, get_args

import numpy as np

from zelo.errors import BadInput, OfQueries
from zelo.likelihood.blocks import Block, Blocks, Judges
from zelo.likelihood.conjugate_gradient import solve
from zelo.likelihood.describe import describe, foretell
from zelo.likelihood.links import LinkFunctions
from zelo.records import Comparisons, Fit

EDGES_PER_BLOCK = 1 << 17  # some 330 queries of 400 comparisons; half and twice as many take 5 to 10 % longer
_EDGES_AT_ONCE = 1 << 14  # of the link: what stays in the second-level cache
_LEFT_OVER = 0.05  # share of a block's queries that is left to a pool
_EARLY_STEPS, _EARLY_CAP = 6, 40  # Newton steps with at most so many conjugate-gradient steps; later ones may be long
_CUTS = 30  # of one Newton step; a convex loss needs none or few

LEAST_TOLERANCE = 1e-12

Stderr = Literal["laplace", "two_walk"]


def check_settings(
    solver: str, *, ridge: float, tolerance: float, max_steps: int, stderr: str, lapse: float, held_out: float
) -> None:
    """Raises BadInput if a setting of the fit cannot be used."""
    if not 0 < ridge < np.inf:
        raise BadInput(
            f"solver={solver}: ridge={ridge} must be positive: without a prior, documents that win all have no rating; try 0.001"
        )
    if not 0 < tolerance < np.inf:
        raise BadInput(f"solver={solver}: tolerance={tolerance} must be a positive gradient; try 1e-6")
    if tolerance < LEAST_TOLERANCE:
        raise BadInput(f"solver={solver}: tolerance={tolerance} is below what float64 can reach; try 1e-9")
    if max_steps < 1:
        raise BadInput(f"solver={solver}: max_steps={max_steps} must be at least 1; try 50")
    if stderr not in get_args(Stderr):
        raise BadInput(f"solver={solver}: stderr={stderr} must be one of {', '.join(get_args(Stderr))}")
    for name, value in (("lapse", lapse), ("held_out", held_out)):
        if not 0 <= value < 1:
            raise BadInput(f"solver={solver}: {name}={value} must be a share in [0, 1); 0 turns it off")


def fit(
    comparisons: Comparisons,
    link: LinkFunctions,
    *,
    ridge: float,
    tolerance: float,
    max_steps: int,
    stderr: Stderr,
    lapse: float,
    held_out: float,
    judges: Judges | None = None,
) -> Fit:
    """Posterior mode of every query's ratings, mean 0 per query, with standard errors and a diagnosis.

    tolerance: largest absolute gradient at which a query is done. max_steps: Newton steps per query. A query without
    comparisons has ratings 0 and the prior's standard deviation. held_out: share of the pairs that a second fit goes
    without, to say how well it foretells them; the ratings are those of all pairs. Raises BadInput naming unusable rows, or
    the queries that did not converge.
    """
    blocks = Blocks(comparisons, lapse=lapse, judges=judges)

    def converged(part: Blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rating, steps, gradient = minimise(part, link, ridge, tolerance, max_steps)
        _refuse_unfinished(gradient, steps, tolerance)
        return rating, steps, gradient

    rating, steps, gradient = converged(blocks)
    described = describe(blocks, rating, link, ridge, stderr)
    queries, foretold = described.queries | {"steps": steps, "gradient": gradient}, {}
    if held_out:
        queries["held_out_log_loss"], foretold = foretell(blocks, converged(blocks.hiding(held_out))[0], link, held_out)
    diagnosis = {
        "queries": len(blocks.sizes),
        "comparisons": len(comparisons.edges),
        "newton_steps": int(steps.max(initial=0)),
        "gradient_norm": float(gradient.max(initial=0.0)),
        **described.figures,
        **foretold,
    }
    return Fit(
        rating=rating,
        stderr=described.stderr,
        link=link.link,
        sizes=blocks.sizes,
        edges=comparisons.edges,
        curvature=described.curvature,
        ridge=ridge,
        diagnosis=diagnosis,
        queries=queries,
    )


def _refuse_unfinished(gradient: np.ndarray, steps: np.ndarray, tolerance: float) -> None:
    bad = np.flatnonzero(~(gradient <= tolerance))
    if len(bad):
        names = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
        raise OfQueries(
            f"the ratings of {len(bad):,} of {len(gradient):,} queries did not converge (query numbers {names}): gradient "
            f"{gradient[bad].max():.1e} after {steps[bad].max()} Newton steps, wanted {tolerance:.1e}; "
            "raise solver.max_steps, solver.tolerance or solver.ridge",
            bad[:5].tolist(),
        )


def minimise(
    blocks: Blocks, link: LinkFunctions, ridge: float, tolerance: float, max_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rating [N], Newton steps [Q], largest absolute gradient [Q])."""
    rating = np.zeros(blocks.starts[-1])
    steps = np.zeros(len(blocks.sizes), np.int64)
    gradient = np.zeros(len(blocks.sizes))

    def advance(queries: np.ndarray, fresh: bool) -> np.ndarray:
        """Works on one block until few of its queries are left; returns these."""
        block, docs = blocks.block(queries), blocks.documents(queries)
        e = _start(block, link, ridge) if fresh else rating[docs]
        e, taken, worst = _newton(block, e, steps[queries], link, ridge, tolerance, max_steps)
        rating[docs], steps[queries], gradient[queries] = e, taken, worst
        return queries[~(worst <= tolerance) & (taken < max_steps)]

    pool = np.empty(0, np.int64)
    for queries in blocks.cut(blocks.compared, blocks.counts, EDGES_PER_BLOCK):
        pool = np.concatenate([pool, advance(queries, fresh=True)])
        if blocks.counts[pool].sum() > EDGES_PER_BLOCK:
            pool = advance(pool, fresh=False)
    while len(pool):
        pool = advance(pool, fresh=False)
    compared = np.flatnonzero(blocks.sizes)
    if len(compared):
        means = np.add.reduceat(rating, blocks.starts[compared]) / blocks.sizes[compared]
        rating -= np.repeat(means, blocks.sizes[compared])
    return rating, steps, gradient


def _newton(
    block: Block,
    e: np.ndarray,
    steps: np.ndarray,
    link: LinkFunctions,
    ridge: float,
    tolerance: float,
    max_steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton steps from `e` [N] until at most _LEFT_OVER of the queries go on; returns (e, steps [B], worst gradient [B])."""
    gradient, curvature = _gradient(block, e, link, ridge)
    worst = block.worst(gradient)
    while True:
        active = ~(worst <= tolerance) & (steps < max_steps)
        if active.sum() <= _LEFT_OVER * len(active):
            return e, steps, worst
        right = np.where(block.spread(active), -gradient, 0.0)
        # Eisenstat and Walker (1996): no more accuracy than this step can use, none that the last step does not need.
        eta = np.clip(worst, 0.3 * tolerance / np.maximum(worst, tolerance), 0.1)
        cap = np.where(steps < _EARLY_STEPS, _EARLY_CAP, np.maximum(200, 4 * block.sizes))
        x = solve(block, curvature, ridge, right, eta, cap)
        e, gradient, curvature = _safe_step(block, e, gradient, x, link, ridge)
        worst = block.worst(gradient)
        steps = steps + active


def _gradient(block: Block, e: np.ndarray, link: LinkFunctions, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """(gradient [N], curvature of each comparison [E]) at the ratings `e` [N]."""
    difference = block.asked(block.down @ e)
    slope, curvature = np.empty_like(difference), np.empty_like(difference)
    for begin in range(0, len(difference), _EDGES_AT_ONCE):
        part = slice(begin, begin + _EDGES_AT_ONCE)
        first, second = link.derivatives(difference[part], block.p[part])
        np.multiply(first, block.weight[part], out=slope[part])
        np.multiply(second, block.weight[part], out=curvature[part])
    if block.gain is not None:
        slope *= block.gain
        curvature *= block.gain**2
    return block.up @ slope + ridge * e, curvature


def _start(block: Block, link: LinkFunctions, ridge: float) -> np.ndarray:
    """[N] ratings from one weighted least-squares step on the links' inverse; saves about two Newton steps."""
    weight, flow = block.flow(link.start)
    eta, cap = np.full(len(block.sizes), 0.1), np.full(len(block.sizes), _EARLY_CAP)
    return solve(block, weight, ridge, block.up @ (weight * flow), eta, cap)


def _safe_step(
    block: Block, e: np.ndarray, gradient: np.ndarray, x: np.ndarray, link: LinkFunctions, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(e, gradient, curvature) after the step `x` [N], cut per query until the slope along it is no steep ascent.

    The loss itself is not needed: it is convex, so a slope at the end that is not positive proves descent.
    """
    before = block.sum(gradient * x)
    cuts = 0
    while True:
        moved = e + x
        gradient, curvature = _gradient(block, moved, link, ridge)
        after = block.sum(gradient * x)
        ascent = after > 0.5 * np.abs(before)
        if cuts == _CUTS or not ascent.any():
            return moved, gradient, curvature
        shorter = np.divide(before, before - after, out=np.ones_like(before), where=ascent)
        factor = np.where(ascent, np.clip(shorter, 0.1, 0.7), 1.0)
        x, before = x * block.spread(factor), before * factor
        cuts += 1
