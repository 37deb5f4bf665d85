"""Nearest neighbours of the query's vector: exact cosine over the whole corpus."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from zelo.backbones.encoder import Encoder
from zelo.ranking import nearest, top_candidates

_PAIRS_AT_ONCE = 1 << 15


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Cosine of the backbone's pooled vectors, in [-1, 1]."""

    backbone: Encoder

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id."""
        found = nearest(self.backbone.queries(queries).pooled, self.backbone.documents(documents).pooled, top_k)
        return top_candidates(queries, documents, *found, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 cosines of N pairs."""
        left, right = self.backbone.queries(queries).pooled, self.backbone.documents(documents).pooled
        scores = np.empty(len(query_row), np.float32)
        for start in range(0, len(scores), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            scores[part] = np.einsum("nd,nd->n", left[query_row[part]], right[doc_row[part]])
        return scores
