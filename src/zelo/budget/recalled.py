"""What the ledger answers of a judge's questions, read once: when they are planned, for the session that asks them."""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa

from zelo.budget.request_batch import Figures, RequestBatch
from zelo.ledger.codec import LOOKED_UP, looked_up, reply_of, set_aside
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Entry
from zelo.protocols import PaidJudge
from zelo.providers.request import Request
from zelo.records import ANSWERED, Outcomes, Questions

Place = tuple[int, int, bytes]  # the two tables by identity, and a hash of which of their rows are asked about


@dataclass(frozen=True)
class _Kept:
    queries: pa.Table  # held, or another table could have its identity
    documents: pa.Table
    batch: RequestBatch
    figures: Figures


@dataclass(frozen=True)
class Recalled:
    """Batches of one judge's questions that the ledger answers whole, as arrays, until they are asked."""

    _kept: dict[Place, _Kept] = field(default_factory=dict)

    def unanswered(
        self,
        ledger: Ledger,
        batch: RequestBatch,
        questions: Questions,
        ask_again: Collection[str],
        command: str,
    ) -> Iterator[Request]:
        """What of these questions is to be sent; where it is nothing, the answers are kept in `batch`. Sends nothing.

        ask_again: statuses of replies that are asked for again, unless this command has paid for them.
        """
        judge, requests, figures, whole = batch.judge, batch.judge.requests(questions), Figures(""), True
        while chunk := list(islice(requests, LOOKED_UP)):
            entries = ledger.find([request.key for request in chunk])
            set_aside(batch.endpoint, judge, chunk, entries, ask_again, command)
            unknown = [request for request in chunk if request.key not in entries]
            whole = whole and not unknown
            if whole:
                read_known(batch, chunk, entries, figures)
            yield from unknown
        if whole:
            self._kept[_place(questions)] = _Kept(questions.queries, questions.documents, batch, figures)

    def pop(self, questions: Questions) -> tuple[RequestBatch, Figures] | None:
        """The answers to these questions and their counts, if they are kept; they are not any longer."""
        found = self._kept.pop(_place(questions), None) if self._kept else None
        return found and (found.batch, found.figures)


def read_known(
    batch: RequestBatch, requests: Sequence[Request], entries: Mapping[bytes, Entry], figures: Figures
) -> None:
    """Reads what the ledger has of these requests, each of which has an entry, and counts it."""
    judge, endpoint = batch.judge, batch.endpoint
    answered = 0
    for request in requests:
        entry = entries[request.key]
        reading = judge.read(request, reply_of(endpoint, request, entry))
        batch.put(request, reading, entry.tokens_in + entry.tokens_out, entry.usd)
        if reading.status == ANSWERED and not reading.parts:
            answered += len(request.rows)
        else:
            figures.read(request, reading, os.environ.get(endpoint.api_key_env or ""))
            figures.before.update(one.status for one in reading.of_rows(len(request.rows)))
    figures.before[ANSWERED] += answered
    figures.from_ledger += sum(len(request.rows) for request in requests)


def recalled(ledger: Ledger, judge: PaidJudge, questions: Questions) -> Outcomes:
    """What the ledger answers, free of charge, the others being unsent. Sends nothing."""
    batch = RequestBatch.of(judge.name, judge, len(questions))
    for request, entry in looked_up(ledger, judge, questions):
        if entry is not None:
            batch.put(request, judge.read(request, reply_of(batch.endpoint, request, entry)), 0, 0.0)
    return batch.outcomes()


def _place(questions: Questions) -> Place:
    rows = hashlib.blake2b(digest_size=16)
    for name in ("query_row", "a_row", "b_row", "repeat", "query_b_row", "criterion"):
        column: np.ndarray | None = getattr(questions, name)
        rows.update(b"" if column is None else f"{name} {column.dtype} {len(column)} ".encode() + column.tobytes())
    return id(questions.queries), id(questions.documents), rows.digest()
