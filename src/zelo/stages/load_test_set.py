"""Reads a dataset as a test set: nothing is trained on it."""

from collections import Counter
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
from zelo.records import DEV, DOCUMENT, DROPPED, QUERY, TEST, TRAIN, UNUSED
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class LoadTestSet:
    """Writes queries (QUERY) and documents (DOCUMENT). Where no query is a test query, all of them are.

    A dataset without judgements has no test queries by itself: they are what its qrels name. Beside test queries the split of
    the others becomes `unused`: their ids stay known to run files and judgements.
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
        counts = Counter(queries["split"].to_pylist())
        tested = counts.pop(TEST, 0)
        if not tested:
            tested = len(queries)
            notes.append(f"no judgements name test queries: all {tested:,} queries are the test set")
            split = pa.chunked_array([pa.repeat(TEST, tested)], pa.string())
        else:
            split = pc.if_else(pc.equal(queries["split"], TEST), TEST, UNUSED)
            others = " and ".join(f"{counts[name]:,} {name}" for name in (TRAIN, DEV) if counts[name])
            notes += [f"the test split is graded, {tested:,} queries; {others} queries are not used"] if others else []
        queries = queries.set_column(2, QUERY.field("split"), split)
        documents = corpus.documents
        if self.drop_duplicates:
            documents, dropped = without_same(documents)
            write_parquet(dropped, DROPPED, out, "dropped")
            notes.append(dropped_in_words(dropped))
        if not tested or len(documents) < 2:
            raise BadInput(
                f"The dataset has {tested} queries and {len(documents)} documents; a benchmark needs a query and"
                " two documents to compare."
            )
        write_parquet(queries, with_domain(QUERY, queries), out, "queries")
        write_parquet(documents, with_domain(DOCUMENT, documents), out, "documents")
        left = {"dropped_documents": len(corpus.documents) - len(documents)}
        return {"name": corpus.name, "rows": len(documents), "queries": {TEST: tested}, **left, "notes": notes}
