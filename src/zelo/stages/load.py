"""Reads the documents and queries of the dataset once and keeps them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from zelo.errors import BadInput
from zelo.protocols import Dataset
from zelo.records import DOCUMENT, QUERY, SPLITS, TRAIN
from zelo.store import Table, write_parquet


@dataclass(frozen=True, kw_only=True)
class Load:
    """Writes queries (QUERY) and documents (DOCUMENT)."""

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]
    dataset: Dataset

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Raises BadInput when no query is left to train on, or there are fewer than two documents."""
        corpus = self.dataset.load()
        splits = corpus.queries["split"].to_pylist()
        counts = {split: splits.count(split) for split in SPLITS}
        if not counts[TRAIN]:
            raise BadInput(f"The dataset has no train queries ({counts}); add unlabelled queries to learn from.")
        if len(corpus.documents) < 2:
            raise BadInput(f"The dataset has {len(corpus.documents)} documents; at least two are needed to compare.")
        write_parquet(corpus.queries, QUERY, out, "queries")
        write_parquet(corpus.documents, DOCUMENT, out, "documents")
        return {
            "name": corpus.name,
            "rows": len(corpus.documents),
            "queries": counts,
            "notes": list(corpus.notes),
        }
