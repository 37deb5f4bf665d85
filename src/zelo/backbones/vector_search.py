"""The search for the nearest vectors, in a worker that opens the two files that they lie in."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from zelo.ranking import nearest, rows_of, top_candidates


@dataclass(frozen=True)
class VectorSearch:
    """The cosine of unit vectors, exact and over all documents: a PreparedSearch."""

    queries: Path  # [Q, dim]
    documents: Path  # [D, dim]

    @staticmethod
    def of(queries: np.ndarray, documents: np.ndarray) -> "VectorSearch":
        """Of arrays that lie in files of the store."""
        left, right = (Path(cast(np.memmap, array).filename or "") for array in (queries, documents))
        return VectorSearch(left, right)

    def __getstate__(self) -> dict[str, Path]:
        return {"queries": self.queries, "documents": self.documents}

    def search(self, asked: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id."""
        left, right = self._opened
        found = nearest(left[rows_of(asked["query_id"], queries["query_id"])], right, top_k)
        return top_candidates(asked, documents, *found, top_k)

    @cached_property
    def _opened(self) -> tuple[np.ndarray, np.ndarray]:
        left, right = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (self.queries, self.documents))
        return left, right
