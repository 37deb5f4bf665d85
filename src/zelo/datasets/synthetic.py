"""Queries and documents that say nothing, in any number: for judges that know the true scores, and for timing."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.records import DEV, DOCUMENT, QREL, QUERY, TEST, TRAIN, Corpus
from zelo.store.hashing import hash_json

_HELD_BACK = 20  # every twentieth query is for dev, the one after it for test


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """`queries` queries and `documents` documents whose texts are their names. Nobody has judged any: judge=simulated knows."""

    queries: int
    documents: int

    def __post_init__(self) -> None:
        if self.queries < 1 or self.documents < 2:
            raise BadInput(
                f"dataset=synthetic: queries={self.queries}, documents={self.documents}; it needs a query and two documents."
            )

    def content(self) -> dict[str, str]:
        """Nothing beyond its fields."""
        return {}

    def load(self) -> Corpus:
        """Queries q0, q1, ... and documents d0, d1, ...; 18 of 20 queries are for training."""
        place = np.arange(self.queries) % _HELD_BACK
        code = np.where(place == _HELD_BACK - 2, 1, np.where(place == _HELD_BACK - 1, 2, 0)).astype(np.int32)
        split = pa.DictionaryArray.from_arrays(pa.array(code), pa.array([TRAIN, DEV, TEST])).cast(pa.string())
        query_id, doc_id = _names("q", self.queries), _names("d", self.documents)
        empty = pa.repeat("", self.documents)
        return Corpus(
            queries=pa.table([query_id, _texts("query", self.queries), split], schema=QUERY),
            documents=pa.table([doc_id, empty, _texts("document", self.documents)], schema=DOCUMENT),
            name="synthetic",
        )

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """None."""
        return QREL.empty_table(), ()

    def qrels_content(self) -> str:
        """Hash of no judgements."""
        return hash_json([])


def _names(letter: str, count: int) -> pa.Array:
    return pc.binary_join_element_wise(letter, pa.array(np.arange(count)).cast(pa.string()), "")


def _texts(word: str, count: int) -> pa.Array:
    return pc.binary_join_element_wise(word, pa.array(np.arange(count)).cast(pa.string()), " ")
