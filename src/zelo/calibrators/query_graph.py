"""Offsets of queries from comparisons across queries: the mode of their posterior, on the graph of queries.

Comparison k of document i of query q with document j of query r has D_k = slope (e_i - e_j) + c_q - c_r with known ratings
e, its handicap. Minimised over c, and over the slope s where it is not known:
-sum_k w_k [p_k log F(D_k) + (1 - p_k) log F(-D_k)] + (ridge / 2) sum_q c_q^2 + (s - 1)^2 / 2.
"""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.likelihood.blocks import Block
from zelo.likelihood.covariance import dispersion, two_walk
from zelo.likelihood.links import LinkFunction
from zelo.likelihood.newton import newton, start
from zelo.records import Scale

_TOLERANCE = 1e-5  # largest absolute gradient; offsets are then right to some 1e-5 where their errors are above 1e-2
_STEPS = 100  # of Newton; 5 to 10 are usual


@dataclass(frozen=True)
class QueryGraph:
    """E comparisons between Q queries."""

    queries: int
    ends: np.ndarray  # [E, 2] query numbers
    handicap: np.ndarray  # [E]
    p: np.ndarray  # [E]
    weight: np.ndarray  # [E]

    def block(self, slope: float) -> Block:
        """The queries as the documents of one block."""
        block = Block(np.array([self.queries]), self.ends, np.array([len(self.p)]), self.p, self.weight)
        block.shift = slope * self.handicap
        return block


def fit(graph: QueryGraph, link: LinkFunction, ridge: float, slope: float | None) -> Scale:
    """The offsets, and their standard errors, at the given slope, or with the slope that fits best if it is None.

    Raises BadInput if a slope that is fitted comes out negative, or if the fit does not converge.
    """
    block = graph.block(1.0 if slope is None else slope)
    if slope is None:
        block.covariate = (
            np.sqrt(ridge) * graph.handicap
        )  # its coefficient has the prior of an offset, s that of N(1, 1)
    found, taken, gradient = newton(block, start(block, link, ridge), np.zeros(1), link, ridge, _TOLERANCE, _STEPS)
    steps, worst = int(taken[0]), float(gradient[0])
    if not worst <= _TOLERANCE:
        raise BadInput(
            f"calibrator=offset: the offsets did not converge: gradient {worst:.1e} after {_STEPS} steps; "
            f"raise calibrator.ridge={ridge}"
        )
    offset = found[: graph.queries]
    fitted = float(1 + np.sqrt(ridge) * found[-1]) if slope is None else slope
    if fitted <= 0:
        raise BadInput(
            f"calibrator=offset: the answers across queries go against the ratings within them (slope {fitted:.3g}); "
            "use a judge that knows the cross-query prompt, or calibrator=none"
        )
    block = graph.block(fitted)
    stderr, phi = _errors(block, offset, link, ridge)
    figures = {
        "queries": graph.queries,
        "offset_sd": float(offset.std() / fitted),
        "comparisons": len(graph.p),
        "newton_steps": steps,
        "gradient_norm": worst,
        "slope": fitted,
        "log_loss": _log_loss(block, offset, link),
        "log_loss_without": _log_loss(block, np.zeros(graph.queries), link),  # of the same answers, every offset 0
        "dispersion": phi,
    }
    return Scale(offset / fitted, np.ones(graph.queries), stderr / fitted, figures)


def _log_loss(block: Block, offset: np.ndarray, link: LinkFunction) -> float:
    """Nats per comparison of weight 1."""
    return float(block.losses(link, offset).sum() / block.weight.sum())


def _errors(block: Block, offset: np.ndarray, link: LinkFunction, ridge: float) -> tuple[np.ndarray, float]:
    """([Q] standard errors of c, dispersion), the slope taken as known.

    Two-walk variances of the expected information, within some percent on a union of random cycles. The dispersion is at
    least 1 for counted votes: so few draws per offset underestimate it.
    """
    information = block.information(link, offset)
    variance = two_walk(block, information, ridge)
    slope, _ = block.derivatives(link, offset)
    (phi,), (votes,), _ = dispersion(block, slope, information, variance, ridge)
    phi = max(float(phi), 1.0) if votes else float(phi)
    return np.sqrt(phi * variance), phi
