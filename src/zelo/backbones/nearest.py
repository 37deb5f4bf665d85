"""Exact search of a corpus of vectors, a chunk of it at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 16384  # documents
ENTRIES = 1 << 24  # scores held at a time


def chunks(count: int) -> Iterator[slice]:
    """Rows of `count` documents, in order."""
    for low in range(0, count, CHUNK):
        yield slice(low, min(low + CHUNK, count))


def nearest(queries: "Tensor", documents: "Iterator[Tensor]", top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows [Q, top_k], inner products [Q, top_k]) of the best documents of each query, best first.

    queries: [Q, dim]; documents: chunks [n, dim] of the corpus in order, on the queries' device. Of a corpus of fewer than
    `top_k` documents all are returned.
    """
    import torch

    values = queries.new_zeros((len(queries), 0))
    rows = torch.zeros((len(queries), 0), dtype=torch.int64, device=queries.device)
    low = 0
    for chunk in documents:
        step = max(1, ENTRIES // len(chunk))
        found = []
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores = torch.cat([values[part], queries[part] @ chunk.T], dim=1)
            best, column = scores.topk(min(top_k, scores.shape[1]), dim=1)
            known = values.shape[1]
            row = column - known + low
            if known:
                row = torch.where(column < known, rows[part].gather(1, column.clamp(max=known - 1)), row)
            found.append((best, row))
        if found:
            values, rows = (torch.cat(parts) for parts in zip(*found, strict=True))
        low += len(chunk)
    return rows.cpu().numpy(), values.float().cpu().numpy()
