"""Weighs judges without labels: by how they rank documents for sentences that were taken out of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import logit

from zelo import judge_weights, known_items, protocols
from zelo.asking import Panel
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.agreement import CUTOFF
from zelo.protocols import Retriever
from zelo.ranking import rows_of
from zelo.records import WEIGHT, Questions
from zelo.store import Table, write_parquet

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
        weights, alone, facts = np.ones(len(names)), np.full(len(names), np.nan), {"items": 0, "notes": []}
        if 0 < len(unable) < len(names) and self.items:
            facts["notes"] = [f"judge weights: equal, as known items cannot be asked of {', '.join(unable)}"]
        elif self.items and panel.weighable:
            made = known_items.Items.of(tables["data"].read("documents"), self.items, self.documents, self.seed)
            odds = self._asked(made, panel)
            if len(odds) < judge_weights.FOLDS:
                few = f"{len(made.documents)} documents give {len(odds)} known items"
                facts["notes"] = [f"judge weights: equal, as {few}, too few to learn from"]
            else:
                found = judge_weights.learned(odds)
                weights, one = found.weights, np.eye(len(names))
                alone = np.array([_ndcg(odds, judge).mean() for judge in one])
                facts |= {
                    "items": len(odds),
                    "documents": len(made.documents),
                    "equal": float(_ndcg(odds, np.ones(len(names))).mean()),
                    "weighted": float(_ndcg(odds, found.held_out).mean()),
                    "spread": found.spread,
                }
                facts["notes"] = [_note(facts, names, weights, alone)]
        table = pa.table([names, weights, pa.array(alone, from_pandas=True)], schema=WEIGHT)
        write_parquet(table, WEIGHT, out, "weights")
        return facts | {"weights": {row.pop("judge"): row for row in table.to_pylist()}}

    def _asked(self, made: known_items.Items, panel: Panel) -> np.ndarray:
        """[I, K, M] log odds for the document against others, inf beyond; of the items whose document is a candidate.

        The others are drawn from all candidates, which leaves the weights unbiased (McFadden 1978); the best ones would stand
        for what the retriever itself takes for relevant.
        """
        pool = self.retriever.search(made.queries, made.documents, TOP_K)
        query, document = (
            rows_of(pool["query_id"], made.queries["query_id"]),
            rows_of(pool["doc_id"], made.documents["doc_id"]),
        )
        answer = made.wanted[query] == document
        found = np.bincount(query[answer], minlength=len(made.wanted)) > 0
        drawn = np.random.default_rng(self.seed).permutation(len(query))
        drawn = drawn[np.argsort(query[drawn], kind="stable")]  # query by query
        drawn = drawn[(~answer & found[query])[drawn]]
        place = np.arange(len(drawn)) - np.searchsorted(query[drawn], query[drawn])
        asked, place = drawn[place < OTHERS], place[place < OTHERS]
        questions = Questions(
            queries=made.queries,
            documents=made.documents,
            query_row=query[asked].astype(np.int32),
            a_row=made.wanted[query[asked]].astype(np.int32),
            b_row=document[asked].astype(np.int32),
            repeat=np.zeros(len(asked), np.int16),
        )
        swapped = panel.swapped(questions)
        odds = np.full((len(made.wanted), OTHERS, len(swapped)), np.inf)
        for number, (name, member) in enumerate(panel.members.items()):
            answers = member.compare(questions.flipped(swapped[name]))
            p = answers.p[np.argsort(answers.question, kind="stable")].astype(np.float64)
            p = np.where(swapped[name], 1 - p, p)
            # No answer is no information.
            odds[query[asked], place, number] = np.nan_to_num(logit(np.clip(p, EDGE, 1 - EDGE)))
        return odds[np.isfinite(odds).any((1, 2))]


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
