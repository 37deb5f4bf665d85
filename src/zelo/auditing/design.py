"""What an audit asks of a run's questions."""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.likelihood.randomness import id_hashes
from zelo.pools import Pools
from zelo.records import DEV, DOCUMENT, TEST, starts


@dataclass(frozen=True, kw_only=True)
class AuditDesign:
    """A sample of the queries, some documents of each, every pair `repeats` times, perhaps with an injection in `doc_b`.

    In a sample, a judge that asks about many pairs by one request (StateJudge) is asked once more with one pair a request.
    """

    sample_queries: int | None  # so many dev, then train queries; None: all queries with the pairs of the graph
    documents_per_query: int | None  # of a sampled query, whose pairs are all asked; None where there is no sample
    repeats: int  # times that each pair is asked
    injection: str | None  # a prompt injection that ends the text of each doc_b, to see how far it sways; None: none

    def __post_init__(self) -> None:
        if self.repeats < 1 or (self.sample_queries is not None and self.sample_queries < 1):
            raise BadInput(
                f"judge: design.repeats={self.repeats} and design.sample_queries={self.sample_queries} must be 1 or more"
                " (sample_queries may be null)."
            )
        if self.sample_queries is not None and (self.documents_per_query is None or self.documents_per_query < 3):
            raise BadInput(
                f"judge: design.documents_per_query={self.documents_per_query} must be 3 or more: fewer show nothing of whether"
                " preferences agree."
            )

    def documents(self, documents: pa.Table) -> pa.Table:
        """The documents (DOCUMENT), followed by all of them with the injection where there is one."""
        if self.injection is None:
            return documents
        text = pc.binary_join_element_wise(documents["text"], self.injection, "\n\n")
        place = documents.schema.get_field_index("text")
        return pa.concat_tables([documents, documents.set_column(place, DOCUMENT.field("text"), text)])

    def injected(self, doc_row: np.ndarray, documents: int) -> np.ndarray:
        """[N] rows of the documents to show as doc_b. doc_row: [N]; documents: rows of what `documents` returned."""
        return doc_row if self.injection is None else doc_row + np.int32(documents // 2)

    def sample(self, pools: Pools, queries: pa.Table, seed: int) -> Pools:
        """The candidates of the sampled queries, dev queries first; of test queries none. queries: QUERY."""
        split = queries["split"].take(pa.array(pools.query_row)).to_numpy()
        drawn = id_hashes(queries["query_id"], pools.query_row, seed)
        # Three documents show whether preferences are transitive, and labels of dev queries may be looked at afterwards.
        order = np.lexsort((drawn, split != DEV, pools.sizes < 3))
        order = order[split[order] != TEST][: self.sample_queries]
        return pools.only(np.isin(np.arange(len(drawn)), order))

    def pairs(self, edges: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """[E, 2] what is asked of the pairs [.., 2] that a graph proposes for pools of these sizes [Q].

        In a sample all pairs of some documents of each query that has three with two pairs of the graph among them: whether
        three preferences agree shows in three documents only, and answers about the graph's own pairs serve twice.
        """
        if self.sample_queries is None or self.documents_per_query is None:
            return edges
        found: list[tuple[int, int]] = []
        for start, end in pairwise(starts(sizes)):
            own = edges[(edges[:, 0] >= start) & (edges[:, 0] < end)]
            found += _all_pairs(own, self.documents_per_query)
        return np.array(found, np.int64).reshape(-1, 2)


def _all_pairs(own: np.ndarray, documents: int) -> list[tuple[int, int]]:
    """All pairs of so many documents of one query: first those of three that have two pairs of the graph, `own` [E, 2]."""
    if not len(own):
        return []
    middle = int(np.bincount(own.ravel()).argmax())
    two = [(int(a), int(b)) for a, b in own[(own == middle).any(axis=1)][:2]]
    if len(two) < 2:
        return []
    ends = [b if a == middle else a for a, b in two]
    three = [*two, (ends[0], ends[1])]
    more = list(dict.fromkeys([middle, *ends, *own.ravel().tolist()]))[:documents]
    known = {frozenset(pair) for pair in three}
    return [*three, *(pair for pair in combinations(more, 2) if frozenset(pair) not in known)]
