"""Scores documents with a student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import domains, passages
from zelo.backbones.nearest import chunks
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import Advance, progress
from zelo.protocols import BackboneCheck, Embedder, Executor, Model, PairwiseModel, Searcher
from zelo.ranking import own_documents, rows_of, without_own
from zelo.records import SCORED, starts
from zelo.stages.corpus_vectors import CorpusVectors
from zelo.store.liveness import half_of
from zelo.store.shards import CHECKPOINT, write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student
from zelo.units import HERE

if TYPE_CHECKING:
    from zelo.training.listwise_dataset import Lists

UNIT = 512  # queries


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

    @property
    def spreads(self) -> bool:
        """Whether it reranks, or reads the documents that it searches."""
        model = self.student.model
        return "candidates" in self.inputs or (isinstance(model, Embedder) and model.reads_documents)

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """By the queries of these splits, whether they have candidates or not; of a search by the documents."""
        if "data" not in tables:
            return None
        if "candidates" not in self.inputs:
            files = tables["data"].shards("documents")
            return len(list(chunks(sum(pq.read_metadata(file).num_rows for file in files))))
        splits = tables["data"].read("queries", ["split"])["split"]
        return -(-pc.sum(pc.is_in(splits, pc.cast(pa.array(self.splits), pa.string()))).as_py() // UNIT)

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that the model cannot be made of."""
        self.hardware.check()
        if isinstance(self.student.model, BackboneCheck):  # training tries more, and not every pipeline trains
            self.student.model.check(self.student.backbone)

    def run(self, tables: dict[str, Table], out: Path, executor: Executor = HERE) -> Facts:
        """Reranks in batches of `batch_queries`, UNIT queries a unit; a search goes through the corpus in chunks.

        These are units where the student reads the documents.
        """
        import torch

        model = self.student.model
        if "candidates" in tables:
            work = _Reranking(self, tables, out, UNIT)
            scored, own = work.together(executor)
        else:
            with torch.no_grad():
                scored, own = self._search(tables, out / CHECKPOINT, executor)
        figures: Facts = {"rows": len(scored), **own}
        if "candidates" not in tables and isinstance(model, Embedder):
            figures["bytes_per_document"] = 4 * self.student.backbone.width()
        write_parquet(scored, SCORED, out, "scored")
        return figures

    def _texts(self, tables: dict[str, Table]) -> tuple[pa.Table, pa.Table]:
        """(queries of these splits, documents)."""
        queries = tables["data"].read("queries")
        queries = queries.filter(pc.is_in(queries["split"], pc.cast(pa.array(self.splits), pa.string())))
        return queries, tables["data"].read("documents")

    def _load(self, tables: dict[str, Table]) -> Model:
        """Makes the model, where it is to run."""
        import torch

        torch.manual_seed(self.seed)
        self.student.load(tables["checkpoint"].path if "checkpoint" in tables else None)
        self.student.model.to(self.hardware.device)
        return self.student.model

    def _search(self, tables: dict[str, Table], folder: Path, executor: Executor) -> tuple[pa.Table, Facts]:
        queries, documents = self._texts(tables)
        leaves_out = own_documents(queries, documents, self.keep_own_document)
        corpora = domains.own_corpora(queries, documents) if self.spreads else ()
        read = [
            CorpusVectors(partial(self._reader, tables, number), len(corpus.documents), folder / str(number))
            for number, corpus in enumerate(corpora)
        ]
        for one in read:
            one.make(executor)
        model, vectors = cast(Searcher, self._load(tables)), iter(read)

        def find(asked: pa.Table, of: pa.Table) -> pa.Table:
            self.student.prepare(asked, of)
            made = next(vectors, None)

            def search(some: pa.Table, top_k: int) -> pa.Table:
                texts = some["text"].to_pylist()
                if made is None:
                    row, score = model.search(texts, top_k)
                else:
                    row, score = cast(Embedder, model).nearest(texts, made.parts(), top_k)
                query = np.repeat(np.arange(len(some)), row.shape[1])
                return _table(some["query_id"].take(query), of["doc_id"].take(row.ravel()), score.ravel())

            return passages.search(search, asked, of, self.top_k + leaves_out)

        found = domains.search(find, queries, documents)
        return without_own(found, queries, documents, self.top_k) if leaves_out else (found, {})

    def _reader(self, tables: dict[str, Table], number: int) -> Callable[[slice], np.ndarray]:
        """What gives the vectors of some documents of a corpus."""
        corpus = list(domains.own_corpora(*self._texts(tables)))[number]
        model = self._load(tables)
        self.student.prepare(corpus.queries, corpus.documents)
        return cast(Embedder, model).document_vectors


