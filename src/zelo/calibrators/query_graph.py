"""Offsets of queries from comparisons across queries: maximum a posteriori by Newton steps on the graph of queries.

Comparison k of document i of query q with document j of query r has D_k = slope * (e_i - e_j) + c_q - c_r with known ratings
e, its handicap. Minimised over c, and over the slope s where it is not known:
-sum_k w_k [p_k log F(D_k) + (1 - p_k) log F(-D_k)] + (ridge / 2) sum_q c_q^2 + (s - 1)^2 / 2, which is convex for any
log-concave link. Each step solves a weighted graph Laplacian.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from zelo.calibrators.likelihood import Link, derivatives, log_loss
from zelo.errors import BadInput

_TOLERANCE = 1e-5  # largest absolute gradient; offsets are then right to some 1e-5 where their errors are above 1e-2
_STEPS = 100  # of Newton; 5 to 10 are usual
_CG_STEPS = 1000
_CG_RESIDUAL = 0.1  # relative; a Newton step of 3 conjugate-gradient steps costs less than one of 30
_CUTS = 30  # of one Newton step
_BELIEF = 0.1  # comparisons that the belief "answers are Bernoulli draws" counts for; decides only where there are few
_WHOLE = 1e-4  # distance from a whole number that the rounding of float32 preferences explains


@dataclass(frozen=True)
class OffsetFit:
    """c, the link's slope in the handicap, the standard errors of c and how the fit went."""

    offset: np.ndarray  # [Q], sums to 0
    slope: float
    stderr: np.ndarray  # [Q]
    diagnosis: dict[str, float]


class QueryGraph:
    """E comparisons between Q queries. first, second: [E] query numbers; handicap, p, weight: [E]."""

    def __init__(
        self,
        queries: int,
        first: np.ndarray,
        second: np.ndarray,
        handicap: np.ndarray,
        p: np.ndarray,
        weight: np.ndarray,
    ) -> None:
        self.queries, self.handicap, self.p, self.weight = queries, handicap, p, weight
        self.ends = np.stack([first, second], 1)
        edges = np.arange(len(p))
        # Its transpose lists each query's comparisons once for all; a step then only gathers their curvatures.
        incidence = csr_matrix((np.repeat(edges, 2), self.ends.ravel(), 2 * np.arange(len(p) + 1)), (len(p), queries))
        listed = incidence.tocsc()
        self.indptr, self.edge = listed.indptr, np.asarray(listed.data, np.int64)
        owner = np.repeat(np.arange(queries), np.diff(self.indptr))
        self.neighbour = (self.ends.sum(1)[self.edge] - owner).astype(listed.indices.dtype)

    def adjacency(self, values: np.ndarray) -> csr_matrix:
        """[Q, Q] symmetric matrix of these values [E]; a pair of queries may be stored twice."""
        return csr_matrix((np.take(values, self.edge), self.neighbour, self.indptr), (self.queries, self.queries))

    def down(self, offset: np.ndarray, slope: float) -> np.ndarray:
        """[E] differences D."""
        return slope * self.handicap + offset[self.ends[:, 0]] - offset[self.ends[:, 1]]

    def up(self, values: np.ndarray) -> np.ndarray:
        """[Q] sum over comparisons of values [E], negative for the second query."""
        first, second = self.ends.T
        return np.bincount(first, values, self.queries) - np.bincount(second, values, self.queries)


@dataclass(frozen=True)
class _State:
    """Unknowns x = (c, slope), the gradient there and, of each comparison, the weighted curvature and information."""

    x: np.ndarray  # [Q + 1]
    gradient: np.ndarray  # [Q + 1]
    curvature: np.ndarray  # [E]
    information: np.ndarray  # [E]


def fit(graph: QueryGraph, link: Link, ridge: float, slope: float | None) -> OffsetFit:
    """The offsets at the given slope, or with the slope that fits best if it is None.

    Raises BadInput if a slope that is fitted comes out negative, or if the fit does not converge.
    """
    free = slope is None
    state = _at(graph, np.append(np.zeros(graph.queries), 1.0 if free else slope), link, ridge, free)
    steps = 0
    while (worst := float(np.abs(state.gradient).max())) > _TOLERANCE:
        if steps == _STEPS:
            raise BadInput(
                f"calibrator=offset: the offsets did not converge: gradient {worst:.1e} after {_STEPS} steps; "
                f"raise calibrator.ridge={ridge}"
            )
        state = _step(graph, state, _solve(graph, state, ridge, free), link, ridge, free)
        steps += 1
    fitted = float(state.x[-1])
    if fitted <= 0:
        raise BadInput(
            f"calibrator=offset: the answers across queries go against the ratings within them (slope {fitted:.3g}); "
            "use a judge that knows the cross-query prompt, or calibrator=none"
        )
    stderr, dispersion = _errors(graph, state, link, ridge)
    difference, before = graph.down(state.x[:-1], fitted), graph.down(np.zeros(graph.queries), fitted)
    figures = {
        "comparisons": len(graph.p),
        "newton_steps": steps,
        "gradient_norm": worst,
        "slope": fitted,
        "log_loss": log_loss(link, difference, graph.p, graph.weight),
        "log_loss_without": log_loss(link, before, graph.p, graph.weight),  # of the same answers, every offset 0
        "dispersion": dispersion,
    }
    return OffsetFit(state.x[:-1], fitted, stderr, figures)


