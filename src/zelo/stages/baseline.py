"""Scores candidates with a reranker that zelo has not trained: what a student is to be better than."""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import embedding_calls, sliding_windows
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.budget.price import money
from zelo.budget.request_batch import reasons_in_words
from zelo.errors import BadInput, LimitReached
from zelo.facts import Facts
from zelo.protocols import Checked, PaidJudge, PaidScorer, Scorer, WindowScorer
from zelo.ranking import rows_of
from zelo.records import ANSWERED, FAILED, SCORED, UNSENT, Questions
from zelo.stages.score import first_candidates
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Writes scored documents (SCORED): the first `top_k` candidates of each query of these splits.

    With `rest` among its inputs also `rest` (SCORED): all documents of that table. A scorer that costs money is asked through
    the budget; a document without a score is an error, never a place in a ranking. A WindowScorer gives an order, and the score
    is the number of the query's candidates behind: a window whose reply is no answer stays as it stood, and is counted.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware", "budget"})

    inputs: dict[str, str]  # data; candidates: retrieve or score; perhaps rest: more documents of the same queries
    scorer: Scorer | PaidScorer
    hardware: Hardware
    splits: list[str]
    top_k: int
    keep_own_document: bool
    budget: Budget

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise BadInput(f"baseline: top_k={self.top_k} scores nothing; set it to 1 or more.")

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a scorer that orders lists, where the same document is looked for in several of them."""
        if isinstance(self.scorer, WindowScorer) and "rest" in stages:
            raise BadInput(
                f"{self.scorer.endpoint.asker} orders one list of candidates and gives no score that holds in another, so it"
                " cannot be reranked over several first stages at once. Use pipeline=default, with retriever=bm25 or another"
                " first stage."
            )

    @property
    def paid(self) -> dict[str, PaidJudge]:
        """The scorer by its name, where it costs money, or who gives it vectors."""
        if isinstance(self.scorer, PaidScorer):
            return {self.scorer.name: self.scorer}
        return dict(embedding_calls.named(self.scorer))

    def check(self) -> None:
        """Raises BadInput for a key or a model that is missing, before the stages above spend any time."""
        if not self.paid:
            self.hardware.check()
        for scorer in self.paid.values():
            self.budget.check(scorer.endpoint)
        if isinstance(self.scorer, Checked):
            self.scorer.check()

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What the scorer would be asked, and for how much. Sends nothing."""
        return self._plan([questions for _, questions in self._asked(tables).values()])

    def _plan(self, asked: list[Questions]) -> list[Plan]:
        if not isinstance(self.scorer, PaidScorer):
            return embedding_calls.plans(self.budget, self.scorer, "scorer", *_texts(asked))
        if isinstance(scorer := self.scorer, WindowScorer):
            recall = functools.partial(self.budget.recalled, scorer)
            asked = [some for questions in asked for some in sliding_windows.foreseen(scorer, questions, recall)]
        plans = self.budget.plans({self.scorer.name: (self.scorer, asked)})
        return [replace(plan, key="scorer") for plan in plans]

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a score that is no number, LimitReached where a scorer that costs money left some out."""
        asked = self._asked(tables)
        figures: Facts = {"scorer": type(self.scorer).__name__}
        if isinstance(self.scorer, WindowScorer):
            order, paid = self._ordered(self.scorer, asked["scored"][1])
            found, figures = {"scored": order}, figures | paid
        elif isinstance(self.scorer, PaidScorer):
            found, paid = self._bought(self.scorer, {name: questions for name, (_, questions) in asked.items()})
            figures |= paid
        else:
            figures |= self._ask([questions for _, questions in asked.values()])
            found = {name: self._scored(self.scorer, questions) for name, (_, questions) in asked.items()}
        for name, (pairs, _) in asked.items():
            scored = pa.table([pairs["query_id"], pairs["doc_id"], found[name]], schema=SCORED)
            write_parquet(scored, SCORED, out, name)
            figures |= {"rows": len(scored)} if name == "scored" else {}
        return figures

    def _ask(self, asked: list[Questions]) -> Facts:
        """Gets the vectors that the scorer needs, where they cost money; what was spent."""
        if not self.paid:
            return {}
        with self.budget.open(self._plan(asked)) as session:
            embedding_calls.ask(session, self.scorer, *_texts(asked))
            return embedding_calls.facts(session, self.scorer)

    def _asked(self, tables: dict[str, Table]) -> dict[str, tuple[pa.Table, Questions]]:
        """Name of a table to write -> (its pairs as SCORED rows of a first stage, the same as questions)."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        queries = queries.filter(pc.is_in(queries["split"], pc.cast(pa.array(self.splits), pa.string())))
        found = {}
        for role, name, top_k in (("candidates", "scored", self.top_k), ("rest", "rest", None)):
            if role in tables:
                first, _ = first_candidates(tables[role], queries, documents, top_k, self.keep_own_document)
                found[name] = (first, _questions(first, queries, documents))
        return found

    def _scored(self, scorer: Scorer, asked: Questions) -> np.ndarray:
        """[N] float32. Raises BadInput for what is no number."""
        if not len(asked):
            return np.empty(0, np.float32)
        found = scorer.score(asked.queries, asked.documents, asked.query_row, asked.a_row)
        if not np.isfinite(found).all():
            row = slice(first := int(np.argmin(np.isfinite(found))), first + 1)
            one = asked.take(np.arange(len(asked))[row])
            raise BadInput(
                f"baseline {type(scorer).__name__}: the model gives no number for query {one.query_id[0].as_py()!r} and"
                f" document {one.doc_a[0].as_py()!r}. Its weights are damaged; fetch it again, or name another model."
            )
        return found.astype(np.float32)

    def _bought(self, scorer: PaidScorer, asked: dict[str, Questions]) -> tuple[dict[str, np.ndarray], Facts]:
        """(name of a table -> [N] float32 scores, what they cost)."""
        found: dict[str, np.ndarray] = {}
        left: Counter[str] = Counter()
        with self.budget.open(self._plan(list(asked.values()))) as session:
            for name, questions in asked.items():
                outcomes = session.ask({scorer.name: (scorer, questions)})[scorer.name]
                found[name] = outcomes.p
                left.update(status for status in outcomes.status.to_pylist() if status != ANSWERED)
            figures = session.figures[scorer.name]
        if left:
            raise LimitReached(_incomplete(scorer, left, sum(map(len, asked.values())), figures))
        words = f"{_spent(scorer, figures)}; {figures['from_ledger']:,} scores were in the ledger"
        return found, {"asked": figures, "notes": [words]}

    def _ordered(self, scorer: WindowScorer, candidates: Questions) -> tuple[np.ndarray, Facts]:
        """([N] float32 scores, what the order rests on and what it cost)."""
        with self.budget.open(self._plan([candidates])) as session:
            order = sliding_windows.order(
                scorer, candidates, lambda questions: session.ask({scorer.name: (scorer, questions)})[scorer.name]
            )
            figures = session.figures[scorer.name]
        if lost := Counter({status: order.left[status] for status in (UNSENT, FAILED) if order.left[status]}):
            raise LimitReached(_incomplete(scorer, lost, order.windows, figures, "windows", "order"))
        said = [f"{_spent(scorer, figures)}; {order.windows:,} windows"]
        if order.left:
            counts = ", ".join(f"{count:,} {status}" for status, count in order.left.most_common())
            said.append(
                f"{scorer.endpoint.asker}: {order.left.total():,} windows stay as they stood, without an answer: {counts}"
            )
            said += [f"{scorer.endpoint.asker}: {reason}" for reason in reasons_in_words(figures)[:1]]
        if order.unnamed:
            said.append(
                f"{scorer.endpoint.asker}: {order.unnamed:,} documents that an answer left out stand behind the others"
            )
        facts = {"windows": order.windows, "windows_left": dict(order.left), "documents_left_out": order.unnamed}
        return order.score, {"asked": figures, "notes": said, **facts}


