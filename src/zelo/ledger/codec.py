"""A paid reply as an entry of the ledger, and back."""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Entry
from zelo.protocols import PaidJudge
from zelo.providers.request import NO_USAGE, ChatProvider, Endpoint, Fault, PartProvider, Reply, Request
from zelo.records import REFUSED, UNPARSEABLE, Questions

LOOKED_UP = 256  # keys at a time


def looked_up(ledger: Ledger, judge: PaidJudge, questions: Questions) -> Iterator[tuple[Request, Entry | None]]:
    """What a judge would ask about these questions, and what the ledger has of it. Sends nothing."""
    requests = judge.requests(questions)
    while chunk := list(islice(requests, LOOKED_UP)):
        found = ledger.find([request.key for request in chunk])
        yield from ((request, found.get(request.key)) for request in chunk)


def set_aside(
    endpoint: Endpoint,
    judge: PaidJudge,
    requests: Sequence[Request],
    found: dict[bytes, Entry],
    ask_again: Collection[str],
    command: str,
) -> dict[bytes, Entry]:
    """Takes out of `found` what is to be asked for again, and returns it.

    That is what the judge reads in any part as one of the statuses `ask_again`, unless this command has paid for it.
    """
    again: dict[bytes, Entry] = {}
    for request in requests if ask_again else ():
        entry = found.get(request.key)
        if entry is None or entry.command == command:
            continue
        reading = judge.read(request, reply_of(endpoint, request, entry))
        if any(one.status in ask_again for one in reading.of_rows(len(request.rows))):
            again[request.key] = found.pop(request.key)
    return again


def reply_of(endpoint: Endpoint, request: Request, entry: Entry) -> Reply:
    """What came back when this was paid for, as it is read today; unparseable where it is nothing that can be read."""
    from zelo.providers.client import read  # and with it aiohttp: only where there is an answer to read

    status, body = _raw(endpoint, entry)
    found = read(endpoint, request, status, {}, body, None)
    if isinstance(found, Fault):
        found = Reply(status=UNPARSEABLE, error=found.kind)
    found.tokens_in, found.tokens_out, found.usd = entry.tokens_in, entry.tokens_out, entry.usd
    found.seconds, found.http, found.body = entry.seconds, status, body
    return found


def _raw(endpoint: Endpoint, entry: Entry) -> tuple[int, str]:
    """HTTP status and body. Of an entry of an earlier version, which kept what it had read, a body that says the same."""
    kept = json.loads(entry.answer)
    if not isinstance(kept, dict):
        return 200, ""
    if isinstance(kept.get("body"), str) and isinstance(kept.get("http"), int):
        return kept["http"], kept["body"]
    if not isinstance(endpoint.api, ChatProvider):  # younger than such an entry
        return 200, ""
    # The provider's filter, or the model in a field of its own.
    refused = kept.get("status") == REFUSED
    return 200, json.dumps(endpoint.api.body_of(kept, refused), ensure_ascii=False)


def entry_of(endpoint: Endpoint, request: Request, reply: Reply) -> Entry:
    """What is kept of a reply: all of it."""
    return Entry(
        key=request.key,
        provider=endpoint.provider,
        model=endpoint.model,
        kind=endpoint.kind,
        repeat=request.repeat,
        answer=json.dumps({"http": reply.http, "body": reply.body}, ensure_ascii=False),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        usd=reply.usd,
        made=time.time(),
        seconds=reply.seconds,
        prompt_bytes=0 if reply.error == NO_USAGE else request.tokens_in,
        form=request.form,
    )


def parts_of(endpoint: Endpoint, request: Request, reply: Reply) -> tuple[Entry, ...]:
    """What is kept of a whole answer to a request of parts: an entry for each, which took its share of tokens and dollars."""
    if not request.parts or not isinstance(endpoint.api, PartProvider):
        return ()
    whole, bodies = entry_of(endpoint, request, reply), endpoint.api.bodies(reply.text)
    total, before, found = sum(size for _, size in request.parts), 0, []
    for place, (key, size) in enumerate(request.parts):
        low, high = (whole.tokens_in * edge // total for edge in (before, before + size))
        before += size
        answer = json.dumps({"http": reply.http, "body": bodies[place]}, ensure_ascii=False)
        found.append(
            replace(
                whole,
                key=key,
                answer=answer,
                tokens_in=high - low,
                tokens_out=0,
                usd=whole.usd * size / total,
                prompt_bytes=whole.prompt_bytes and size,
            )
        )
    return tuple(found)
