"""Weighs judges without labels: by how they rank documents for sentences that were taken out of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.optimize import minimize
from scipy.special import logit, logsumexp, softmax

from zelo import known_items, protocols
from zelo.asking import Panel
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.agreement import CUTOFF
from zelo.metrics.significance import sign_flip
from zelo.protocols import Retriever
from zelo.ranking import rows_of
from zelo.records import WEIGHT, Questions
from zelo.store import Table, write_parquet

TOP_K = 100  # candidates that an item's document is held against
FEWEST = 50  # items that weights are learned from
LEAST = 0.01  # of the mean weight: nobody is silenced, so that a quorum stays one
EDGE = 1e-6  # preferences nearer than this to 0 or 1 count as at this distance
RIDGE = 1e-3
RESAMPLES, ALPHA = 10_000, 0.05


@dataclass(frozen=True, kw_only=True)
class KnownItems:
    """Writes weights (WEIGHT): what each judge's answers count for in ratings and preferences, 1 on average.

    A sentence of a document is the query, the document without it the one answer, and the judges compare it with the others that
    the retriever finds. The weights make the answer most probable: P = softmax over documents of the weighted sum of the
    judges' log odds, none below 0. They are learned from all items, and used if weights that are learned from half of them rank
    the other half better than equal ones do (paired permutation test, p < 0.05); else weights are equal. So are they where
    there are fewer than two judges, and where one knows given queries only or costs money.
    """

    inputs: dict[str, str]  # data: the load stage
    judge: protocols.Judge | protocols.PaidJudge
    retriever: Retriever
    items: int  # sentences; 0: equal weights
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
        names = list(panel.members)
        weights, alone, facts = np.ones(len(names)), np.full(len(names), np.nan), {"items": 0, "notes": []}
        unable = [
            name
            for name, member in panel.members.items()
            if not (isinstance(member, protocols.TextJudge) and member.any_text)
        ]
        if 0 < len(unable) < len(names) and self.items:
            facts["notes"] = [f"judge weights: equal, as known items cannot be asked of {', '.join(unable)}"]
        elif self.items and len(names) > 1 and not unable:
            made = known_items.Items.of(tables["data"].read("documents"), self.items, self.documents, self.seed)
            found, odds = self._asked(made, panel)
            if found.sum() < FEWEST:
                few = f"of {len(made.wanted)} known items in {len(made.documents)} documents {found.sum()} are found"
                facts["notes"] = [f"judge weights: equal, as {few}, too few to learn from"]
            else:
                alone = np.array([_ndcg(odds[..., m : m + 1], np.ones(1), found).mean() for m in range(len(names))])
                weights, learned = _weights(odds, found, self.seed)
                facts |= learned | {"documents": len(made.documents), "found": float(found.mean())}
                facts["notes"] = [_note(facts, names, weights, alone)]
        table = pa.table([names, weights, pa.array(alone, from_pandas=True)], schema=WEIGHT)
        write_parquet(table, WEIGHT, out, "weights")
        return facts | {"weights": {row.pop("judge"): row for row in table.to_pylist()}}

    def _asked(self, made: known_items.Items, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        """([I] whether the document is among the candidates, [I, K, M] log odds for it against each other one, inf beyond)."""
        pool = self.retriever.search(made.queries, made.documents, TOP_K)
        query, document = (
            rows_of(pool["query_id"], made.queries["query_id"]),
            rows_of(pool["doc_id"], made.documents["doc_id"]),
        )
        answer = made.wanted[query] == document
        found = np.bincount(query[answer], minlength=len(made.wanted)) > 0
        asked = ~answer & found[query]
        questions = Questions(
            queries=made.queries,
            documents=made.documents,
            query_row=query[asked].astype(np.int32),
            a_row=made.wanted[query[asked]].astype(np.int32),
            b_row=document[asked].astype(np.int32),
            repeat=np.zeros(int(asked.sum()), np.int16),
        )
        place, swapped = pool["rank"].to_numpy()[asked], panel.swapped(questions)
        odds = np.full((len(found), TOP_K, len(swapped)), np.inf)
        for number, (name, member) in enumerate(panel.members.items()):
            answers = member.compare(questions.flipped(swapped[name]))
            p = answers.p[np.argsort(answers.question, kind="stable")].astype(np.float64)
            p = np.where(swapped[name], 1 - p, p)
            # No answer is no information.
            odds[query[asked], place, number] = np.nan_to_num(logit(np.clip(p, EDGE, 1 - EDGE)))
        return found, odds


def _weights(odds: np.ndarray, found: np.ndarray, seed: int) -> tuple[np.ndarray, Facts]:
    """([M] weights, facts). Each half of the items is ranked by what the other half teaches."""
    equal, odd = np.ones(odds.shape[2]), np.arange(len(found)) % 2 == 1
    before, after = _ndcg(odds, equal, found), np.zeros(len(found))
    for half in (odd, ~odd):
        after[half] = _ndcg(odds[half], _fit(odds[found & ~half]), found[half])
    p = float(sign_flip((after - before)[None], RESAMPLES, seed)[0])
    better = bool(p < ALPHA and after.mean() > before.mean())
    weights = _fit(odds[found]) if better else equal
    better = better and bool(weights.any())
    facts = {"equal": float(before.mean()), "weighted": float(after.mean()), "p": p, "used": better}
    # Rounded, so that no digit hangs on the machine's sums.
    weights = np.maximum(weights / weights.mean(), LEAST).round(2) if better else equal
    return weights, {"items": len(found), **facts}


def _fit(odds: np.ndarray) -> np.ndarray:
    """[M] weights, 0 or more, that make the answers most probable. odds: [I, K, M] against K others, inf where there is none."""
    there = np.isfinite(odds[..., 0])
    odds = np.where(there[..., None], odds, 0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        # -log P(answer) = log(1 + sum exp(-difference)); its gradient is minus the mean difference under the softmax.
        against = np.concatenate([np.zeros((len(odds), 1)), np.where(there, -odds @ weights, -np.inf)], axis=1)
        share = softmax(against, axis=1)[:, 1:]
        gradient = -np.einsum("ik,ikm->m", share, odds) / len(odds)
        return logsumexp(against, axis=1).mean() + RIDGE * (weights @ weights), gradient + 2 * RIDGE * weights

    count = odds.shape[2]
    return minimize(loss, np.ones(count), jac=True, bounds=[(0, None)] * count, method="L-BFGS-B").x


def _ndcg(odds: np.ndarray, weights: np.ndarray, found: np.ndarray) -> np.ndarray:
    """[I] nDCG@10 of the one answer; 0 where it is not among the candidates. One that is as good stands before it."""
    there = np.isfinite(odds[..., 0])
    rank = (there & (np.where(there[..., None], odds, 0) @ weights <= 0)).sum(1)
    return np.where(found & (rank < CUTOFF), 1 / np.log2(rank + 2), 0.0)


def _note(facts: Facts, names: list[str], weights: np.ndarray, alone: np.ndarray) -> str:
    change = f"nDCG@{CUTOFF} {facts['equal']:.3f} -> {facts['weighted']:.3f}, p = {facts['p']:.2g}"
    learned = f"learned from {facts['items']} known items"
    if not facts["used"]:
        return f"judge weights: equal (weights {learned} are not significantly better: {change})"
    each = ", ".join(f"{name} {w:.2f} (alone {v:.3f})" for name, w, v in zip(names, weights, alone, strict=True))
    return f"judge weights: {each}; {learned} ({change})"
