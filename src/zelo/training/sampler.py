"""How examples are put into batches."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput

HEAD = 10  # half of a sample comes from the best HEAD documents of a query


@dataclass(frozen=True, kw_only=True)
class QueryBatches:
    """`queries` queries a batch, each with all its documents, or with `documents` of them drawn again in each epoch."""

    queries: int
    documents: int | None

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise BadInput(f"loader.queries={self.queries}: at least one query a batch.")
        if self.documents is not None and self.documents < 2:
            raise BadInput(f"loader.documents={self.documents}: at least two documents to tell apart, or null for all.")

    def pick(self, targets: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """[B, documents] columns, half of them from the best ten; None when all are taken. targets, mask: [B, D]."""
        if self.documents is None or self.documents >= targets.shape[1]:
            return None
        rank = np.argsort(np.argsort(-np.where(mask, targets, -1.0), axis=1, kind="stable"), axis=1)
        draw = rng.random(targets.shape)
        head = np.where((rank < HEAD) & mask, draw, 2.0)
        first = np.argsort(head, axis=1)[:, : min(self.documents // 2, HEAD)]
        draw = np.where(mask, draw, 2.0)
        np.put_along_axis(draw, first, 3.0, axis=1)  # behind the padding: no document comes twice
        rest = np.argsort(draw, axis=1)[:, : self.documents - first.shape[1]]
        return np.concatenate([first, rest], axis=1)
