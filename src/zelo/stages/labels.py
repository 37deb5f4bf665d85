"""Keeps the judgements apart from all that is made without them, so that a corrected label changes nothing but the measure."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow.compute as pc

from zelo.domains import known_documents
from zelo.duplicates import labels_of_kept
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset
from zelo.records import DROPPED, DUPLICATE, QREL
from zelo.store.shards import write_parquet
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Writes qrels (QREL). Evaluate and audit measure by them, the data card counts them, nothing else reads them.

    They are checked before anything costly runs.
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]  # data: load
    dataset: Dataset

    def content(self) -> dict[str, str]:
        """The judgements, which the dataset's own content leaves out. Raises BadInput naming the file and the line."""
        return {"qrels": self.dataset.qrels_content()}

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput naming the file and the line of a judgement that cannot be used."""
        data = tables["data"]
        queries = data.read("queries")
        dropped = data.read("dropped") if data.has("dropped") else DROPPED.empty_table()
        qrels, notes = self.dataset.judgements(queries, known_documents(data, dropped))
        unused = queries.filter(pc.equal(queries["split"], DUPLICATE))["query_id"].combine_chunks()
        used = pc.invert(pc.is_in(qrels["query_id"], unused))
        if lost := len(qrels) - (pc.sum(used).as_py() or 0):
            notes = (*notes, f"{lost} of {len(qrels)} judgements are of duplicate queries and left out")
            qrels = qrels.filter(used)
        qrels, moved = labels_of_kept(qrels, dropped)
        for split in pc.unique(qrels["split"]).to_pylist():
            labels = qrels.filter(pc.equal(qrels["split"], split))["relevance"]
            if not pc.any(pc.greater(labels, 0)).as_py():
                raise BadInput(
                    f"labels: none of the {len(labels)} {split} judgements is above 0, so nothing can be measured by them. Judge"
                    " a relevant document 1 or more, or leave these judgements out."
                )
        write_parquet(qrels, QREL, out, "qrels")
        return {"rows": len(qrels), "notes": [*notes, *moved]}
