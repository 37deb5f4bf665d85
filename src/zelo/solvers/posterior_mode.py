"""What the solvers that maximise a posterior share: their settings, and the fit of all queries with its diagnosis."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from zelo.errors import BadInput, OfQueries
from zelo.likelihood.blocks import Blocks, Judges
from zelo.likelihood.links import Link
from zelo.likelihood.newton import minimise
from zelo.records import Comparisons, Fit
from zelo.solvers.diagnosis import diagnosed, predicted

_LEAST_TOLERANCE = 1e-12
_NAMED = 5  # queries that a message names

Stderr = Literal["laplace", "two_walk"]


def check_settings(
    solver: str,
    *,
    ridge: float,
    tolerance: float,
    max_steps: int,
    stderr: str,
    lapse: float = 0.0,
    held_out: float = 0.0,
) -> None:
    """Raises BadInput if a setting of the fit cannot be used."""
    if not 0 < ridge < np.inf:
        raise BadInput(
            f"solver={solver}: ridge={ridge} must be positive: without a prior, documents that win all have no rating; try 0.001"
        )
    if not 0 < tolerance < np.inf:
        raise BadInput(f"solver={solver}: tolerance={tolerance} must be a positive gradient; try 1e-6")
    if tolerance < _LEAST_TOLERANCE:
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
    link: Link,
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
    without, to say how well it predicts them; the ratings are those of all pairs. Raises BadInput naming unusable rows, or
    the queries that did not converge.
    """
    blocks = Blocks(comparisons, lapse=lapse, judges=judges)

    def converged(part: Blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rating, steps, gradient = minimise(part, link, ridge, tolerance, max_steps)
        bad = np.flatnonzero(~(gradient <= tolerance))
        if len(bad):
            raise OfQueries(
                f"the ratings of {len(bad):,} of {len(gradient):,} queries did not converge (query numbers {named(bad)}):"
                f" gradient {gradient[bad].max():.1e} after {steps[bad].max()} Newton steps, wanted {tolerance:.1e}; "
                "raise solver.max_steps, solver.tolerance or solver.ridge",
                bad[:_NAMED].tolist(),
            )
        return rating, steps, gradient

    fitted = diagnosed(blocks, *converged(blocks), link, ridge, stderr)
    if not held_out:
        return fitted
    loss, figures = predicted(blocks, converged(blocks.hiding(held_out))[0], link, held_out)
    return replace(fitted, diagnosis=fitted.diagnosis | figures, queries=fitted.queries | {"held_out_log_loss": loss})


def named(queries: np.ndarray) -> str:
    """The first of these query numbers, for a message."""
    return ", ".join(map(str, queries[:_NAMED])) + (" ..." if len(queries) > _NAMED else "")
