"""Best window: a long document is as good as the stretch of it that is nearest to the query."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from zelo.backbones.encoder import Encoder
from zelo.backbones.pool import check_pool, search_pool
from zelo.errors import BadInput
from zelo.progress import progress
from zelo.ranking import groups


@dataclass(frozen=True, kw_only=True)
class Window:
    """Largest cosine of the query's vector with the mean of `width` consecutive token vectors of the document, in [-1, 1].

    Every start is tried; a document of at most `width` tokens is one window. `search` scores the `pool` documents nearest by
    the pooled vectors; None scores all.
    """

    backbone: Encoder
    width: int
    pool: int | None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise BadInput(f"window: width={self.width} must be 1 or more tokens; 40 is about two sentences.")
        check_pool(self.pool, "window")
        self.backbone.check_token_vectors("window")

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id."""
        return search_pool(self, queries, documents, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs. A document is read once, against all queries that ask for it."""
        pooled, right = np.asarray(self.backbone.queries(queries).pooled), self.backbone.documents(documents)
        scores = np.empty(len(query_row), np.float32)
        # Products this small gain nothing from a second thread and lose seven times their time to waking it.
        with threadpool_limits(1, "blas"), progress("best window", len(scores), "pairs") as advance:
            for doc, positions in groups(doc_row, query_row):
                document = right.vectors[right.offsets[doc] : right.offsets[doc + 1]].astype(np.float32)
                windows = _windows(document, self.width)
                scores[positions] = (pooled[query_row[positions]] @ windows.T).max(axis=1)
                advance(len(positions))
        return scores


def _windows(tokens: np.ndarray, width: int) -> np.ndarray:
    """[max(1, L - width + 1), dim] mean of each window of L token vectors [L, dim], of length 1."""
    width = min(width, len(tokens))
    total = np.zeros((len(tokens) + 1, tokens.shape[1]), np.float32)
    np.cumsum(tokens, axis=0, out=total[1:])
    sums = total[width:] - total[:-width]
    return sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
