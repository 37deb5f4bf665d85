"""Scores documents with a student."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import domains, passages
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import progress
from zelo.protocols import BackboneCheck, Embedder, Model, PairwiseModel, Searcher
from zelo.ranking import own_documents, rows_of, without_own
from zelo.records import SCORED, starts
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student


@dataclass(frozen=True, kw_only=True)
class Score:
    """Writes scored documents (SCORED) for the queries of these splits.

    With `candidates` among its inputs it scores the first `top_k` of those, else it searches the corpus (of the query's domain,
    where documents have domains) for the best `top_k`. Without `checkpoint` the model is the untuned one. A document with the
    query's own id is left out unless `keep_own_document`.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = OF_TRAINING | {"hardware"}

    inputs: dict[str, str]  # data; optional: checkpoint (a train stage), candidates (retrieve or score)
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
        model.to(self.hardware.device)
        with torch.no_grad():
            if "candidates" in tables:
                self.student.prepare(queries, documents)
                first, own = first_candidates(
                    tables["candidates"], queries, documents, self.top_k, self.keep_own_document
                )
                row = rows_of(first["query_id"], queries["query_id"])
                first = first.take(pa.array(np.argsort(row, kind="stable")))
                doc_row = rows_of(first["doc_id"], documents["doc_id"])
                found = scores(model, np.sort(row), doc_row, queries, self.batch_queries, self.hardware.device)
                scored = _table(first["query_id"], first["doc_id"], found)
            else:
                scored, own = self._search(cast(Searcher, model), queries, documents)
        figures: Facts = {"rows": len(scored), **own}
        if "candidates" not in tables and isinstance(model, Embedder):
            figures["bytes_per_document"] = 4 * self.student.backbone.width()
        write_parquet(scored, SCORED, out, "scored")
        return figures

    def _search(self, model: Searcher, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, Facts]:
        leaves_out = own_documents(queries, documents, self.keep_own_document)

        def find(asked: pa.Table, of: pa.Table) -> pa.Table:
            self.student.prepare(asked, of)

            def search(some: pa.Table, top_k: int) -> pa.Table:
                row, score = model.search(some["text"].to_pylist(), top_k)
                query = np.repeat(np.arange(len(some)), row.shape[1])
                return _table(some["query_id"].take(query), of["doc_id"].take(row.ravel()), score.ravel())

            return passages.search(search, asked, of, self.top_k + leaves_out)

        found = domains.search(find, queries, documents)
        return without_own(found, queries, documents, self.top_k) if leaves_out else (found, {})


def scores(
    model: Model, query_row: np.ndarray, doc_row: np.ndarray, queries: pa.Table, at_once: int, device: str
) -> np.ndarray:
    """[N] float32 scores of N pairs of a query and a document that the model has prepared.

    query_row: [N] rows of `queries`, ascending; doc_row: [N]; at_once: queries; device: of torch, where the model is.
    """
    from zelo.training.listwise_dataset import Lists

    places, sizes = np.unique(query_row, return_counts=True)
    blank = np.zeros(len(doc_row), np.float32)
    texts = queries["text"].take(pa.array(places)).to_pylist()
    lists = Lists(texts, starts(sizes), doc_row, blank, blank)
    found = np.zeros(len(doc_row), np.float32)
    with progress("score", len(lists), "queries") as advance:
        for low in range(0, len(lists), at_once):
            rows = np.arange(low, min(low + at_once, len(lists)))
            batch = lists.batch(rows, None, model.collate)
            made = model({key: value.to(device) for key, value in batch.items()})
            found[lists.offsets[low] : lists.offsets[rows[-1] + 1]] = made.float().cpu()[batch["mask"]].numpy()
            advance(len(rows))
    return found


def first_candidates(
    table: Table, queries: pa.Table, documents: pa.Table, top_k: int | None, keep_own_document: bool
) -> tuple[pa.Table, Facts]:
    """(the candidates that are scored, the best `top_k` of each query or all, what was left out).

    Those of zelo's own stages have lost the query's own document already.
    """
    scored = candidates(table)
    scored, own = scored.filter(pc.is_in(scored["query_id"], queries["query_id"].combine_chunks())), {}
    if own_documents(queries, documents, keep_own_document):
        scored, own = without_own(scored, queries, documents, None)
    return best(scored, len(scored) if top_k is None else top_k), own if own.get("own_documents") else {}


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


def _numbers(ids: pa.ChunkedArray) -> np.ndarray:
    """[N] int32: 0 for the first id, one more for each new one."""
    return ids.combine_chunks().dictionary_encode().indices.to_numpy()


def _table(query_id: pa.ChunkedArray, doc_id: pa.ChunkedArray, score: np.ndarray) -> pa.Table:
    return pa.table({"query_id": query_id, "doc_id": doc_id, "score": score.astype(np.float32)}, schema=SCORED)
