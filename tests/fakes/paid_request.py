"""One paid request of the client, with a key that must not be seen anywhere."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from zelo.providers.client import Client
from zelo.providers.openai import ChatCompletions
from zelo.providers.request import Endpoint, Request

KEY = "sk-marker-0123456789-abcdefghij-KLMNOP"
VARIABLE = "ZELO_TEST_API_KEY"
WORST = (len("You judge.") + len("A or B?") + 64, 50)  # tokens in and out of REQUEST, without a schema
REQUEST = Request(b"0" * 16, "You judge.", "A or B?", None, False, repeat=0, rows=(0,), tokens_out=WORST[1], form="")


def endpoint(base_url: str, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "name": "careful",
        "api": ChatCompletions(),
        "provider": "fake",
        "model": "ok",
        "base_url": base_url,
        "api_key_env": VARIABLE,
        "input_price": 1.0,
        "output_price": 2.0,
        "concurrency": 8,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "timeout": 5.0,
        "retries": 3,
        "parameters": {"temperature": 0.0},
    }
    return Endpoint(**fields | changes)


def run(endpoint: Endpoint, work: Callable[[Client], Awaitable[Any]]) -> Any:
    """`work(client)` in a loop of its own."""

    async def inside() -> Any:
        async with Client(endpoint) as client:
            return await work(client)

    return asyncio.run(inside())


def shows_key(words: str) -> bool:
    return any(KEY[start : start + 8].lower() in words.lower() for start in range(len(KEY) - 7))
