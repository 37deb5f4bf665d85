"""Judgements of train queries, for a second pass over what the first one got wrong; nothing else is trained on labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import pyarrow.compute as pc

from zelo.domains import known_documents
from zelo.duplicates import labels_of_kept
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset, TrainJudged
from zelo.records import DROPPED, QREL, TRAIN
from zelo.store.shards import write_parquet
from zelo.store.table import Table

WITHOUT = "use pipeline=refine_without_labels, which asks where the students disagree (acquisition=disagreement)"


@dataclass(frozen=True, kw_only=True)
class TrainLabels:
    """Writes qrels (QREL) of train queries. Judgements of dev and test queries are not opened, whatever file names them."""

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]  # data: load
    dataset: Dataset  # with judgements of train queries, a TrainJudged

    def content(self) -> dict[str, str]:
        """The judgements. Raises BadInput where there are none, and naming the file and the line."""
        found = self.dataset.train_qrels_content() if isinstance(self.dataset, TrainJudged) else None
        if found is None:
            raise BadInput(
                f"dataset={type(self.dataset).__name__.lower()} has no judgements of train queries, and this second pass looks"
                f" for failures with them. Write qrels/train.tsv of a dataset=beir, or {WITHOUT}."
            )
        return {"qrels": found}

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a judgement that cannot be used, and where no train query has a positive one."""
        data = tables["data"]
        queries = data.read("queries")
        dropped = data.read("dropped") if data.has("dropped") else DROPPED.empty_table()
        known = known_documents(data, dropped)
        qrels, notes = cast(TrainJudged, self.dataset).train_qrels(queries, known)
        train = queries.filter(pc.equal(queries["split"], TRAIN))["query_id"]
        qrels = qrels.filter(pc.is_in(qrels["query_id"], train.combine_chunks()))
        if not pc.any(pc.greater(qrels["relevance"], 0)).as_py():
            raise BadInput(f"train labels: no train query has a document with a label above 0. Add some, or {WITHOUT}.")
        qrels, moved = labels_of_kept(qrels, dropped)
        write_parquet(qrels, QREL, out, "qrels")
        return {"rows": len(qrels), "notes": [*notes, *moved]}
