"""Late interaction: each word piece of the query looks for its best counterpart in the document (MaxSim)."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from zelo.backbones.encoder import Encoder
from zelo.backbones.pool import check_pool, search_pool
from zelo.backbones.vectors import TokenVectors
from zelo.progress import progress
from zelo.ranking import groups
from zelo.records import distinct


@dataclass(frozen=True, kw_only=True)
class LateInteraction:
    """Mean over the query's tokens of the best cosine with a token of the document, in [-1, 1] (ColBERT, Khattab 2020).

    With `idf` it is a weighted mean: ln((N + 1) / (df + 1)) of the token among the N documents, so that what every document
    holds, such as [CLS] and [SEP], counts nothing; a query of such tokens alone is not weighted. `search` scores the `pool`
    documents nearest by the pooled vectors; None scores all.
    """

    backbone: Encoder
    idf: bool
    pool: int | None

    def __post_init__(self) -> None:
        check_pool(self.pool, "late_interaction")
        self.backbone.check_token_vectors("late interaction")

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id."""
        return search_pool(self, queries, documents, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs. A document is read once, against all queries that ask for it."""
        left, right = self.backbone.queries(queries), self.backbone.documents(documents)
        tokens = np.asarray(left.vectors, np.float32)
        weights = _weights(left, right) if self.idf else _uniform(left)
        scores = np.empty(len(query_row), np.float32)
        # Products this small gain nothing from a second thread and lose seven times their time to waking it.
        with threadpool_limits(1, "blas"), progress("late interaction", len(scores), "pairs") as advance:
            for doc, positions in groups(doc_row, query_row):
                rows, first = _ranges(left.offsets, query_row[positions])
                document = right.vectors[right.offsets[doc] : right.offsets[doc + 1]].astype(np.float32)
                found = (tokens[rows] @ document.T).max(axis=1)
                scores[positions] = np.add.reduceat(found * weights[rows], first)
                advance(len(positions))
        return scores


def _ranges(offsets: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Token rows of these texts, one text after the other, and where each of them starts among these rows."""
    sizes = offsets[texts + 1] - offsets[texts]
    first = np.cumsum(sizes) - sizes
    return np.repeat(offsets[texts] - first, sizes) + np.arange(sizes.sum()), first


def _uniform(queries: TokenVectors) -> np.ndarray:
    """[T] float32 weight of each token of the queries; each query's sum to 1."""
    sizes = np.diff(queries.offsets)
    return np.repeat(1 / sizes, sizes).astype(np.float32)


def _weights(queries: TokenVectors, documents: TokenVectors) -> np.ndarray:
    """[T] float32 weight of each token of the queries by rarity among the documents; each query's sum to 1."""
    document = np.repeat(np.arange(len(documents)), np.diff(documents.offsets))
    vocabulary = int(max(documents.tokens.max(initial=0), queries.tokens.max(initial=0))) + 1
    present = distinct(document * vocabulary + documents.tokens) % vocabulary
    frequency = np.bincount(present, minlength=vocabulary)
    idf = np.log((len(documents) + 1) / (frequency + 1))[queries.tokens]
    query = np.repeat(np.arange(len(queries)), np.diff(queries.offsets))
    total = np.bincount(query, idf, minlength=len(queries))[query]
    return np.where(total > 0, idf / np.where(total > 0, total, 1), _uniform(queries)).astype(np.float32)
