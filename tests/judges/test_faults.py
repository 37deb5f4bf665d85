"""From a server that misbehaves to the judge that reads it: whatever goes wrong, there is no preference."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chat_questions import FIELDS, MESSAGES, asked
from fake_server import KINDS, USAGES, FakeServer

from zelo.judges.chat import Chat
from zelo.providers.client import Client
from zelo.providers.request import Reply
from zelo.records import ANSWERED

HONEST = {"ok", *USAGES, "stale"}
MODES: dict[str, dict[str, Any]] = {
    "structured": {"mode": "score"},
    "tagged": {"mode": "score", "structured": False},
    "messages": {"mode": "score", **MESSAGES},
    "verdict": {"mode": "verdict"},
    "listwise": {"mode": "listwise"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    """Answers by the name of the model."""
    with FakeServer() as server:
        yield server


@pytest.mark.parametrize("mode", MODES)
def test_no_fault_becomes_a_preference(server: FakeServer, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    async def ask(kind: str) -> None:
        timeout = 0.3 if kind in ("stall", "drip") else 10.0
        judge = Chat(**FIELDS | MODES[mode] | {"base_url": server.base_url, "model": kind, "timeout": timeout})
        request = next(judge.requests(asked([(0, 1, 2), (0, 2, 3), (0, 1, 3)])))
        async with Client(judge.endpoint) as client:
            result = await client.send(request)
        if not isinstance(result, Reply):
            assert kind not in HONEST, (kind, result)
            return
        reading = judge.read(request, result)
        assert (reading.status == ANSWERED) == (kind in HONEST), (kind, result, reading)
        assert len(reading.p) == (len(request.rows) if kind in HONEST else 0)

    async def ask_all() -> None:
        await asyncio.gather(*map(ask, KINDS))

    asyncio.run(ask_all())
