"""Hosted rerankers, measured by what the ledger keeps of each call: seconds, tokens and dollars."""

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zelo import sliding_windows
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import LimitReached
from zelo.latency.payloads import Payload
from zelo.ledger.codec import looked_up
from zelo.protocols import PaidScorer, WindowScorer
from zelo.records import DOCUMENT, QUERY, Outcomes, Questions

if TYPE_CHECKING:
    from zelo.budget.session import Session


@dataclass(frozen=True)
class Taken:
    """What each of N payloads took; those of which a call has no reply are left out."""

    seconds: list[float]
    tokens: list[int]
    usd: list[float]
    lost: int


def one_at_a_time(scorer: PaidScorer) -> PaidScorer:
    """The same scorer with one call under way, so that none waits for another."""
    component: Any = scorer  # a dataclass, as every component is
    return replace(component, concurrency=1)


def questions(payloads: list[Payload]) -> Questions:
    """Every document of every payload for its query."""
    sizes = [len(payload.documents) for payload in payloads]
    texts = [text for payload in payloads for text in payload.documents]
    numbers = [str(number) for number in range(len(payloads))]
    queries = pa.table([numbers, [one.query for one in payloads], ["test"] * len(numbers)], schema=QUERY)
    documents = pa.table([[str(n) for n in range(len(texts))], [""] * len(texts), texts], schema=DOCUMENT)
    rows = np.arange(len(texts), dtype=np.int32)
    query = np.repeat(np.arange(len(payloads), dtype=np.int32), sizes)
    return Questions(queries, documents, query, rows, rows, np.zeros(len(rows), np.int16))


def plans(budget: Budget, name: str, scorer: PaidScorer, asked: list[Questions]) -> list[Plan]:
    """What measuring would cost. Sends nothing."""
    if isinstance(scorer, WindowScorer):
        recall = functools.partial(budget.recalled, scorer)
        asked = [window for some in asked for window in sliding_windows.foreseen(scorer, some, recall)]
    return [replace(plan, key=f"scorers.{name}") for plan in budget.plans({name: (scorer, asked)})]


def taken(session: "Session", name: str, scorer: PaidScorer, asked: Questions, warmup: int) -> Taken:
    """Asks about all payloads, one after the other; the first `warmup` of them are left out.

    A payload that takes several calls takes their seconds together, for they are made one after the other. Raises
    LimitReached where no payload has all its replies.
    """
    rounds: list[Questions] = []

    def ask(some: Questions) -> Outcomes:
        rounds.append(some)
        return session.ask({name: (scorer, some)})[name]

    if isinstance(scorer, WindowScorer):
        sliding_windows.order(scorer, asked, ask)
    else:
        ask(asked)
    assert session.ledger is not None, "a scorer without a plan"
    count = len(asked.queries)
    seconds, tokens, usd, whole = np.zeros(count), np.zeros(count, int), np.zeros(count), np.ones(count, bool)
    for some in rounds:
        for request, entry in looked_up(session.ledger, scorer, some):
            query = some.query_row[request.rows[0]]
            if entry is None:
                whole[query] = False
                continue
            seconds[query] += entry.seconds
            tokens[query] += entry.tokens_in + entry.tokens_out
            usd[query] += entry.usd
    kept = np.flatnonzero(whole & (np.arange(count) >= warmup))
    if not len(kept):
        raise LimitReached(
            f"{scorer.endpoint.asker}: no call of a payload has a reply, so there is nothing to measure. Raise the budget, look"
            " at the endpoint, or leave this baseline out."
        )
    lost = count - warmup - len(kept)
    return Taken(seconds[kept].tolist(), tokens[kept].tolist(), usd[kept].tolist(), lost)
