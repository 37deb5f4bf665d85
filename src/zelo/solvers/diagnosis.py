"""What is to be said about a fit: standard errors, and per query its connectivity, certainty, noise and contradictions."""

from collections.abc import Callable, Iterator
from typing import SupportsFloat

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import entr

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.blocks import Block, Blocks
from zelo.likelihood.covariance import dispersion, two_walk, variances
from zelo.likelihood.links import LinkFunction
from zelo.records import Fit, starts

_CELLS_PER_BLOCK = 1 << 22  # of the dense Hessians: 32 MB
_EDGES_PER_BLOCK = 1 << 18
_SMALL = 16  # documents below which two_walk is poor and the exact variances cost nothing
_NO_RIDGE = 1e-9  # keeps documents without comparisons from dividing by 0
_LARGE = 20_000  # documents from which one dense Hessian takes 3.2 GB and more
_NAMED = 5  # queries that a figure names
_FAR = 4.0  # standard deviations of a query's noise from what is expected, on a logarithmic scale


def diagnosed(
    blocks: Blocks,
    rating: np.ndarray,
    steps: np.ndarray,
    gradient: np.ndarray,
    link: LinkFunction,
    ridge: float,
    stderr: str | None,
) -> Fit:
    """The fit of `rating` [N] after `steps` [Q] with the largest absolute `gradient` [Q]: standard errors and figures.

    stderr_i = sqrt(phi V_ii), V = C (Laplacian + ridge)^-1 C with the observed curvature and C = I - 11'/n (Laplace), or its
    two-walk approximation; phi the query's own dispersion: a soft label is no Bernoulli draw, and taken for one it makes
    errors look some ten times too large. (The same factor tempers the prior, whose precision is then ridge / phi.) A
    document of a query without comparisons has the prior's standard deviation. With stderr None there are neither errors nor
    dispersions. Contradictions (triads, curl) are those of the queries that are to be diagnosed.

    What 90 % intervals held in simulations, over all documents: one vote a pair 89 %, three votes 89 % (under the true prior,
    which draws the extreme tenths inwards: 73 and 81 % there); soft labels with latent noise 90 to 91 %, and 90 to 91 % with 2
    % of uniform noise of which `lapse` is told. Untold, that noise compresses the ratings: 78 %, and 53 to 57 % at the
    extremes. The sandwich estimator, tried as well, held 85 % of soft labels: a document has too few comparisons for a
    variance of its own.
    """
    q = len(blocks.sizes)
    error = np.full(len(rating), np.nan if stderr is None else 1 / np.sqrt(ridge))
    curvature = np.empty(len(blocks), np.float32)
    found = {name: np.full(q, np.nan) for name in ("dispersion", "freedom", "loss", "weight", "triads", "curl")}
    found |= {"votes": np.zeros(q, bool), "components": blocks.sizes.copy(), "separable": np.zeros(q, np.int64)}
    found["uncompared"] = np.where(blocks.counts == 0, blocks.sizes, 0)
    for group, variance_of in _groups(blocks, stderr):
        block, docs = blocks.block(group), blocks.documents(group)
        slope, bend = block.derivatives(link, rating[docs])
        curvature[blocks.rows(group)] = bend
        said = {"weight": block.sum_edges(block.weight), "loss": block.sum_edges(block.losses(link, rating[docs]))}
        said |= {"uncompared": block.sum(block.degree == 0), "components": _components(block)}
        said |= {"separable": _separable(block)}
        if variance_of is not None:
            variance = variance_of(block, bend, ridge)
            noise, votes, freedom = dispersion(block, slope, block.information(link, rating[docs]), variance, ridge)
            error[docs] = np.sqrt(block.spread(np.where(votes, 1.0, noise)) * variance)
            said |= {"dispersion": noise, "votes": votes, "freedom": freedom}
        for name, values in said.items():
            found[name][group] = values
    for group in blocks.cut(blocks.diagnosed, blocks.counts, _EDGES_PER_BLOCK):
        block = blocks.block(group)
        found["triads"][group], found["curl"][group] = _intransitive(block), _curl(block, link)
    found["log_loss"] = found["loss"] / found["weight"]
    diagnosis = {
        "queries": q,
        "comparisons": len(blocks),
        "steps": int(steps.max(initial=0)),
        "gradient_norm": float(gradient.max(initial=0.0)),
        **_figures(found),
        "diagnosed_queries": len(blocks.diagnosed),  # whose triads and curl are known
    }
    found["dispersion"] = np.where(found["votes"], 1.0, found["dispersion"])
    names = ("components", "separable", "dispersion", "log_loss", "triads", "curl")
    queries = {name: found[name] for name in names} | {"steps": steps, "gradient": gradient}
    return Fit(rating, error, link, blocks.sizes, blocks.edges, curvature, ridge, diagnosis, queries)


