"""Weighted graph Laplacians of many queries, solved at once."""

import numpy as np

from zelo.solvers.blocks import Block


def solve(
    block: Block, weights: np.ndarray, ridge: float, right: np.ndarray, eta: np.ndarray, cap: np.ndarray
) -> np.ndarray:
    """[N] x with (Laplacian of `weights` [E] + ridge) x = right [N], for right that sums to 0 in each query.

    Conjugate gradient with Jacobi scaling, each query with its own coefficients, to a relative residual of eta [B] or for
    at most cap [B] steps. The scaled residual is centred: the constant vector has the eigenvalue ridge, far below all
    others, and would cost some 20 steps more though it is known to be absent.
    """
    adjacency = block.adjacency(weights)
    diagonal = adjacency @ np.ones(len(right)) + ridge
    x, r = np.zeros_like(right), right
    size = block.sum(r * r)
    enough = size * eta**2
    live = size > 0
    z = _centred(block, r / diagonal)
    direction, rz = z, block.sum(r * z)
    for step in range(int(cap.max())):
        live = live & (step < cap)
        if not live.any():
            break
        image = diagonal * direction - adjacency @ direction
        alpha = np.divide(rz, block.sum(direction * image), out=np.zeros_like(rz), where=live)
        alpha = block.spread(alpha)
        x += alpha * direction
        r = r - alpha * image
        live = live & (block.sum(r * r) > enough)
        z = _centred(block, r / diagonal)
        before, rz = rz, block.sum(r * z)
        beta = np.divide(rz, before, out=np.zeros_like(rz), where=live)
        direction = z + block.spread(beta) * direction
    return x


def _centred(block: Block, values: np.ndarray) -> np.ndarray:
    return values - block.spread(block.sum(values) / block.sizes)
