"""A paid reply as an entry of the ledger, and back. It needs no network, so an answer can be read without aiohttp."""

import json
import time
from collections.abc import Iterator
from itertools import islice

from zelo.calls.ledger import Entry, Ledger
from zelo.calls.plan import LOOKED_UP
from zelo.calls.request import Endpoint, Reply, Request
from zelo.protocols import PaidJudge
from zelo.records import Questions

KIND = "judge"


def looked_up(ledger: Ledger, judge: PaidJudge, questions: Questions) -> Iterator[tuple[Request, Entry | None]]:
    """What a judge would ask about these questions, and what the ledger has of it. Sends nothing."""
    requests = judge.requests(questions)
    while chunk := list(islice(requests, LOOKED_UP)):
        found = ledger.find([request.key for request in chunk])
        yield from ((request, found.get(request.key)) for request in chunk)


def reply_of(entry: Entry) -> Reply:
    """What came back when this was paid for."""
    kept = json.loads(entry.answer)
    return Reply(
        status=kept["status"],
        error=kept["error"],
        text=kept["text"],
        finish=kept["finish"],
        logprobs=tuple((token, value) for token, value in kept["logprobs"]),
        tokens_in=entry.tokens_in,
        tokens_out=entry.tokens_out,
        usd=entry.usd,
        seconds=entry.seconds,
    )


def entry_of(endpoint: Endpoint, request: Request, reply: Reply, status: str) -> Entry:
    """What is kept of a reply that a judge read as this status."""
    kept = {name: getattr(reply, name) for name in ("status", "error", "text", "finish", "logprobs")}
    return Entry(
        key=request.key,
        provider=endpoint.provider,
        model=endpoint.model,
        kind=KIND,
        repeat=request.repeat,
        status=status,
        answer=json.dumps(kept, ensure_ascii=False),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        usd=endpoint.usd(reply.tokens_in, reply.tokens_out),
        made=time.time(),
        seconds=reply.seconds,
        prompt_bytes=0 if reply.error == "no_usage" else request.tokens_in,
        form=request.form,
    )
