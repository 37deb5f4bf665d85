"""What a fit says about its own uncertainty: the posterior covariance of the ratings of each query."""

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from zelo.records import starts

_CELLS_AT_ONCE = 1 << 22  # of the dense Hessians: 32 MB


def covariances(
    sizes: np.ndarray, edges: np.ndarray, curvature: np.ndarray, ridge: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(B query numbers, [B, n, n] covariances of their ratings) for groups of queries of the same size, exactly.

    V = C (Laplacian + ridge)^-1 C with C = I - 11'/n (Laplace). sizes: [Q]; edges: [E, 2] global document numbers, both ends
    in one query; curvature: [E] > 0. Queries without documents are left out.
    """
    sizes = np.asarray(sizes, np.int64)
    first = starts(sizes)
    query = np.searchsorted(first, edges[:, 0], side="right") - 1
    order = np.argsort(query, kind="stable")
    edges, curvature, query = edges[order], curvature[order], query[order]
    first_edge = np.searchsorted(query, np.arange(len(sizes) + 1))
    for n in np.unique(sizes[sizes > 0]).tolist():
        same = np.flatnonzero(sizes == n)
        step = max(1, _CELLS_AT_ONCE // (n * n))
        for begin in range(0, len(same), step):
            group = same[begin : begin + step]
            counts = np.diff(first_edge)[group]
            rows = np.arange(counts.sum()) + np.repeat(first_edge[group] - starts(counts)[:-1], counts)
            place = np.repeat(np.arange(len(group)), counts)
            local = edges[rows] - first[group][place][:, None]
            cells = len(group) * n * n
            a, b = (place * n * n + local[:, i] * n + local[:, 1 - i] for i in (0, 1))
            hessian = -np.bincount(np.concatenate([a, b]), np.tile(curvature[rows], 2), cells)
            hessian = hessian.astype(np.float64, copy=False).reshape(-1, n, n)
            diagonal = np.einsum("bii->bi", hessian)  # a view
            diagonal += ridge - hessian.sum(2)
            # The constant vector has the eigenvalue ridge alone: lifted to the others' size for the inverse, then taken out.
            lift = diagonal.mean(1) / n
            # Inverses this small gain nothing from a second thread and lose many times their time to waking it.
            with threadpool_limits(1, "blas"):
                covariance = np.linalg.inv(hessian + lift[:, None, None])
            yield group, covariance - (1 / (n * (ridge + n * lift)))[:, None, None]