def _texts(asked: list[Questions]) -> tuple[pa.Table, pa.Table]:
    """(queries, documents) that these questions are about."""
    queries = [one.queries.take(pa.array(np.unique(one.query_row))) for one in asked]
    documents = [one.documents.take(pa.array(np.unique(one.a_row))) for one in asked]
    return pa.concat_tables(queries), pa.concat_tables(documents)


def _questions(pairs: pa.Table, queries: pa.Table, documents: pa.Table) -> Questions:
    """Each pair of a query and a document, alone."""
    query = rows_of(pairs["query_id"], queries["query_id"]).astype(np.int32)
    document = rows_of(pairs["doc_id"], documents["doc_id"]).astype(np.int32)
    return Questions(queries, documents, query, document, document, np.zeros(len(pairs), np.int16))


def _spent(scorer: PaidScorer, figures: Facts) -> str:
    """What a scorer has cost, in words."""
    return f"{scorer.endpoint.asker}: {figures['calls']:,} calls, {money(figures['price'], figures['usd'])}"


def _incomplete(
    scorer: PaidScorer, left: Counter[str], asked: int, figures: Facts, unit: str = "documents", what: str = "score"
) -> str:
    """Why a ranking is not whole, and what to do."""
    counts = ", ".join(f"{count:,} {status}" for status, count in left.most_common())
    reasons = " ".join(f"{reason}." for reason in reasons_in_words(figures)[:1])
    again = sorted(left.keys() - {UNSENT})
    fix = f"Set ask_again=[{','.join(again)}] to ask for these again" if again else "Raise the budget and run again"
    limit = f" ({figures['limit']})" if figures.get("limit") else ""
    return (
        f"{scorer.endpoint.asker}: {left.total():,} of {asked:,} {unit} have no {what}: {counts}{limit}. {reasons}"
        f" A ranking with holes is not compared; every reply is kept. {fix}, or leave this baseline out."
    ).replace("  ", " ")
