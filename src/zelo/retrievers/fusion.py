"""Reciprocal rank fusion: several first stages voted together by rank."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.protocols import PaidEmbedder, PaidRetriever, PreparedSearch, Retriever, SpreadRetriever
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

    @property
    def spreads(self) -> bool:
        """Whether all of its members do."""
        return all(isinstance(member, SpreadRetriever) and member.spreads for member in self.members.values())

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> "FusedSearch":
        """Prepares each member."""
        members = []
        for name, member in self.members.items():
            assert isinstance(member, SpreadRetriever)
            (folder / name).mkdir(exist_ok=True)
            members.append(member.prepared(queries, documents, folder / name))
        return FusedSearch(members, self.depth, self.constant)

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id; score in (0, members / (constant + 1)]."""
        found = (member.search(queries, documents, max(self.depth, top_k)) for member in self.members.values())
        return _fused(found, queries, documents, self.constant, top_k)


@dataclass(frozen=True)
class FusedSearch:
    """A PreparedSearch."""

    members: list[PreparedSearch]
    depth: int
    constant: float

    def search(self, asked: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """As of Fusion."""
        depth = max(self.depth, top_k)
        found = (member.search(asked, queries, documents, depth) for member in self.members)
        return _fused(found, asked, documents, self.constant, top_k)


def _fused(found: Iterable[pa.Table], queries: pa.Table, documents: pa.Table, constant: float, top_k: int) -> pa.Table:
    """CANDIDATE rows of what each member has found, CANDIDATE rows as well."""
    keys, credits = [], []
    for one in found:
        query_row = rows_of(one["query_id"], queries["query_id"])
        doc_row = rows_of(one["doc_id"], documents["doc_id"])
        keys.append(query_row * documents.num_rows + doc_row)
        credits.append(1 / (constant + one["rank"].to_numpy() + 1.0))
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    score = np.bincount(place, np.concatenate(credits), minlength=len(key))
    return top_candidates(queries, documents, *np.divmod(key, documents.num_rows), score, top_k)
