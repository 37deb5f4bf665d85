"""A judge whose answers cost money, and what a run asks it, over real HTTP to the fake server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_server import TOKENS_OUT, FakeServer

from zelo.budget.budget import Budget
from zelo.protocols import PaidJudge
from zelo.providers.openai import ChatCompletions
from zelo.providers.request import Endpoint, Reading, Reply, Request, key_of
from zelo.records import ANSWERED, DOCUMENT, QUERY, UNPARSEABLE, Outcomes, Questions


@dataclass
class Judge:
    """Answers A for a text that says so; one request a question."""

    endpoint: Endpoint
    name: str = "chat"
    form: str = "short"

    def requests(self, questions: Questions) -> Iterator[Request]:
        for row, (a, b) in enumerate(zip(questions.texts_a(), questions.texts_b(), strict=True)):
            key = key_of(self.endpoint, "judge", int(questions.repeat[row]), a, b)
            yield Request(key, "", f"{a}\n{b}", None, False, int(questions.repeat[row]), (row,), TOKENS_OUT, self.form)

    def read(self, request: Request, reply: Reply) -> Reading:
        if reply.status != ANSWERED:
            return Reading(reply.status)
        score = reply.text.rpartition(": ")[2]
        return Reading(ANSWERED, ((1 - float(score)) / 2,)) if score == "0.50" else Reading(UNPARSEABLE)


def endpoint(server: FakeServer, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {"name": "chat", "api": ChatCompletions(), "provider": "fake", "model": "m"}
    fields |= {"base_url": server.base_url, "api_key_env": None, "input_price": 10.0, "output_price": 100.0}
    fields |= {"concurrency": 20, "requests_per_minute": None, "tokens_per_minute": None, "timeout": 60.0, "retries": 3}
    return Endpoint(**fields | changes)


def questions(n: int, start: int = 0, size: int = 10) -> Questions:
    """n questions about n + 1 documents; each text is `size` characters longer than its number."""
    names = [f"d{start + number}" for number in range(n + 1)]
    texts = [f"{name}{'.' * size}" for name in names]
    queries = pa.table([["q"], ["?"], ["train"]], schema=QUERY)
    documents = pa.table([names, [""] * len(names), texts], schema=DOCUMENT)
    rows = np.arange(n, dtype=np.int32)
    return Questions(queries, documents, np.zeros(n, np.int32), rows, rows + 1, np.zeros(n, np.int16))


def budget(**changes: Any) -> Budget:
    fields: dict[str, Any] = {"usd": 100.0, "tokens": None, "calls": None, "lifetime_usd": None}
    return Budget(**fields | {"on_limit": "stop", "max_failure_rate": 1.0, "ask_again": []} | changes)


def ask(budget: Budget, judge: PaidJudge, asked: Questions) -> tuple[Outcomes, dict[str, Any]]:
    with budget.open(budget.plans({judge.name: (judge, [asked])})) as session:
        return session.ask({judge.name: (judge, asked)})[judge.name], session.figures[judge.name]


def new_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