@dataclass(frozen=True)
class _Reranking:
    """The work of a stage with candidates: a unit is some queries, whose scores it leaves in the checkpoint folder.

    Sent elsewhere it is small, for it reads its tables and makes its model there.
    """

    stage: Score
    tables: dict[str, Table]
    out: Path
    size: int  # queries of a unit

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("stage", "tables", "out", "size")}

    def together(self, executor: Executor) -> tuple[pa.Table, Facts]:
        """(SCORED rows, what was left out), once all units have run."""
        (self.out / CHECKPOINT).mkdir(exist_ok=True)
        _, _, first, _, _, own = self._candidates
        lists = self._lists
        sizes = {n: min(self.size, len(lists) - low) for n, low in enumerate(range(0, len(lists), self.size))}
        with progress("score", len(lists), "queries") as advance:
            executor.run(self, sizes, advance, model=True)
        parts = [np.zeros(0, np.float32), *(np.load(self._file(unit), allow_pickle=False) for unit in sizes)]
        return _table(first["query_id"], first["doc_id"], np.concatenate(parts)), own

    def __call__(self, unit: int, advance: Advance) -> Facts:
        import torch

        if not (file := self._file(unit)).exists():
            low = unit * self.size
            with torch.no_grad():
                found = _scores(
                    self._model, self._lists, low, low + self.size, self.stage.batch_queries, self._device, advance
                )
            half = half_of(file)
            with half.open("wb") as opened:
                np.save(opened, found, allow_pickle=False)
            half.rename(file)
        return {}

    def _file(self, unit: int) -> Path:
        return self.out / CHECKPOINT / f"scores-{unit:05}.npy"

    @property
    def _device(self) -> str:
        return self.stage.hardware.device

    @cached_property
    def _candidates(self) -> tuple[pa.Table, pa.Table, pa.Table, np.ndarray, np.ndarray, Facts]:
        """Queries, documents, candidates in the order of the queries, their rows in both, and what was left out."""
        queries, documents = self.stage._texts(self.tables)
        given, top_k, keep = self.tables["candidates"], self.stage.top_k, self.stage.keep_own_document
        first, own = first_candidates(given, queries, documents, top_k, keep)
        row = rows_of(first["query_id"], queries["query_id"])
        first = first.take(pa.array(np.argsort(row, kind="stable")))
        return queries, documents, first, np.sort(row), rows_of(first["doc_id"], documents["doc_id"]), own

    @cached_property
    def _lists(self) -> "Lists":
        queries, _, _, query_row, doc_row, _ = self._candidates
        return _lists_of(query_row, doc_row, queries)

    @cached_property
    def _model(self) -> Model:
        queries, documents, *_ = self._candidates
        self.stage._load(self.tables)
        self.stage.student.prepare(queries, documents)
        return self.stage.student.model


def scores(
    model: Model, query_row: np.ndarray, doc_row: np.ndarray, queries: pa.Table, at_once: int, device: str
) -> np.ndarray:
    """[N] float32 scores of N pairs of a query and a document that the model has prepared.

    query_row: [N] rows of `queries`, ascending; doc_row: [N]; at_once: queries; device: of torch, where the model is.
    """
    lists = _lists_of(query_row, doc_row, queries)
    with progress("score", len(lists), "queries") as advance:
        return _scores(model, lists, 0, len(lists), at_once, device, advance)


def _lists_of(query_row: np.ndarray, doc_row: np.ndarray, queries: pa.Table) -> "Lists":
    from zelo.training.listwise_dataset import Lists

    places, sizes = np.unique(query_row, return_counts=True)
    blank = np.zeros(len(doc_row), np.float32)
    return Lists(queries["text"].take(pa.array(places)).to_pylist(), starts(sizes), doc_row, blank, blank, places)


def _scores(
    model: Model, lists: "Lists", begin: int, end: int, at_once: int, device: str, advance: Advance
) -> np.ndarray:
    """Scores of the lists from `begin` to `end`, `at_once` of them in a batch."""
    end = min(end, len(lists))
    start = lists.offsets[begin]
    found = np.zeros(lists.offsets[end] - start, np.float32)
    for low in range(begin, end, at_once):
        rows = np.arange(low, min(low + at_once, end))
        batch = lists.batch(rows, None, model.collate)
        made = model({key: value.to(device) for key, value in batch.items()})
        part = slice(lists.offsets[low] - start, lists.offsets[rows[-1] + 1] - start)
        found[part] = made.float().cpu()[batch["mask"]].numpy()
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
