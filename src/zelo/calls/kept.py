"""A paid reply as an entry of the ledger, and back. It needs no network, so an answer can be read without aiohttp."""

import json
import time

from zelo.calls.ledger import Entry
from zelo.calls.request import Endpoint, Reply, Request

KIND = "judge"


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
    )
