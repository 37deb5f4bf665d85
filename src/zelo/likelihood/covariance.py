"""How sure ratings are: variances of the Laplace approximation, exact and nearly so, and what soft labels make of them."""

import numpy as np
from scipy.linalg import get_lapack_funcs

from zelo.errors import ZeloError
from zelo.likelihood.blocks import Block

_BELIEF = 0.1  # comparisons that the belief "labels are Bernoulli draws" counts for; decides only where there are few
_WHOLE = 1e-4  # distance from a whole number that the rounding of float32 preferences explains


def exact(block: Block, curvature: np.ndarray, ridge: float) -> np.ndarray:
    """[N] diagonal of C (Laplacian + ridge)^-1 C, exactly. curvature: [E]; memory 8 n^2 bytes per query.

    H = Laplacian + ridge I + (tau / n) 11' has the same inverse but for the constant vector, whose part is then known:
    V_ii = (H^-1)_ii - 1 / (n (ridge + tau)). With tau the mean diagonal H is well conditioned.
    """
    total = np.bincount(block.edges.ravel(), np.repeat(curvature, 2), len(block.degree))
    tau = block.sum(total) / block.sizes
    cells = np.concatenate([[0], np.cumsum(block.sizes**2)])
    local = block.edges - np.repeat(block.first, block.counts)[:, None]
    low, high = np.minimum(local[:, 0], local[:, 1]), np.maximum(local[:, 0], local[:, 1])
    index = np.repeat(cells[:-1], block.counts) + low * np.repeat(block.sizes, block.counts) + high
    dense = -np.bincount(index, curvature, cells[-1])
    variance = np.empty(len(total))
    factorise, invert = get_lapack_funcs(("potrf", "trtri"), dtype=np.float64)
    for q, (n, first) in enumerate(zip(block.sizes.tolist(), block.first.tolist(), strict=True)):
        hessian = dense[cells[q] : cells[q + 1]].reshape(n, n)  # upper triangle; LAPACK reads its transpose, the lower
        hessian += tau[q] / n
        hessian.ravel()[:: n + 1] += total[first : first + n] + ridge
        factor, failed = factorise(hessian.T, lower=1, clean=1, overwrite_a=1)
        inverse, singular = invert(factor, lower=1, overwrite_c=1)
        if failed or singular:
            raise ZeloError(f"the curvature of a fit is singular at ridge {ridge}; raise solver.ridge")
        columns = inverse.T
        variance[first : first + n] = np.einsum("ij,ij->i", columns, columns) - 1 / (n * (ridge + tau[q]))
    return np.maximum(variance, 0.0)


def two_walk(block: Block, curvature: np.ndarray, ridge: float) -> np.ndarray:
    """[N] variances from the walks of two steps: V_ii = (1 - 1 / n) / (d_i (1 - s_i)), s_i = sum_j c_ij^2 / (d_i d_j).

    d_i = ridge + sum_j c_ij, c_ij the curvatures of a pair added up. The series of the inverse, (1 / d_i) sum_k P_ii^k over
    the returns to i of the walk with steps c_ij / d_i, is cut to those made of returns after two steps. For graphs in which
    few walks return otherwise; the factor 1 - 1 / n is what centring takes away. Error of the standard deviation against
    `exact`, mean / sd / worst in %, 100 documents: four random cycles of soft labels -0.1 / 0.5 / -6, of three votes at
    ridge 1 0.0 / 0.5 / -4; two cycles -5 / 2 / -23 and -3 / 1 / -13; one cycle of votes -6 / 3 / -14, of soft labels at
    ridge 0.001 useless (-55). 30 documents, four cycles: 3 / 1 / 6.
    """
    adjacency = block.adjacency(curvature)
    diagonal = adjacency @ np.ones(len(block.degree)) + ridge
    adjacency.data *= adjacency.data
    back = adjacency @ (1 / diagonal)
    rows, of = _repeated(block)
    if len(rows):  # the square of a sum is more than the sum of the squares
        each = curvature[rows]
        more = np.bincount(of, each, rows[-1] + 1)[rows] ** 2 - np.bincount(of, each**2, rows[-1] + 1)[rows]
        more[of != rows] = 0.0  # once per pair
        for here, there in (block.edges[rows].T, block.edges[rows].T[::-1]):
            back += np.bincount(here, more / diagonal[there], len(back))
    return (1 - 1 / block.spread(block.sizes)) / (diagonal - back)


def _repeated(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """(comparisons whose pair was compared more than once, and for each the comparison that answers for its pair)."""
    cells = np.concatenate([[0], np.cumsum(block.sizes**2)])
    first, second = np.ascontiguousarray(block.edges.T, np.int64)
    cell = np.minimum(first, second) * np.repeat(block.sizes, block.counts) + np.maximum(first, second)
    cell += np.repeat(cells[:-1] - block.first * (block.sizes + 1), block.counts)
    # Every pair has a place in a table that nobody clears: whichever row wrote there last answers for all rows of the pair.
    table, row = np.empty(cells[-1], np.int32), np.arange(len(cell), dtype=np.int32)
    table[cell] = row
    answers = table[cell]
    repeated = answers != row
    repeated[answers[repeated]] = True
    rows = np.flatnonzero(repeated)
    return rows, answers[rows]


def dispersion(
    block: Block, slope: np.ndarray, information: np.ndarray, variance: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([B] how much the labels vary around the fit, 1 for Bernoulli draws, [B] whether they are votes, [B] freedom).

    phi = (E / (E - k)) sum u^2 / sum I over the query's E comparisons (quasi-likelihood: Wedderburn 1974), u the slope of a
    comparison's loss and I its information [E each], k = n - 1 - ridge sum V_ii the parameters that the data decide. This
    is Pearson's statistic with each comparison weighted by its information: the plain one is decided by the few labels far
    in the tails. Where all weights and all weighted preferences of a query are whole numbers, they are counted votes, whose
    phi is 1 by construction and would be underestimated (0.8 to 0.9) from so few draws a parameter.
    """
    parameters = block.sizes - 1 - ridge * block.sum(variance)
    freedom = np.maximum(block.counts - parameters, 0.0)
    informed = np.maximum(block.sum_edges(information), np.finfo(float).tiny)
    statistic = block.counts * block.sum_edges(slope**2) / informed
    wins = block.weight * block.p
    uneven = np.maximum(np.abs(wins - np.rint(wins)), np.abs(block.weight - np.rint(block.weight)))
    votes = np.maximum.reduceat(uneven, block.first_edge) < _WHOLE
    return (statistic + _BELIEF) / (freedom + _BELIEF), votes, freedom
