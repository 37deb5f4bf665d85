"""Learned linear halvings: a chain of matrices, each of which makes vectors half as wide, fitted without labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zelo.backbones.nearest import chunks, nearest


@dataclass(frozen=True)
class Fitting:
    """How a halving is fitted, after its start at the principal components."""

    steps: int  # 0: the principal components alone
    queries: int  # a step
    neighbours: int  # documents of each, which all queries of the step are compared with
    temperature: float  # of the two distributions over these documents
    lr: float


def halved(vectors: Tensor, matrices: list[Tensor]) -> Tensor:
    """[..., dim] vectors of length 1 through the chain; each matrix [dim / 2, dim] is applied and the length brought to 1."""
    for matrix in matrices:
        vectors = F.normalize(vectors @ matrix.T, dim=-1)
    return vectors


def fit(
    queries: np.ndarray,
    documents: np.ndarray,
    count: int,
    how: Fitting,
    device: str,
    seed: int,
    advance: Callable[[int], None],
) -> Iterator[Tensor]:
    """The matrices of a chain of `count` halvings, from the widest on.

    Each begins with the principal components of what is left, queries and documents counting the same, uncentred as cosines are.
    Then it learns that the half vectors of a query say about its nearest documents, and those of the other queries of the step,
    what the whole vectors say: KL of the two softmaxes over cosine / temperature. A chain of learned linear halvings is
    zembed-1's (2026), how they are fitted is our own. queries: [Q, dim], documents: [N, dim], of length 1; they may lie on disk.
    advance: called with the steps that are done.
    """
    parts = (torch.from_numpy(np.array(documents[rows])).to(device) for rows in chunks(len(documents)))
    asked = torch.from_numpy(np.array(queries)).to(device)
    near = nearest(asked, parts, how.neighbours)[0] if how.steps else None
    matrices: list[Tensor] = []
    rng = np.random.default_rng(seed)
    for _ in range(count):
        matrix = _components(queries, documents, matrices, device)
        if near is not None:
            matrix = _learned(matrix, asked, documents, matrices, near, how, rng, advance)
        matrices.append(matrix)
        yield matrix


def _components(queries: np.ndarray, documents: np.ndarray, matrices: list[Tensor], device: str) -> Tensor:
    """[dim / 2, dim] rows: the largest principal components of what the chain leaves."""
    moment = 0
    for side in (queries, documents):
        for rows in chunks(len(side)):
            left = halved(torch.from_numpy(np.array(side[rows])).to(device), matrices).double()
            moment = moment + left.T @ left / len(side)
    assert isinstance(moment, Tensor)
    vectors = torch.linalg.eigh(moment).eigenvectors.flip(1)  # ascending
    half = len(vectors) // 2
    found = vectors[:, :half].T.float()
    # An eigenvector's sign is free: the largest number of each is positive, so that the same vectors give the same matrix.
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return (found * largest.sign()).contiguous()


def _learned(
    start: Tensor,
    queries: Tensor,
    documents: np.ndarray,
    matrices: list[Tensor],
    near: np.ndarray,
    how: Fitting,
    rng: np.random.Generator,
    advance: Callable[[int], None],
) -> Tensor:
    matrix = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([matrix], lr=how.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / how.steps)
    for _ in range(how.steps):
        rows = rng.choice(len(queries), min(how.queries, len(queries)), replace=False)
        asked = queries[torch.from_numpy(rows)]
        seen = torch.from_numpy(np.array(documents[np.unique(near[rows])])).to(asked.device)
        wanted = torch.log_softmax(asked @ seen.T / how.temperature, dim=1)
        half = [halved(halved(side, matrices), [matrix]) for side in (asked, seen)]
        given = torch.log_softmax(half[0] @ half[1].T / how.temperature, dim=1)
        loss = F.kl_div(given, wanted, log_target=True, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance(1)
    return matrix.detach()
