"""How sure ratings are: covariances of the Laplace approximation, exact and nearly so, and what soft labels make of them."""

from collections.abc import Iterator

import numpy as np
from scipy.linalg import get_lapack_funcs
from threadpoolctl import threadpool_limits

from zelo.errors import ZeloError
from zelo.likelihood.blocks import Block
from zelo.protocols import ErrorsSolver
from zelo.records import starts

_BELIEF = 0.1  # comparisons that the belief "labels are Bernoulli draws" counts for; decides only where there are few
_WHOLE = 1e-4  # distance from a whole number that the rounding of float32 preferences explains


def has_errors(solver: object) -> bool:
    """Whether the fits of a solver have standard errors: all but those of one with stderr=null."""
    return not (isinstance(solver, ErrorsSolver) and solver.stderr is None)


def covariances(
    sizes: np.ndarray, query: np.ndarray, edges: np.ndarray, curvature: np.ndarray, ridge: float
) -> Iterator[np.ndarray]:
    """[n, n] C (Laplacian + ridge)^-1 C of each query's ratings, C = I - 11'/n; all queries take 8 n^2 bytes at once.

    sizes: [Q] > 0; query: [E] numbers; edges: [E, 2] global document numbers, both ends in that query; curvature: [E] > 0.
    """
    # Inverses this small gain nothing from a second thread and lose many times their time to waking it.
    with threadpool_limits(1, "blas"):
        for factor, constant in _factors(sizes, query, edges, curvature, ridge):
            yield factor @ factor.T - constant


def variances(block: Block, curvature: np.ndarray, ridge: float) -> np.ndarray:
    """[N] the diagonals of `covariances`. curvature: [E]."""
    query = np.repeat(np.arange(len(block.sizes)), block.counts)
    factors = _factors(block.sizes, query, block.edges, curvature, ridge)
    diagonals = [np.einsum("ij,ij->i", factor, factor) - constant for factor, constant in factors]
    return np.maximum(np.concatenate(diagonals), 0.0)


def _factors(
    sizes: np.ndarray, query: np.ndarray, edges: np.ndarray, curvature: np.ndarray, ridge: float
) -> Iterator[tuple[np.ndarray, float]]:
    """(W [n, n], constant) of each query: its covariance is WW' - constant.

    H = Laplacian + ridge I + (tau / n) 11' has the inverse that is wanted but for the constant vector, whose part is known:
    V = H^-1 - 11' / (n (ridge + tau)). With tau the mean diagonal H is well conditioned. W' is the inverse of its Cholesky
    factor.
    """
    first, cells = starts(sizes), starts(np.square(sizes))
    total = np.bincount(edges.ravel(), np.repeat(curvature, 2), first[-1])
    low, high = np.minimum(*edges.T), np.maximum(*edges.T)
    corner = cells[:-1] - first[:-1] * (np.asarray(sizes) + 1)
    dense = -np.bincount(corner[query] + low * sizes[query] + high, curvature, cells[-1])
    lift = 2 * np.bincount(query, curvature, len(sizes)) / np.maximum(sizes, 1)
    factorise, invert = get_lapack_funcs(("potrf", "trtri"), dtype=np.float64)
    for q, (n, tau) in enumerate(zip(sizes.tolist(), lift.tolist(), strict=True)):
        hessian = dense[cells[q] : cells[q + 1]].reshape(n, n)  # upper triangle; LAPACK reads its transpose, the lower
        hessian += tau / n
        hessian.ravel()[:: n + 1] += total[first[q] : first[q + 1]] + ridge
        factor, failed = factorise(hessian.T, lower=1, clean=1, overwrite_a=1)
        inverse, singular = invert(factor, lower=1, overwrite_c=1)
        if failed or singular:
            raise ZeloError(f"the curvature of a fit is singular at ridge {ridge}; raise solver.ridge")
        yield inverse.T, 1 / (n * (ridge + tau))


def two_walk(block: Block, curvature: np.ndarray, ridge: float) -> np.ndarray:
    """[N] variances from the walks of two steps: V_ii = (1 - 1 / n) / (d_i (1 - s_i)), s_i = sum_j c_ij^2 / (d_i d_j).

    d_i = ridge + sum_j c_ij, c_ij the curvatures of a pair added up. The series of the inverse, (1 / d_i) sum_k P_ii^k over
    the returns to i of the walk with steps c_ij / d_i, is cut to those made of returns after two steps. For graphs in which
    few walks return otherwise; the factor 1 - 1 / n is what centring takes away. Error of the standard deviation against
    `variances`, mean / sd / worst in %, 100 documents: four random cycles of soft labels -0.1 / 0.5 / -6, of three votes at
    ridge 1 0.0 / 0.5 / -4; two cycles -5 / 2 / -23 and -3 / 1 / -13; one cycle of votes -6 / 3 / -14, of soft labels at
    ridge 0.001 useless (-55). 30 documents, four cycles: 3 / 1 / 6.
    """
    adjacency = block.adjacency(curvature)
    diagonal = adjacency @ np.ones(len(block.degree)) + ridge
    adjacency.data *= adjacency.data
    return (1 - 1 / np.repeat(block.sizes, block.sizes)) / (diagonal - adjacency @ (1 / diagonal))


def dispersion(
    block: Block, slope: np.ndarray, information: np.ndarray, variance: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([B] `overdispersion` of each query, [B] whether its comparisons are counted votes, [B] freedom).

    freedom: E - k comparisons, k = n - 1 - ridge sum V_ii the parameters that the data decide. Votes have the dispersion 1 by
    construction, and would be underestimated (0.8 to 0.9) from so few draws a parameter.
    """
    freedom = np.maximum(block.counts - (block.sizes - 1 - ridge * block.sum(variance)), 0.0)
    phi = overdispersion(block.counts, block.sum_edges(slope**2), block.sum_edges(information), freedom)
    return phi, np.logical_and.reduceat(counted(block.p, block.weight), block.first_edge), freedom


def overdispersion(count: np.ndarray, squares: np.ndarray, information: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """How much answers vary around a fit, 1 for Bernoulli draws: phi = (E / freedom) sum u^2 / sum I, elementwise.

    u the slopes of E comparisons' losses, I their information (quasi-likelihood: Wedderburn 1974). This is Pearson's statistic
    with each comparison weighted by its information: the plain one is decided by the few labels far in the tails.
    """
    return (count * squares / np.maximum(information, np.finfo(float).tiny) + _BELIEF) / (freedom + _BELIEF)


def counted(p: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[E] whether a comparison is a count of votes: its weight, and the part of it that prefers the first, are whole."""
    wins = weight * p
    return np.maximum(np.abs(wins - np.rint(wins)), np.abs(weight - np.rint(weight))) < _WHOLE
