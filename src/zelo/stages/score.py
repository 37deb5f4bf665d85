"""Scores documents with a student."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.agreement import CUTOFF, agreement
from zelo.progress import progress
from zelo.protocols import BackboneCheck, Embedder, Model, PairwiseModel, Searcher
from zelo.ranking import own_documents, without_own
from zelo.records import DEV, SCORED, starts
from zelo.store import Table, write_parquet
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the candidates' own scores: from the student alone to the plain sum


@dataclass(frozen=True, kw_only=True)
class Score:
    """Writes scored documents (SCORED) for the queries of these splits.

    With `candidates` among its inputs it scores the first `top_k` of those, else it searches the whole corpus for the best
    `top_k`. Without `checkpoint` the model is the untuned one. With `examples` the student's scores are either used alone or
    added to those of the candidates, both standardised per query: whichever ranks the dev queries better against judge
    ratings, no human labels. A document with the query's own id is left out unless `keep_own_document`.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = OF_TRAINING | {"hardware"}

    inputs: dict[
        str, str
    ]  # data; optional: checkpoint (a train stage), candidates (retrieve or score), examples (target)
    student: Student  # its model is a Searcher where there are no candidates
    hardware: Hardware
    splits: list[str]
    top_k: int
    keep_own_document: bool
    batch_queries: int  # whose candidates are scored at a time
    seed: int  # of a head that the backbone lacks: the untuned model is where training with this seed begins

    def __post_init__(self) -> None:
        if isinstance(self.student.model, PairwiseModel):
            raise BadInput(
                f"score: {type(self.student.model).__name__} compares two documents and has no score for one. Let it judge"
                " (judge=student), and take model=pointwise here."
            )
        if "candidates" not in self.inputs and not isinstance(self.student.model, Searcher):
            raise BadInput(
                f"score: {type(self.student.model).__name__} cannot search a corpus, only rerank candidates. Use"
                " model=embedding here, or name the candidates among the stage's inputs."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that the model cannot be made of."""
        self.hardware.check()
        if isinstance(self.student.model, BackboneCheck):  # training tries more, and not every pipeline trains
            self.student.model.check(self.student.backbone)

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Reranks in batches of `batch_queries`; a search goes through the corpus in chunks."""
        import torch

        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        queries = queries.filter(pc.is_in(queries["split"], pc.cast(pa.array(self.splits), pa.string())))
        torch.manual_seed(self.seed)
        model = self.student.model
        self.student.load(tables["checkpoint"].path if "checkpoint" in tables else None)
        self.student.prepare(queries, documents)
        model.to(self.hardware.device)
        with torch.no_grad():
            if "candidates" in tables:
                first, own = self._first(tables["candidates"], queries, documents)
                scored = self._rerank(model, first, queries, documents)
            else:
                first, (scored, own) = None, self._search(cast(Searcher, model), queries, documents)
        figures: Facts = {"rows": len(scored), **own}
        if "candidates" not in tables and isinstance(model, Embedder):
            figures["bytes_per_document"] = 4 * self.student.backbone.width()
        if "examples" in tables and first is not None:
            scored, choice = blend(scored, first, tables["examples"].read("examples"))
            figures |= choice
        write_parquet(scored, SCORED, out, "scored")
        return figures

    def _search(self, model: Searcher, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, Facts]:
        leaves_out = own_documents(queries, documents, self.keep_own_document)
        row, score = model.search(queries["text"].to_pylist(), self.top_k + leaves_out)
        query = np.repeat(np.arange(len(queries)), row.shape[1])
        found = _table(queries["query_id"].take(query), documents["doc_id"].take(row.ravel()), score.ravel())
        return without_own(found, queries, documents, self.top_k) if leaves_out else (found, {})

    def _first(self, table: Table, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, Facts]:
        """The candidates that are scored; those of zelo's own stages have lost the query's own document already."""
        scored = candidates(table)
        scored, own = scored.filter(pc.is_in(scored["query_id"], queries["query_id"].combine_chunks())), {}
        if own_documents(queries, documents, self.keep_own_document):
            scored, own = without_own(scored, queries, documents, None)
        return best(scored, self.top_k), own if own.get("own_documents") else {}

    def _rerank(self, model: Model, pool: pa.Table, queries: pa.Table, documents: pa.Table) -> pa.Table:
        from zelo.training.listwise_dataset import Lists

        row = pc.index_in(pool["query_id"], queries["query_id"].combine_chunks())
        pool = pool.append_column("row", row).sort_by("row")
        blank = pa.array(np.zeros(len(pool), np.float32))
        lists = Lists.of(pool.append_column("target", blank).append_column("weight", blank), queries, documents)
        scores = np.zeros(len(lists.doc_rows), np.float32)
        with progress("score", len(lists), "queries") as advance:
            for low in range(0, len(lists), self.batch_queries):
                rows = np.arange(low, min(low + self.batch_queries, len(lists)))
                batch = lists.batch(rows, None, model.collate)
                found = model({key: value.to(self.hardware.device) for key, value in batch.items()})
                scores[lists.offsets[low] : lists.offsets[rows[-1] + 1]] = found.float().cpu()[batch["mask"]].numpy()
                advance(len(rows))
        return _table(pool["query_id"], pool["doc_id"], scores)


def candidates(table: Table) -> pa.Table:
    """SCORED columns of a retrieve or score stage's table, whichever it is."""
    name = "scored" if table.has("scored") else "candidates"
    return table.read(name, ["query_id", "doc_id", "score"])


def best(scored: pa.Table, top_k: int) -> pa.Table:
    """The `top_k` best rows of each query, ties by doc_id."""
    ordered = scored.sort_by([("query_id", "ascending"), ("score", "descending"), ("doc_id", "ascending")])
    sizes = np.bincount(_numbers(ordered["query_id"]))
    rank = np.arange(len(ordered)) - starts(sizes)[:-1].repeat(sizes)
    return ordered.filter(pa.array(rank < top_k))


def blend(scored: pa.Table, first: pa.Table, examples: pa.Table) -> tuple[pa.Table, Facts]:
    """The scores alone, or their sum with the candidates' own, by the weight that is best on dev against judge ratings.

    Both are standardised per query first (a convex combination, as in Bruch et al., TOIS 2023); ties go to less of a mixture.
    """
    order = [("query_id", "ascending"), ("doc_id", "ascending")]
    scored, first = scored.sort_by(order), first.sort_by(order)
    first = first.filter(pc.is_in(first["query_id"], pc.unique(scored["query_id"].combine_chunks())))
    query = _numbers(scored["query_id"])
    own, theirs = (standardised(table["score"].to_numpy().astype(np.float64), query) for table in (scored, first))
    dev = examples.filter(pc.equal(examples["split"], DEV))
    mixed = [_table(scored["query_id"], scored["doc_id"], (1 - w) * own + w * theirs) for w in WEIGHTS]
    values = [float(np.mean(list(agreement(run, dev, CUTOFF).values()))) for run in mixed]
    chosen = int(np.argmax(values))
    facts = {"first_stage_weight": WEIGHTS[chosen], "dev_agreement": dict(zip(map(str, WEIGHTS), values, strict=True))}
    return mixed[chosen], facts


def _numbers(ids: pa.ChunkedArray) -> np.ndarray:
    """[N] int32: 0 for the first id, one more for each new one."""
    return ids.combine_chunks().dictionary_encode().indices.to_numpy()


def standardised(score: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Scores minus their group's mean, over its standard deviation; 0 in a group without any."""
    count = np.bincount(group)
    centred = score - (np.bincount(group, weights=score) / count)[group]
    deviation = np.sqrt(np.bincount(group, weights=centred**2) / count)
    return centred / np.where(deviation > 0, deviation, 1.0)[group]


def _table(query_id: pa.ChunkedArray, doc_id: pa.ChunkedArray, score: np.ndarray) -> pa.Table:
    return pa.table({"query_id": query_id, "doc_id": doc_id, "score": score.astype(np.float32)}, schema=SCORED)