def _figures(found: dict[str, np.ndarray]) -> Facts:
    """What is said about all queries together."""
    disconnected = np.flatnonzero(found["components"] > 1)
    odd = _odd(found["dispersion"], found["freedom"], found["votes"])
    return {
        "log_loss": _ratio(found["loss"], found["weight"]),  # nats per comparison of weight 1
        "dispersion": _known(np.where(found["votes"], 1.0, found["dispersion"]), np.median),  # of the queries'
        "intransitive_triads": _known(
            found["triads"], np.mean
        ),  # share of the triangles, mean over the queries that have any
        "curl": _known(found["curl"], np.median),  # share of the preferences' variance that no rating explains
        "not_one_dimensional_queries": None
        if np.isnan(found["freedom"]).all()
        else len(odd),  # contradict themselves far more than their noise explains
        "not_one_dimensional": odd[:_NAMED].tolist(),  # query numbers, the worst first
        "disconnected_queries": len(disconnected),
        "disconnected": disconnected[:_NAMED].tolist(),  # the first query numbers; their parts cannot be compared
        "separable_documents": int(found["separable"].sum()),  # won or lost everything: placed by the prior alone
        "uncompared_documents": int(found["uncompared"].sum()),
    }


def predicted(
    blocks: Blocks, rating: np.ndarray, link: LinkFunction, share: float
) -> tuple[np.ndarray, dict[str, float | None]]:
    """([Q] log loss on the held-out comparisons, nan where there are none; figures) of a `rating` [N] that never saw them."""
    loss, weight, least = (np.zeros(len(blocks.sizes)) for _ in range(3))
    for group in blocks.cut(blocks.compared, blocks.counts, _EDGES_PER_BLOCK):
        block, seen = blocks.block(group), blocks.hiding(share).block(group).weight
        block.weight = block.weight - seen
        loss[group] = block.sum_edges(block.losses(link, rating[blocks.documents(group)]))
        weight[group] = block.sum_edges(block.weight)
        least[group] = block.sum_edges(block.weight * (entr(block.p) + entr(1 - block.p)))
    each = np.divide(loss, weight, out=np.full(len(loss), np.nan), where=weight > 0)
    return each, {
        "held_out_log_loss": _ratio(loss, weight),  # nats per comparison of weight 1
        "held_out_log_loss_of_a_half": float(np.log(2)),  # of who always says 1/2
        "held_out_log_loss_at_best": _ratio(least, weight),  # of who says each preference itself
    }


def _groups(blocks: Blocks, stderr: str | None) -> Iterator[tuple[np.ndarray, Callable[..., np.ndarray] | None]]:
    """Queries for one block, and how their variances are computed, if they are."""
    if stderr is None:
        for group in blocks.cut(blocks.compared, blocks.counts, _EDGES_PER_BLOCK):
            yield group, None
        return
    large = blocks.sizes.max(initial=0)
    if stderr == "laplace" and large > _LARGE:
        raise BadInput(
            f"a query has {large:,} documents, too many for exact standard errors; set solver.stderr=two_walk"
        )
    near = (blocks.sizes >= _SMALL) if stderr == "two_walk" else np.zeros(len(blocks.sizes), bool)
    for chosen, variance_of in ((~near, variances), (near, two_walk)):
        queries = blocks.compared[chosen[blocks.compared]]
        for group in blocks.cut(queries, blocks.sizes**2 + blocks.counts, _CELLS_PER_BLOCK):
            yield group, variance_of


