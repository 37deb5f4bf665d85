"""A student that reads no text."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa


class ByPlace:
    """Prefers documents in their order; searches as it reranks."""

    def load(self, *_: Any) -> None: ...
    def prepare(self, documents: pa.Table) -> None: ...
    def to(self, device: str) -> None: ...

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(np.arange(top_k), (len(queries), 1)), np.tile(-np.arange(top_k, dtype=float), (len(queries), 1))

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Any]:
        import torch

        rows = torch.from_numpy(doc_rows)
        return {"rows": rows, "mask": rows >= 0}

    def __call__(self, batch: Any) -> Any:
        return -batch["rows"].float()


class Reading(ByPlace):
    """An embedder that notes which documents it reads; the second attempt to read some of them fails."""

    reads_documents = True
    read: ClassVar[list[int]] = []

    def document_vectors(self, rows: slice) -> np.ndarray:
        self.read.extend(range(rows.start, rows.stop))
        if len(self.read) == 4:
            raise KeyboardInterrupt
        return -np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]

    def query_vectors(self, queries: list[str]) -> np.ndarray:
        return np.ones((len(queries), 1), np.float32)

    def nearest(self, queries: list[str], documents: Any, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.concatenate(list(documents))[:, 0]
        row = np.argsort(-values, kind="stable")[:top_k]
        return np.tile(row, (len(queries), 1)), np.tile(values[row], (len(queries), 1))
