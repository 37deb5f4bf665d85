"""How much a target counts by how well its rating is known."""

import numpy as np

from zelo.errors import BadInput


def check_var0(selection: str, var0: float | None) -> None:
    """Raises BadInput if it is no variance."""
    if var0 is not None and not 0 < var0 < np.inf:
        raise BadInput(f"selection={selection}: var0={var0} must be positive, or null to count all alike; try 0.01")


def certainty(stderr: np.ndarray, var0: float | None) -> np.ndarray:
    """[N] weight var0 / (stderr^2 + var0) in (0, 1], 1 for a rating without error; 1 for all if var0 is None.

    var0, in squared units of the ratings, is the variance at which a target counts half: what regression on it leaves
    unexplained anyway. Raises BadInput naming the first standard error that is not finite or is negative.
    """
    if var0 is None:
        return np.ones(len(stderr))
    bad = ~(np.isfinite(stderr) & (stderr >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise BadInput(
            f"standard error number {row} is {stderr[row]}; rate with solver.stderr=laplace, or set target.selection.var0=null"
        )
    return var0 / (stderr**2 + var0)
