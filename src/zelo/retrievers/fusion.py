"""Reciprocal rank fusion: several first stages voted together by rank."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.protocols import PaidEmbedder, PaidRetriever, Retriever
from zelo.ranking import rows_of, top_candidates


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Score = sum over members of 1 / (constant + rank), rank 1 the best (Cormack, Clarke and Buettcher, 2009).

    Each of `members` contributes its `depth` best, or `top_k` if that is more; a document that a member does not return gets
    nothing from it.
    """

    members: Mapping[str, Retriever]
    depth: int
    constant: float

    def __post_init__(self) -> None:
        if not self.members or self.depth < 1 or self.constant < 0:
            raise BadInput(
                f"fusion: members={list(self.members)}, depth={self.depth}, constant={self.constant}; it needs one member or"
                " more, depth 1 or more, constant 0 or more."
            )

    @property
    def embedders(self) -> dict[str, PaidEmbedder]:
        """Those of its members."""
        paid = {name: member for name, member in self.members.items() if isinstance(member, PaidRetriever)}
        return {
            f"members.{name}{f'.{within}' * bool(within)}": one
            for name, member in paid.items()
            for within, one in member.embedders.items()
        }

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id; score in (0, members / (constant + 1)]."""
        keys, credits = [], []
        for member in self.members.values():
            found = member.search(queries, documents, max(self.depth, top_k))
            query_row = rows_of(found["query_id"], queries["query_id"])
            doc_row = rows_of(found["doc_id"], documents["doc_id"])
            keys.append(query_row * documents.num_rows + doc_row)
            credits.append(1 / (self.constant + found["rank"].to_numpy() + 1.0))
        key, place = np.unique(np.concatenate(keys), return_inverse=True)
        score = np.bincount(place, np.concatenate(credits), minlength=len(key))
        return top_candidates(queries, documents, *np.divmod(key, documents.num_rows), score, top_k)
