"""BM25, a trained embedding and a trained reranker as one search: what either of the first two finds, scored by all three."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.backbones.exported import CROSS_ENCODER, loader_of
from zelo.domains import own_corpora
from zelo.errors import BadInput
from zelo.protocols import BackboneCheck, PairwiseModel, Searcher, VectorsById
from zelo.ranking import document_ids, own_documents, rows_of
from zelo.records import distinct
from zelo.retrievers.bm25 import Bm25
from zelo.stages.score import scores
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import Student


@dataclass(frozen=True)
class HybridParts:
    """The three parts with what they are asked for. Raises BadInput for a part that cannot do what it is for."""

    bm25: Bm25
    embedding: Student
    reranker: Student
    hardware: Hardware
    top_k: int  # best documents of BM25, and of the embedding
    keep_own_document: bool
    batch_queries: int  # whose documents are scored at a time

    def __post_init__(self) -> None:
        if not isinstance(self.bm25, Bm25):
            raise BadInput(f"hybrid: bm25 is {type(self.bm25).__name__}; set retriever@first_stages.bm25=bm25.")
        if not isinstance(self.embedding.model, Searcher) or isinstance(self.reranker.model, PairwiseModel):
            raise BadInput(
                f"hybrid: {type(self.embedding.model).__name__} searches and {type(self.reranker.model).__name__} reranks;"
                " it needs model=embedding for the first, and a model that scores one document for the second."
            )

    @property
    def given_texts_only(self) -> bool:
        """Whether a student knows the texts of the dataset alone."""
        return any(isinstance(one.backbone, VectorsById) for one in (self.embedding, self.reranker))

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that a model cannot be made of."""
        self.hardware.check()
        for student in (self.embedding, self.reranker):
            if isinstance(student.model, BackboneCheck):
                student.model.check(student.backbone)

    def load(self, embedding: Table, reranker: Table) -> float:
        """Loads what was trained. What the reranker's scores are divided by to be those of its export: logits stay, and a
        similarity is not scaled there.
        """
        for student, trained in ((self.embedding, embedding), (self.reranker, reranker)):
            student.load(trained.path)
            student.model.to(self.hardware.device)
        export = reranker.path / "export"
        plain = loader_of(export, f"the export {export}") == CROSS_ENCODER
        return 1.0 if plain else self.reranker.model.scale.item()

    def scored(
        self, queries: pa.Table, documents: pa.Table, given: pa.Table | None, unit: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(query row, document row, [N, 3] scores of the parts as a user's engine gives them), by query.

        given: SCORED columns of the pool; None searches. unit: of the reranker.
        """
        import torch

        with torch.no_grad():
            query, doc = self._pool(queries, documents) if given is None else _rows(given, queries, documents)
            for student in (self.embedding, self.reranker):
                student.prepare(queries, documents)
            if own_documents(queries, documents, self.keep_own_document):
                own = pc.equal(queries["query_id"].take(query), document_ids(documents).take(doc)).to_numpy()
                query, doc = query[~own], doc[~own]
            model, how = self.embedding.model, (self.batch_queries, self.hardware.device)
            cosine = scores(model, query, doc, queries, *how) / model.scale.item()
            reranked = scores(self.reranker.model, query, doc, queries, *how) / unit
        words = self.bm25.score(queries, documents, query, doc)
        return query, doc, np.stack([words, cosine, reranked], axis=1)

    def _pool(self, queries: pa.Table, documents: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """What either of the two finds."""
        top_k = self.top_k + own_documents(queries, documents, self.keep_own_document)
        keys = []
        for part in own_corpora(queries, documents):
            self.embedding.prepare(part.queries, part.documents)
            for search in (self._by_words(part.documents), self._by_vectors(part.documents)):
                found = passages.search(search, part.queries, part.documents, top_k)
                query, doc = _rows(found, queries, documents)
                keys.append(query * len(documents) + doc)
        return np.divmod(distinct(np.concatenate(keys)), len(documents))

    def _by_words(self, documents: pa.Table) -> passages.Search:
        return lambda asked, depth: self.bm25.search(asked, documents, depth)

    def _by_vectors(self, documents: pa.Table) -> passages.Search:
        """documents: those that the embedding has prepared."""

        def search(asked: pa.Table, depth: int) -> pa.Table:
            model = cast(Searcher, self.embedding.model)
            near, _ = model.search(asked["text"].to_pylist(), min(depth, len(documents)))
            query = np.repeat(np.arange(len(asked)), near.shape[1])
            return pa.table(
                [asked["query_id"].take(query), documents["doc_id"].take(near.ravel())], names=["query_id", "doc_id"]
            )

        return search


def _rows(found: pa.Table, queries: pa.Table, documents: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two tables, by query; other queries are left out."""
    query, doc = rows_of(found["query_id"], queries["query_id"]), rows_of(found["doc_id"], documents["doc_id"])
    order = np.lexsort((doc, query))
    order = order[query[order] >= 0]
    return query[order], doc[order]
