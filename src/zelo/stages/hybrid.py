"""Ranks by BM25, the embedding and the reranker together, and says how, so that a search engine can do the same."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import known_items
from zelo.domains import learned_from
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.hybrid_score import PARTS, RIDGE, HybridScore, deviations, learned
from zelo.metrics.agreement import CUTOFF, agreement, judged_gains
from zelo.ranking import groups
from zelo.records import DEV, SCORED
from zelo.retrievers.bm25 import Bm25
from zelo.stages.hybrid_parts import HybridParts
from zelo.stages.score import candidates
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student

PAIR = ["query_id", "doc_id"]
ENOUGH = 30  # judged dev queries: from here on known items, which are other queries than people ask, take no part


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """Writes scored documents (SCORED) and hybrid.json: a weighted sum of BM25, the embedding's cosine and the reranker's score.

    The pool of a query is what BM25 and the embedding find, the `top_k` best of each, or the `candidates` where that is an
    input. Weights come from queries that no student has learned from: the judges' ratings of dev queries; where fewer than
    ENOUGH have any, known items, too (sentences of documents, whose answer is the document that they were taken from). No label
    is read. With few queries they stay near equal weights.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"hardware", *(f"{role}.{part}" for role in ("embedding", "reranker") for part in OF_TRAINING)}
    )

    inputs: dict[str, str]  # data; embedding, reranker: train stages; examples: target; optional: candidates
    bm25: Bm25
    embedding: Student
    reranker: Student
    hardware: Hardware
    splits: list[str]
    top_k: int
    keep_own_document: bool
    batch_queries: int  # whose documents are scored at a time
    items: int  # known items where dev queries are few; 0: none
    documents: int  # that they are taken from, and searched among
    seed: int  # of the known items

    def __post_init__(self) -> None:
        if missing := [role for role in ("data", "embedding", "reranker", "examples") if role not in self.inputs]:
            raise BadInput(
                f"hybrid: inputs name no {' and no '.join(missing)}. It needs BM25, an embedding and a reranker; a pipeline"
                " that lacks one sets stages.hybrid=null and stages.evaluate.inputs.zelo=null."
            )
        _ = self._parts  # which refuses what it cannot use
        if self.top_k < 1 or self.items < 0 or self.documents < 2:
            raise BadInput(
                f"hybrid: top_k={self.top_k}, items={self.items}, documents={self.documents}; at least 1, 0 and 2."
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
        """Scores the pools of dev queries, learns the weights from them and from known items, and ranks all splits."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        examples = tables["examples"].read("examples", ["query_id", "doc_id", "target", "split"])
        examples = examples.filter(pc.equal(examples["split"], DEV))
        wanted = pc.is_in(queries["split"], pc.cast(pa.array([*self.splits, DEV]), pa.string()))
        queries, given = queries.filter(wanted), candidates(tables["candidates"]) if "candidates" in tables else None
        unit = self._parts.load(tables["embedding"], tables["reranker"])
        query, doc, parts = self._parts.scored(queries, documents, given, unit)
        ids = queries["query_id"].take(pa.array(query)), documents["doc_id"].take(pa.array(doc))
        place, rated, gain = _rated(pa.table([*ids], names=PAIR), examples)
        known_in = learned_from(tables["data"])
        item, answer, known = self._known(known_in, unit, 0 if len(np.unique(rated)) >= ENOUGH else self.items)
        lists = np.concatenate([rated, rated.max(initial=-1) + 1 + item])
        hybrid = _hybrid_score(np.concatenate([parts[place], known]), np.concatenate([gain, answer]), lists)
        scored = pa.table([*ids, hybrid.scores(parts).astype(np.float32)], schema=SCORED)
        facts: Facts = {"queries": len(np.unique(rated)), "known_items": len(np.unique(item))}
        named = dict(zip(PARTS, parts.T, strict=True)) | {"hybrid": hybrid.scores(parts)}
        facts["dev_agreement"] = {
            name: _agreement(scored.set_column(2, SCORED.field("score"), pa.array(score.astype(np.float32))), examples)
            for name, score in named.items()
        }
        hybrid.write(out, {"pool": self.top_k, "bm25": asdict(self.bm25.of(documents)), "learned_from": facts})
        served = queries.filter(pc.is_in(queries["split"], pa.array(self.splits, pa.string())))["query_id"]
        scored = scored.filter(pc.is_in(scored["query_id"], served.combine_chunks()))
        write_parquet(scored, SCORED, out, "scored")
        learned_as = {"weights": hybrid.weights, "scales": hybrid.scales}
        return {"rows": len(scored), **learned_as, **facts, "notes": [_note(hybrid, facts)]}

    def _known(self, documents: pa.Table, unit: float, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(number of the item, whether this is its answer, [N, 3] scores) of the items whose answer is in their pool."""
        items = 0 if self._parts.given_texts_only else items
        made = known_items.Items.of(documents, items, self.documents, self.seed)
        if not len(made.wanted):
            return np.zeros(0, np.int64), np.zeros(0), np.zeros((0, len(PARTS)))
        item, doc, parts = self._parts.scored(made.queries, made.documents, None, unit)
        answer = (made.wanted[item] == doc).astype(np.float64)
        found = np.bincount(item, answer)[item] > 0
        return item[found], answer[found], parts[found]


def _agreement(table: pa.Table, examples: pa.Table) -> float:
    return float(np.mean(list(agreement(table, examples, CUTOFF).values()) or [0.0]))


def _rated(table: pa.Table, examples: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `table` that judges have rated, with the number of their query and their gain, by query.

    A gain is the chance that the document is the relevant one; queries whose ratings are all equal are left out.
    """
    keys = ["query_id", "doc_id"]
    numbered = table.select(keys).append_column("place", pa.array(np.arange(len(table))))
    found = numbered.join(examples.select([*keys, "target"]), keys, join_type="inner").sort_by("place")
    place, target = found["place"].to_numpy(), found["target"].to_numpy()
    query = found["query_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    gain = np.zeros(len(place))
    for _, rows in groups(query, place):
        gain[rows] = judged_gains(target[None, rows], np.ones((1, len(rows)), bool))[0]
    differ = np.bincount(query, gain)[query] > 0 if len(query) else np.zeros(0, bool)
    return place[differ], query[differ], gain[differ]


def _hybrid_score(parts: np.ndarray, gain: np.ndarray, query: np.ndarray) -> HybridScore:
    """Learned, and rounded, so that no digit hangs on the machine's sums. parts: [N, 3]; gain, query: [N]."""
    scales = [float(f"{scale:.4g}") for scale in deviations(parts, query)]
    weights = learned(parts / scales, gain, query, RIDGE).round(3)
    return HybridScore(dict(zip(PARTS, weights.tolist(), strict=True)), dict(zip(PARTS, scales, strict=True)))


def _note(hybrid: HybridScore, facts: Facts) -> str:
    each = ", ".join(f"{name} {weight:.3f}" for name, weight in hybrid.weights.items())
    items = f" and {facts['known_items']} known items" * (facts["known_items"] > 0)
    learned_from = f"judge ratings of {facts['queries']} dev queries{items}"
    return f"hybrid: weights {each}; learned from {learned_from}, no human labels"
