"""Weighs judges without labels: by how they rank documents for sentences that were taken out of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import logit

from zelo import judge_weights, known_items, protocols
from zelo.asking import Panel
from zelo.domains import learned_from
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.agreement import CUTOFF
from zelo.pools import Pools
from zelo.protocols import Retriever
from zelo.ranking import rows_of
from zelo.records import WEIGHT, Questions
from zelo.store.shards import write_parquet
from zelo.store.table import Table

TOP_K = 100  # candidates that an item's document must be among
OTHERS = 20  # of them that it is held against: a language model can be asked about so many
EDGE = 1e-6  # preferences nearer than this to 0 or 1 count as at this distance


@dataclass(frozen=True, kw_only=True)
class KnownItems:
    """Writes weights (WEIGHT): what each judge's answers count for wherever answers are averaged, 1 on average.

    A title or a sentence of a document is the query, the document without it the one answer, and the judges compare it with
    some of the others that the retriever finds. `judge_weights.learned` says what they are worth by their answers. All count 1
    where there are fewer than two judges, and where one knows given queries only or costs money.
    """

    inputs: dict[str, str]  # data: the load stage
    judge: protocols.Judge | protocols.PaidJudge
    retriever: Retriever
    items: int  # titles and sentences; 0: equal weights
    documents: int  # that they are taken from, and searched among
    seed: int

    def __post_init__(self) -> None:
        if self.items < 0 or self.documents < 2:
            raise BadInput(
                f"known_items: items={self.items}, documents={self.documents}; items must be at least 0 (equal weights),"
                " documents at least 2."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Asks each judge about each item once."""
        panel = Panel(self.judge, self.seed)
        names, unable = list(panel.members), panel.given_queries_only
        if 0 < len(unable) < len(names) and self.items:
            return write_equal(out, names, f"equal, as known items cannot be asked of {', '.join(unable)}")
        if not self.items or not panel.weighable:
            return write_equal(out, names, None)
        made = known_items.Items.of(learned_from(tables["data"]), self.items, self.documents, self.seed)
        return write_learned(out, names, self._asked(made, panel), len(made.documents))

    def _asked(self, made: known_items.Items, panel: Panel) -> np.ndarray:
        """[I, K, M] log odds for the document against others, inf beyond; of the items whose document is a candidate.

        The others are drawn from all candidates, which leaves the weights unbiased (McFadden 1978); the best ones would stand
        for what the retriever itself takes for relevant.
        """
        item, other, usable = candidates(made, self.retriever)
        drawn = np.random.default_rng(self.seed).permutation(len(item))
        drawn = drawn[np.argsort(item[drawn], kind="stable")]  # item by item
        drawn = drawn[usable[drawn]]
        place = np.arange(len(drawn)) - np.searchsorted(item[drawn], item[drawn])
        kept = drawn[place < OTHERS]
        odds = asked(made, panel, item[kept], other[kept])
        return odds[np.isfinite(odds).any((1, 2))]


def candidates(made: known_items.Items, retriever: Retriever) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([C] items, [C] rows of the documents that the retriever finds for them, [C] bool); the last is true for documents other
    than the answer, of items whose answer is found, too.
    """
    pool = retriever.search(made.queries, made.documents, TOP_K)
    item, document = (
        rows_of(pool["query_id"], made.queries["query_id"]),
        rows_of(pool["doc_id"], made.documents["doc_id"]),
    )
    answer = made.wanted[item] == document
    found = np.bincount(item[answer], minlength=len(made.wanted)) > 0
    return item, document, ~answer & found[item]


def asked(
    made: known_items.Items, panel: Panel, item: np.ndarray, other: np.ndarray, pools: Pools | None = None
) -> np.ndarray:
    """[I, K, M] log odds of each judge for the answer of each item against its others, inf beyond them.

    item: [C] ascending; other: [C] rows of documents; pools: all that the judges choose from.
    """
    questions = Questions(
        queries=made.queries,
        documents=made.documents,
        query_row=item.astype(np.int32),
        a_row=made.wanted[item].astype(np.int32),
        b_row=other.astype(np.int32),
        repeat=np.zeros(len(item), np.int16),
        candidates=pools,
    )
    place = np.arange(len(item)) - np.searchsorted(item, item)
    swapped = panel.swapped(questions)
    odds = np.full((len(made.wanted), int(place.max(initial=0)) + 1, len(swapped)), np.inf)
    for number, (name, member) in enumerate(panel.members.items()):
        answers = member.compare(questions.flipped(swapped[name]))
        p = answers.p[np.argsort(answers.question, kind="stable")].astype(np.float64)
        p = np.where(swapped[name], 1 - p, p)
        # No answer is no information.
        odds[item, place, number] = np.nan_to_num(logit(np.clip(p, EDGE, 1 - EDGE)))
    return odds


def write_equal(out: Path, names: list[str], why: str | None) -> Facts:
    """Writes weights of 1. why: a note that says for which reason."""
    return _write(out, names, np.ones(len(names)), np.full(len(names), np.nan)) | {
        "items": 0,
        "notes": [f"judge weights: {why}"] if why else [],
    }


def write_learned(
    out: Path, names: list[str], odds: np.ndarray, documents: int, belief: np.ndarray | None = None
) -> Facts:
    """Writes what the judges' answers about known items say; 1 for all where there are too few.

    odds: [I, K, M]; belief: [M] how much of what known items say of a judge holds for the queries that people ask; None: all.
    """
    if len(odds) < judge_weights.FOLDS:
        few = f"{documents} documents give {len(odds)} known items"
        return write_equal(out, names, f"equal, as {few}, too few to learn from")
    found = judge_weights.learned(odds)
    weights, held_out = found.weights, found.held_out
    if belief is not None:
        weights, held_out = (one * belief / (one * belief).mean(-1, keepdims=True) for one in (weights, held_out))
        weights = np.maximum(weights.round(2), judge_weights.LEAST)
    alone = np.array([_ndcg(odds, one).mean() for one in np.eye(len(names))])
    facts = _write(out, names, weights, alone) | {
        "items": len(odds),
        "documents": documents,
        "equal": float(_ndcg(odds, np.ones(len(names))).mean()),
        "weighted": float(_ndcg(odds, held_out).mean()),
        "spread": found.spread,
    }
    return facts | {"notes": [_note(facts, names, weights, alone)]}


def _write(out: Path, names: list[str], weights: np.ndarray, alone: np.ndarray) -> Facts:
    table = pa.table([names, weights, pa.array(alone, from_pandas=True)], schema=WEIGHT)
    write_parquet(table, WEIGHT, out, "weights")
    return {"weights": {row.pop("judge"): row for row in table.to_pylist()}}


def _ndcg(odds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[I] nDCG@10 of the one answer. Another document that is as good stands before it. weights: [M] or [I, M]."""
    there = np.isfinite(odds[..., 0])
    sums = (np.where(there[..., None], odds, 0) * np.broadcast_to(weights, (len(odds), odds.shape[2]))[:, None]).sum(-1)
    rank = (there & (sums <= 0)).sum(1)
    return np.where(rank < CUTOFF, 1 / np.log2(rank + 2), 0.0)


def _note(facts: Facts, names: list[str], weights: np.ndarray, alone: np.ndarray) -> str:
    each = ", ".join(f"{name} {w:.2f} (alone {v:.3f})" for name, w, v in zip(names, weights, alone, strict=True))
    change = f"nDCG@{CUTOFF} {facts['equal']:.3f} with equal weights, {facts['weighted']:.3f} with these"
    return f"judge weights: {each}; learned from {facts['items']} known items ({change}, cross-validated)"
