"""How well a graph of comparisons holds together: degrees, diameter and the second smallest eigenvalue of its Laplacian."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, shortest_path

from zelo.outcomes import Graphs
from zelo.records import starts

LARGE = 2000  # documents above which a graph is left out: it takes their square of memory
GRAPH = pa.schema(
    [
        ("query_id", pa.string()),
        ("nodes", pa.int64()),
        ("edges", pa.int64()),
        ("degree_min", pa.int64()),
        ("degree_mean", pa.float64()),
        ("degree_max", pa.int64()),
        ("parts", pa.int64()),
        ("diameter", pa.float64()),
        ("lambda_2", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Spectrum:
    """One graph. Its edges count once each, however often a pair was compared."""

    nodes: int
    edges: int
    degree_min: int
    degree_mean: float
    degree_max: int
    parts: int  # connected components
    diameter: float  # longest of the shortest paths, in edges; infinite where there are several parts
    lambda_2: float  # 0 where there are several parts; ratings vary most, as 1 / lambda_2, in its direction


def spectrum(nodes: int, edges: np.ndarray) -> Spectrum:
    """The graph of `edges` [E, 2] on `nodes` documents; a single one is connected, with diameter 0 and an infinite lambda_2.

    It takes nodes^2 numbers of memory and the time of a dense eigenvalue problem.
    """
    low, high = np.sort(np.asarray(edges, np.int64).reshape(-1, 2), axis=1).T
    pairs = np.unique(low[low != high] * nodes + high[low != high])
    ends = np.stack([pairs // nodes, pairs % nodes])
    degree = np.bincount(ends.ravel(), minlength=nodes)
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(nodes, nodes)).tocsr()
    parts = int(connected_components(graph, directed=False)[0])
    paths = shortest_path(graph, directed=False, unweighted=True)
    adjacency = graph.toarray()
    laplacian = np.diag(degree.astype(float)) - adjacency - adjacency.T
    values = np.linalg.eigvalsh(laplacian) if nodes > 1 else np.array([0.0, math.inf])
    return Spectrum(
        nodes=nodes,
        edges=len(pairs),
        degree_min=int(degree.min()),
        degree_mean=float(degree.mean()),
        degree_max=int(degree.max()),
        parts=parts,
        diameter=float(paths.max()),
        lambda_2=float(values[1]) if parts == 1 else 0.0,
    )


def spectra(outcomes: pa.Table) -> Iterator[tuple[str, Spectrum]]:
    """(query_id, the graph of its answered pairs) of each query of at most LARGE documents.

    outcomes: OUTCOME, or its columns query_id, doc_a, doc_b, judge, p and weight.
    """
    found = Graphs.of(outcomes)
    answered = ~np.isnan(found.average(outcomes)[0])
    edges, first = found.edges[answered], starts(found.sizes)
    bounds = np.searchsorted(edges[:, 0], first)  # edges come in order of their first end
    for number, (low, high) in enumerate(pairwise(bounds.tolist())):
        if found.sizes[number] <= LARGE:
            yield found.query_id[number].as_py(), spectrum(int(found.sizes[number]), edges[low:high] - first[number])


def random_regular_diameter(nodes: int, degree: float) -> float | None:
    """A diameter that a random graph of this degree stays below, with a probability that goes to 1 with its size.

    log_{k-1} n + log_{k-1} log n + log_{k-1}(5/2 k (k - 1)) for degree k (Bollobas and Fernandez de la Vega 1982, with 5/2 for
    any number above 2). None for degrees of 2 and less, where there is no such bound, and for fewer than 3 nodes.
    """
    if degree <= 2 or nodes < 3:
        return None
    return math.log(nodes * math.log(nodes) * 2.5 * degree * (degree - 1)) / math.log(degree - 1)


def random_regular_lambda_2(degree: float) -> float | None:
    """lambda_2 of large random graphs of degree k, which no graph of this degree and size beats by much: k - 2 sqrt(k - 1).

    Alon and Boppana 1986, Friedman 2008. None for degrees of 2 and less.
    """
    return degree - 2 * math.sqrt(degree - 1) if degree > 2 else None