def centred(block: Block, rating: np.ndarray) -> np.ndarray:
    """[N] `rating` [N] with the mean 0 in each connected component."""
    _, label = connected_components(block.adjacency(block.weight), directed=False)
    return rating - (np.bincount(label, rating) / np.bincount(label))[label]


def _components(block: Block) -> np.ndarray:
    """[B] connected components of each query's graph."""
    from zelo.likelihood import kernels

    count = np.empty(len(block.sizes), np.int64)
    kernels.components(starts(block.sizes), block.pointers, block.others, count)
    return count


def _separable(block: Block) -> np.ndarray:
    """[B] documents that won all their comparisons for certain, or lost them all."""
    from zelo.likelihood import kernels

    decided = np.empty(len(block.degree), bool)
    kernels.decided(block.edges, block.p, decided)
    return block.sum(decided)


def _intransitive(block: Block) -> np.ndarray:
    """[B] share of a query's triangles, three pairs of three documents, that go round in a circle; nan where it has none.

    A pair goes to the document that most of its weight prefers; a tied pair is no side of a triangle.
    """
    from zelo.likelihood import kernels

    margins = block.adjacency(block.weight * (block.p - 0.5), mirror=-1.0)
    circular, whole = np.empty((2, len(block.sizes)), np.int64)
    kernels.triangles(starts(block.sizes), margins.indptr, margins.indices, margins.data, circular, whole)
    return np.divide(circular, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _curl(block: Block, link: LinkFunction) -> np.ndarray:
    """[B] share of the preferences' weighted variance that no rating explains; 0 for consistent preferences.

    The preferences through the inverse of the link are a flow y on the graph. Its gradient part is the least-squares rating
    A e, the rest goes round in circles: sum w (y - A e)^2 / sum w y^2 (Jiang, Lim, Yao and Ye 2011, HodgeRank). Pure noise
    leaves about 1 - (n - 1) / E of its own variance.
    """
    weight, flow = block.flow(link)
    eta, cap = np.full(len(block.sizes), 1e-3), np.maximum(200, 4 * block.sizes)
    e = block.solve(weight, _NO_RIDGE, block.gradient(weight * flow), eta, cap)
    rest, whole = block.sum_edges(weight * (flow - block.gap(e)) ** 2), block.sum_edges(weight * flow**2)
    return np.divide(rest, whole, out=np.zeros_like(rest), where=whole > 0)


def _odd(noise: np.ndarray, freedom: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Numbers of the queries whose noise [Q] is far above what is expected, the worst first.

    Votes have the noise of coins, 1; of soft labels nobody knows the noise, so a query is held against the others' median.
    """
    known = freedom >= 1
    log = np.log(noise, out=np.full(len(noise), -np.inf), where=known)
    width = np.sqrt(2 / np.maximum(freedom, 1))
    soft = known & ~votes
    if soft.any():
        log[soft] -= np.median(log[soft])
        width[soft] = np.maximum(width[soft], 1.4826 * np.median(np.abs(log[soft])))
    excess = np.where(known, log / width, -np.inf)
    return np.argsort(-excess, kind="stable")[: np.count_nonzero(excess > _FAR)]


def _ratio(over: np.ndarray, under: np.ndarray) -> float | None:
    return float(np.nansum(over) / np.nansum(under)) if np.nansum(under) > 0 else None


def _known(values: np.ndarray, figure: Callable[[np.ndarray], SupportsFloat]) -> float | None:
    """A figure of those that are no nan; None where there are none."""
    known = values[~np.isnan(values)]
    return float(figure(known)) if len(known) else None
