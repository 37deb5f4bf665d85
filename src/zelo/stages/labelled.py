"""The candidates of the train queries that people have judged, the document with the highest label among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import passages
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import CANDIDATE, TRAIN
from zelo.stages.train_labels import TrainLabels
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table

LABELLED = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),  # with the highest label, the first by id where several have it
        ("relevance", pa.int32()),
        ("missing", pa.bool_()),  # the first stage did not find it
    ]
)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Writes candidates (CANDIDATE) of train queries with a positive label, and `labelled` (LABELLED): which document has it.

    A document that the first stage missed becomes the last candidate; a list that is full loses its last one for it. Of a
    document that was split, the passage among the candidates has the label; where none is there, nobody knows which passage it
    is about, and the label is left out. So is one of the document with the query's own id, unless `keep_own_document`: that one
    is no candidate.
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]  # data; labels: a stage of train labels; candidates: a retrieve stage
    top_k: int  # candidates of a list that is full
    keep_own_document: bool

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for labels of any other than train queries."""
        refuse_other_labels(stages["labels"])

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard; a query without candidates is left out."""
        qrels = tables["labels"].read("qrels")
        if not self.keep_own_document:
            qrels = qrels.filter(pc.not_equal(qrels["query_id"], qrels["doc_id"]))
        known = passages.read(tables["data"])
        found = []
        for number, file in enumerate(tables["candidates"].shards("candidates")):
            candidates = pq.read_table(file)
            candidates, labelled = _with(candidates, _best(_of_candidates(qrels, candidates, known)), self.top_k)
            write_shard(candidates, CANDIDATE, out, "candidates", number)
            found.append(labelled)
        labelled = pa.concat_tables(found)
        write_parquet(labelled, LABELLED, out, "labelled")
        return {"rows": len(labelled), "missing": pc.sum(labelled["missing"]).as_py() or 0}


def refuse_other_labels(stage: object) -> None:
    """Raises BadInput for a stage whose labels are not those of train queries alone."""
    if not isinstance(stage, (TrainLabels, Labelled)):
        raise BadInput(
            f"labels: the stage {type(stage).__name__} gives dev and test labels, which only measure; nothing may be trained on"
            " them. Name a stage of train labels, as pipeline=refine does."
        )


def _of_candidates(qrels: pa.Table, candidates: pa.Table, known: pa.Table | None) -> pa.Table:
    """QREL rows, those of documents that were split as labels of the passages among the candidates. known: PASSAGE ids."""
    if known is None:
        return qrels
    keys = ["query_id", "doc_id"]
    labels = passages.by_passage(qrels, known)
    whole = pc.is_in(labels["doc_id"], known["document_id"].combine_chunks())
    there = labels.join(candidates.select(keys), keys, join_type="left semi")
    alone = labels.filter(whole).join(candidates.select(keys), keys, join_type="left anti")
    return pa.concat_tables([there, alone])


def _best(qrels: pa.Table) -> pa.Table:
    """The row with the highest positive label of each query, ties by doc_id."""
    qrels = qrels.filter(pc.and_(pc.greater(qrels["relevance"], 0), pc.equal(qrels["split"], TRAIN)))
    qrels = qrels.sort_by([("query_id", "ascending"), ("relevance", "descending"), ("doc_id", "ascending")])
    codes = qrels["query_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return qrels.take(np.unique(codes, return_index=True)[1])


def _with(candidates: pa.Table, best: pa.Table, top_k: int) -> tuple[pa.Table, pa.Table]:
    """The candidates (CANDIDATE) of the queries of `best` with its documents among them, and LABELLED rows of these."""
    candidates = candidates.filter(pc.is_in(candidates["query_id"], best["query_id"].combine_chunks()))
    best = best.filter(pc.is_in(best["query_id"], pc.unique(candidates["query_id"])))
    query = pc.index_in(candidates["query_id"], best["query_id"].combine_chunks()).to_numpy()
    sizes = np.bincount(query, minlength=len(best))
    there = pc.equal(candidates["doc_id"], best["doc_id"].take(pa.array(query))).to_numpy()
    missing = np.bincount(query, there, len(best)) == 0
    full = sizes >= top_k
    lowest = np.full(len(best), np.inf, np.float32)
    np.minimum.at(lowest, query, candidates["score"].to_numpy())
    lost = (missing & full)[query] & (candidates["rank"].to_numpy() == sizes[query] - 1)
    added = pa.table(
        {
            "query_id": best["query_id"],
            "doc_id": best["doc_id"],
            "rank": pa.array(np.where(full, top_k - 1, sizes), pa.int32()),
            "score": lowest,
        },
        schema=CANDIDATE,
    )
    labelled = best.select(["query_id", "doc_id", "relevance"]).append_column("missing", pa.array(missing))
    kept = candidates.select(CANDIDATE.names).filter(pa.array(~lost))
    both = pa.concat_tables([kept, added.filter(pa.array(missing))])
    return both.sort_by([("query_id", "ascending"), ("rank", "ascending")]), labelled
