"""What the judge that asks a language model is made of, and what it is asked."""

from typing import Any

import numpy as np
import pyarrow as pa

from zelo.budget.price import Prices
from zelo.providers.anthropic import Messages
from zelo.providers.openai import ChatCompletions
from zelo.records import DOCUMENT, QUERY, Questions

PRICES = Prices(date="2026-11-25", source="a page", models={"known": {"input": 2.0, "output": 8.0}})
FIELDS: dict[str, Any] = {
    "name": "chat",
    "api": ChatCompletions(),
    "provider": "openai",
    "model": "known",
    "base_url": "https://api.example.org/v1",
    "api_key_env": "OPENAI_API_KEY",
    "mode": "score",
    "structured": True,
    "prompt": None,
    "cross_prompt": "cross_query",
    "rubric_prompt": "pointwise_rubric",
    "instruction": "",
    "preference": "soft",
    "threshold": 0.1,
    "window": 4,
    "temperature": 0.0,
    "max_tokens": 512,
    "reasoning_effort": None,
    "seed": None,
    "verdict_mass": 0.5,
    "top_logprobs": 20,
    "token_limit_key": None,
    "extra_body": {},
    "document_tokens": 64,
    "prices": PRICES,
    "input_price": None,
    "output_price": None,
    "concurrency": 8,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "timeout": 60.0,
    "retries": 2,
}
MESSAGES = {"api": Messages(), "structured": False}
COUNT = 9  # documents
QUERIES = pa.table(
    {"query_id": ["q1", "q2"], "text": ["the first query", "the second query"], "split": ["train"] * 2}, schema=QUERY
)
DOCUMENTS = pa.table(
    {
        "doc_id": [f"d{n}" for n in range(COUNT)],
        "title": [f"title {n}" if n % 2 else "" for n in range(COUNT)],
        "text": [f"body of {n}." for n in range(COUNT - 1)] + ["long " * 99],
    },
    schema=DOCUMENT,
)


def asked(rows: list[tuple[int, int, int]], repeat: int = 0, across: list[int] | None = None) -> Questions:
    columns = (
        [np.array(column, np.int32) for column in zip(*rows, strict=True)] if rows else [np.empty(0, np.int32)] * 3
    )
    return Questions(
        QUERIES,
        DOCUMENTS,
        *columns,
        repeat=np.full(len(rows), repeat, np.int16),
        query_b_row=None if across is None else np.array(across, np.int32),
    )
