"""Search with a scorer that is too slow for every pair: the pooled vectors choose what it looks at."""

from typing import Protocol

import pyarrow as pa

from zelo.backbones.encoder import Encoder
from zelo.errors import BadInput
from zelo.protocols import Scorer
from zelo.ranking import nearest, top_candidates


class PoolScorer(Scorer, Protocol):
    """Scores the `pool` documents nearest to a query by the backbone's pooled vectors; None: all."""

    @property
    def backbone(self) -> Encoder: ...
    @property
    def pool(self) -> int | None: ...


def check_pool(pool: int | None, name: str) -> None:
    """Raises BadInput for a pool that holds nothing. name: of the scorer."""
    if pool is not None and pool < 1:
        raise BadInput(f"{name}: pool={pool} must be 1 or more, or null for the whole corpus.")


def search_pool(scorer: PoolScorer, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
    """CANDIDATE rows, best first, ties by doc_id; the pool is never smaller than `top_k`."""
    pool = documents.num_rows if scorer.pool is None else max(scorer.pool, top_k)
    left, right = scorer.backbone.queries(queries), scorer.backbone.documents(documents)
    query_row, doc_row, _cosine = nearest(left.pooled, right.pooled, pool)
    score = scorer.score(queries, documents, query_row, doc_row)
    return top_candidates(queries, documents, query_row, doc_row, score, top_k)
