"""Reads a dataset as a test set: nothing is trained on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from zelo.domains import with_domain
from zelo.duplicates import dropped_in_words, without_same
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset
from zelo.records import DOCUMENT, DROPPED, TEST
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class LoadTestSet:
    """Writes the test queries (QUERY) and the documents (DOCUMENT); where no query is a test query, all of them are.

    A dataset without judgements has no test queries by itself: they are what its qrels name.
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]
    dataset: Dataset
    drop_duplicates: (
        bool  # of documents with the same title and text the first is kept; `dropped` (DROPPED) names the others
    )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when there is no query, or there are fewer than two documents."""
        corpus = self.dataset.load()
        queries, notes = corpus.queries, list(corpus.notes)
        own = queries.filter(pc.equal(queries["split"], TEST))
        if len(own):
            queries = own
        else:
            notes.append(f"no judgements name test queries: all {len(queries):,} queries are the test set")
            split = queries.schema.get_field_index("split")
            queries = queries.set_column(split, "split", pa.array([TEST] * len(queries), pa.string()))
        documents = corpus.documents
        if self.drop_duplicates:
            documents, dropped = without_same(documents)
            write_parquet(dropped, DROPPED, out, "dropped")
            notes.append(dropped_in_words(dropped))
        if not len(queries) or len(documents) < 2:
            raise BadInput(
                f"The dataset has {len(queries)} queries and {len(documents)} documents; a benchmark needs a query and"
                " two documents to compare."
            )
        write_parquet(queries, queries.schema, out, "queries")
        write_parquet(documents, with_domain(DOCUMENT, documents), out, "documents")
        left = {"dropped_documents": len(corpus.documents) - len(documents)}
        return {"name": corpus.name, "rows": len(documents), "queries": {TEST: len(queries)}, **left, "notes": notes}