def _at(graph: QueryGraph, x: np.ndarray, link: Link, ridge: float, free: bool) -> _State:
    found = derivatives(link, graph.down(x[:-1], x[-1]), graph.p)
    slope, curvature, information = (graph.weight * values for values in found)
    gradient = np.append(graph.up(slope) + ridge * x[:-1], free * (slope @ graph.handicap + x[-1] - 1))
    return _State(x, gradient, curvature, information)


def _solve(graph: QueryGraph, state: _State, ridge: float, free: bool) -> np.ndarray:
    """[Q + 1] the Newton step by conjugate gradient with Jacobi scaling; the residual is measured on that scale too.

    The scaled residual is centred: the constant offset has the eigenvalue ridge, far below all others, and is known to be
    absent, since the gradient sums to 0.
    """
    weights = graph.adjacency(state.curvature)
    total = weights @ np.ones(graph.queries) + ridge
    weighted = free * state.curvature * graph.handicap
    border = graph.up(weighted)
    diagonal = np.append(total, weighted @ graph.handicap + 1)

    def scaled(r: np.ndarray) -> np.ndarray:
        z = r / diagonal
        z[:-1] -= z[:-1].mean()
        return z

    r = -state.gradient
    x = np.zeros_like(r)
    direction = z = scaled(r)
    rz = r @ z
    enough = _CG_RESIDUAL**2 * rz
    for _ in range(_CG_STEPS):
        image = diagonal * direction
        image[:-1] += border * direction[-1] - weights @ direction[:-1]
        image[-1] += border @ direction[:-1]
        alpha = rz / (direction @ image)
        x += alpha * direction
        r = r - alpha * image
        z = scaled(r)
        before, rz = rz, r @ z
        if rz <= enough:
            break
        direction = z + (rz / before) * direction
    return x


def _step(graph: QueryGraph, state: _State, step: np.ndarray, link: Link, ridge: float, free: bool) -> _State:
    """After the step, cut until the slope along it is no steep ascent: the loss is convex, so that it has then fallen."""
    before, cuts = state.gradient @ step, 0
    while True:
        moved = _at(graph, state.x + step, link, ridge, free)
        after = moved.gradient @ step
        if after <= 0.5 * abs(before) or cuts == _CUTS:
            return moved
        cuts += 1
        factor = float(np.clip(before / (before - after), 0.1, 0.7))
        step, before = factor * step, factor * before


def _errors(graph: QueryGraph, state: _State, link: Link, ridge: float) -> tuple[np.ndarray, float]:
    """([Q] standard errors of c, dispersion): Var_q = phi / (d_q (1 - s_q)) from walks of two steps on the graph.

    d = row sums of the information + ridge, s_q = sum_r w_qr^2 / (d_q d_r): the series of the inverse up to its second
    term, within some percent on a union of random cycles. phi, for answers that are no Bernoulli draws: sum of squared slopes
    over sum of information, each comparison weighted by its information (quasi-likelihood: Wedderburn 1974). For counted
    votes (all weights, and weights times answers, whole) it is at least 1: so few draws per offset underestimate it.
    """
    weights = graph.adjacency(state.information)
    weights.sum_duplicates()
    total = weights @ np.ones(graph.queries) + ridge
    walks = weights.multiply(weights) @ (1 / total) / total
    variance = 1 / (total * (1 - walks))
    slope, _, _ = derivatives(link, graph.down(state.x[:-1], state.x[-1]), graph.p)
    count = len(graph.p)
    freedom = max(count - float(np.sum(1 - ridge * variance)), 0.0)
    statistic = count * float(np.sum((graph.weight * slope) ** 2)) / float(state.information.sum())
    dispersion = (statistic + _BELIEF) / (freedom + _BELIEF)
    wins = graph.weight * graph.p
    uneven = np.maximum(np.abs(wins - np.rint(wins)), np.abs(graph.weight - np.rint(graph.weight)))
    if uneven.max() < _WHOLE:
        dispersion = max(dispersion, 1.0)
    return np.sqrt(dispersion * variance), dispersion
