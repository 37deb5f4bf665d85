"""Weighted graph Laplacians of many queries, solved at once."""

import numpy as np

from zelo.likelihood.blocks import Block


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
    inverse = 1 / diagonal
    x, r = np.zeros_like(right), right.copy()
    z, image = np.empty_like(right), np.empty_like(right)  # written again and again: fresh memory costs more than sums
    size = block.sum(r * r)
    enough = size * eta**2
    live = size > 0
    _centred(block, r, inverse, z)
    direction, rz = z.copy(), block.sum(r * z)
    for step in range(int(cap.max())):
        live = live & (step < cap)
        if not live.any():
            break
        np.multiply(diagonal, direction, out=image)
        image -= adjacency @ direction
        np.multiply(direction, image, out=z)
        alpha = np.divide(rz, block.sum(z), out=np.zeros_like(rz), where=live)
        alpha = block.spread(alpha)
        np.multiply(alpha, direction, out=z)
        x += z
        image *= alpha
        r -= image
        np.multiply(r, r, out=z)
        live = live & (block.sum(z) > enough)
        _centred(block, r, inverse, z)
        np.multiply(r, z, out=image)
        before, rz = rz, block.sum(image)
        beta = np.divide(rz, before, out=np.zeros_like(rz), where=live)
        direction *= block.spread(beta)
        direction += z
    return x


def _centred(block: Block, residual: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> None:
    """Writes the scaled residual, with the mean 0 in each query, to `out` [N]."""
    np.multiply(residual, inverse, out=out)
    out -= block.spread(block.sum(out) / block.sizes)
