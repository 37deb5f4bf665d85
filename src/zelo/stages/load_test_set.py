"""Reads a dataset as a test set: nothing is trained on it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset
from zelo.records import DEV, TEST, TRAIN, UNUSED
from zelo.stages.load import written
from zelo.store.table import Table


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
        split, notes = corpus.queries["split"], list(corpus.notes)
        counts = Counter(split.to_pylist())
        tested = counts[TEST] or len(split)
        if not tested:
            raise BadInput("The dataset has no queries; a benchmark needs one.")
        if counts[TEST]:
            split = pc.if_else(pc.equal(split, TEST), TEST, UNUSED)
            others = " and ".join(f"{counts[name]:,} {name}" for name in (TRAIN, DEV) if counts[name])
            notes += [f"the test split is graded, {tested:,} queries; {others} queries are not used"] if others else []
        else:
            split = pa.chunked_array([pa.repeat(TEST, tested)], pa.string())
            notes.append(f"no judgements name test queries: all {tested:,} queries are the test set")
        facts = written(corpus, split, self.drop_duplicates, out)
        return facts | {"queries": {TEST: tested}, "notes": [*notes, *facts["notes"]]}
