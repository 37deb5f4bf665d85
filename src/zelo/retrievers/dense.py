"""Nearest neighbours of the query's vector: exact cosine over the whole corpus."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from zelo.backbones.encoder import Encoder
from zelo.backbones.vector_search import VectorSearch
from zelo.progress import progress
from zelo.ranking import cosines, nearest, top_candidates


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Cosine of the backbone's pooled vectors, in [-1, 1]."""

    spreads: ClassVar[Literal[True]] = True

    backbone: Encoder

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> VectorSearch:
        """Encodes both; the vectors lie in the store."""
        return VectorSearch.of(self.backbone.queries(queries).pooled, self.backbone.documents(documents).pooled)

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id."""
        asked, read = self.backbone.queries(queries).pooled, self.backbone.documents(documents).pooled
        with progress("dense search", queries.num_rows, "queries") as advance:
            found = nearest(asked, read, top_k, advance)
        return top_candidates(queries, documents, *found, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 cosines of N pairs."""
        left, right = self.backbone.queries(queries).pooled, self.backbone.documents(documents).pooled
        return cosines(left, right, query_row, doc_row)
