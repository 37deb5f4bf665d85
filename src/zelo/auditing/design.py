"""What an audit asks of a run's questions."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.likelihood.randomness import id_hashes
from zelo.pools import Pools
from zelo.records import DEV, DOCUMENT, TEST, starts


@dataclass(frozen=True, kw_only=True)
class AuditDesign:
    """A sample of the queries, three documents of each, every pair `repeats` times, perhaps with an injection in `doc_b`."""

    sample_queries: int | None  # so many dev, then train queries; None: all queries with all their pairs
    repeats: int  # times that each pair is asked
    injection: str | None  # a prompt injection that ends the text of each doc_b, to see how far it sways; None: none

    def __post_init__(self) -> None:
        if self.repeats < 1 or (self.sample_queries is not None and self.sample_queries < 1):
            raise BadInput(
                f"judge: design.repeats={self.repeats} and design.sample_queries={self.sample_queries} must be 1 or more"
                " (sample_queries may be null)."
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


def triads(edges: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[3 T, 2]: the three pairs of three documents for each query that has so many, two of them from its graph.

    Whether three preferences agree shows in three documents only, and answers about the graph's own pairs serve twice.
    """
    low, found = starts(sizes), []
    for start, end in pairwise(low):
        own = edges[(edges[:, 0] >= start) & (edges[:, 0] < end)]
        middle = np.bincount((own - start).ravel(), minlength=end - start).argmax() + start if len(own) else start
        two = own[(own == middle).any(axis=1)][:2]
        if len(two) == 2:
            found += [*two, two[two != middle]]
    return np.array(found, np.int64).reshape(-1, 2)
