"""Finds with the hybrid what the first stage did not, for the judges to compare in one more round."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import known_items
from zelo.domains import learned_from
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.hybrid_score import FILE, HybridScore
from zelo.protocols import NOTHING_TO_DO, FileRetriever, Retriever
from zelo.ranking import document_ids, rows_of
from zelo.records import CANDIDATE
from zelo.retrievers.bm25 import Bm25
from zelo.stages.hybrid_parts import HybridParts
from zelo.store.shards import write_shard
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student

ROLES = ("data", "candidates", "embedding", "reranker", "hybrid")


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """Writes candidates (CANDIDATE): what of the hybrid's `top_k` best is no candidate yet, in shards of the same queries.

    First known items are asked (sentences of documents, whose answer is the document that they were taken from): where the
    hybrid has no larger share of the answers among its `top_k` than the first stage, its documents are no better a pool, and
    what follows is left out.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"hardware", *(f"{role}.{part}" for role in ("embedding", "reranker") for part in OF_TRAINING)}
    )

    inputs: dict[str, str]  # data; candidates: retrieve; embedding, reranker: train stages; hybrid: what ranks by them
    retriever: Retriever  # that the candidates come from
    bm25: Bm25
    embedding: Student
    reranker: Student
    hardware: Hardware
    splits: list[str]  # whose queries get new candidates
    top_k: int
    keep_own_document: bool
    batch_queries: int  # whose documents are scored at a time
    items: int  # known items; 0: none is asked, and nothing is left out for them
    documents: int  # that they are taken from, and searched among
    seed: int  # of the known items

    def __post_init__(self) -> None:
        if missing := [role for role in ROLES if role not in self.inputs]:
            raise BadInput(f"refresh: inputs name no {' and no '.join(missing)}; it reads {', '.join(ROLES)}.")
        if self.top_k < 1 or self.items < 0 or self.documents < 2:
            raise BadInput(
                f"refresh: top_k={self.top_k}, items={self.items}, documents={self.documents}; at least 1, 0 and 2."
            )
        if self.items and (self._parts.given_texts_only or isinstance(self.retriever, FileRetriever)):
            raise BadInput(
                "refresh: known items cannot be asked, since a student or the retriever knows the queries of the dataset alone."
                " Set refresh.items=0 to judge what the hybrid finds without asking them."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there, and for a backbone that a model cannot be made of."""
        self._parts.check()

    @property
    def _parts(self) -> HybridParts:
        return HybridParts(
            self.bm25,
            self.embedding,
            self.reranker,
            self.hardware,
            self.top_k,
            self.keep_own_document,
            self.batch_queries,
        )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Known items, then the queries."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        unit = self._parts.load(tables["embedding"], tables["reranker"])
        hybrid = HybridScore.read(tables["hybrid"].path / FILE)[0]
        known, words = (
            self._known(learned_from(tables["data"]), hybrid, unit) if self.items else ({}, "no known item is asked")
        )
        if known and known["hybrid"] <= known["candidates"]:
            return {"rows": 0, "known": known, NOTHING_TO_DO: True, "notes": [f"refresh: left out, {words}"]}
        queries = queries.filter(pc.is_in(queries["split"], pa.array(self.splits, pa.string())))
        query, doc, rank, score = self._best(queries, documents, hybrid, unit)
        home = _documents(documents)
        rows = asked = 0
        for number, file in enumerate(tables["candidates"].shards("candidates")):
            there = pq.read_table(file, columns=["query_id", "doc_id"])
            row = rows_of(there["query_id"], queries["query_id"])
            key = row * len(documents) + home[rows_of(there["doc_id"], documents["doc_id"])]
            new = np.isin(query, row) & ~np.isin(query * len(documents) + home[doc], key[row >= 0])
            ids = queries["query_id"].take(pa.array(query[new])), documents["doc_id"].take(pa.array(doc[new]))
            write_shard(pa.table([*ids, rank[new], score[new]], CANDIDATE.names), CANDIDATE, out, "candidates", number)
            rows, asked = rows + int(new.sum()), asked + len(np.unique(query[new]))
        left_out: Facts = {} if rows else {NOTHING_TO_DO: True}
        found = f"{rows:,} documents of {asked:,} queries are new" if rows else "left out, nothing that it finds is new"
        return {"rows": rows, "queries": asked, "known": known, **left_out, "notes": [f"refresh: {found}; {words}"]}

    def _known(self, documents: pa.Table, hybrid: HybridScore, unit: float) -> tuple[Facts, str]:
        """Share of known items whose answer each of the two has among its best, and both in words."""
        made = known_items.Items.of(documents, self.items, self.documents, self.seed)
        if not len(made.wanted):
            return {
                "items": 0,
                "hybrid": 0.0,
                "candidates": 0.0,
            }, "the documents give no known item that could speak for it"
        item, doc, _, _ = self._best(made.queries, made.documents, hybrid, unit)
        pool = self.retriever.search(made.queries, made.documents, self.top_k)
        first = rows_of(pool["query_id"], made.queries["query_id"]), rows_of(pool["doc_id"], made.documents["doc_id"])
        share = {
            name: float((made.wanted[query] == found).sum() / len(made.wanted))
            for name, (query, found) in (("hybrid", (item, doc)), ("candidates", first))
        }
        words = (
            f"of {len(made.wanted)} known items the hybrid has {share['hybrid']:.3f} among its {self.top_k} best, the first"
            f" stage {share['candidates']:.3f}"
        )
        return {"items": len(made.wanted), **share}, words

    def _best(
        self, queries: pa.Table, documents: pa.Table, hybrid: HybridScore, unit: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(query row, document row, rank, score) of the hybrid's `top_k` for each query, best first, a document once."""
        query, doc, parts = self._parts.scored(queries, documents, None, unit)
        score = hybrid.scores(parts)
        order = np.lexsort((doc, -score, query))
        _, first = np.unique((query * len(documents) + _documents(documents)[doc])[order], return_index=True)
        order = order[np.sort(first)]
        query, doc, score = query[order], doc[order], score[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        kept = rank < self.top_k
        return query[kept], doc[kept], rank[kept], score[kept]


def _documents(documents: pa.Table) -> np.ndarray:
    """[N] one number for all passages of a document. documents: DOCUMENT or PASSAGE."""
    return document_ids(documents).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
