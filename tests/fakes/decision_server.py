"""A decision endpoint that misbehaves on demand, in both forms, and what a decision judge is made of."""

import json
from typing import Any

from chat_questions import PRICES
from fake_server import FakeServer, Seen

from zelo.providers.openai_decisions import OpenAIDecisions
from zelo.providers.system_one import SystemOne

FORMS: dict[str, Any] = {"system_one": SystemOne(path="/systemone"), "openai": OpenAIDecisions()}
FIELDS: dict[str, Any] = {
    "name": "decision",
    "api": FORMS["system_one"],
    "provider": "typesafe",
    "model": "known",
    "base_url": "https://api.example.org/v1",
    "api_key_env": None,
    "task": "A query and documents.",
    "question": "Which is better, {first} or {second}?",
    "instruction": "",
    "pairs_per_state": 128,
    "state_tokens": 4096,
    "document_tokens": 64,
    "extra_body": {},
    "prices": PRICES,
    "input_price": None,
    "concurrency": 4,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "timeout": 5.0,
    "retries": 1,
}
WORSE = 0.25  # what a later body of a document is worth against an earlier one
# What an answer to one question may be instead; kind -> the probabilities that its two options get.
AMISS: dict[str, Any] = {
    "sum": lambda a, b: {a: 0.6, b: 0.6},
    "out_of_range": lambda a, b: {a: 1.5, b: -0.5},
    "nan": lambda a, b: {a: float("nan"), b: 0.5},
    "words": lambda a, b: {a: "likely", b: 0.5},
    "other_options": lambda a, b: {"A": 0.5, "B": 0.5},
    "one_option": lambda a, b: {a: 1.0},
    "third_option": lambda a, b: {a: 0.5, b: 0.5, "neither": 0.0},
    "no_options": lambda a, b: {},
}
KINDS = (
    *AMISS,
    "refusal",
    "missing",
    "not_a_choice",
    "twice",
)  # `twice` in OpenAI's form only: names of JSON are unique


def questions_of(body: dict[str, Any]) -> dict[str, list[str]]:
    """Name -> options in their order, of a body of either form."""
    if isinstance(body["questions"], dict):
        return {name: list(one["criteria"]) for name, one in body["questions"].items()}
    return {one["name"]: [choice["value"] for choice in one["choices"]] for one in body["questions"]}


def state_of(body: dict[str, Any]) -> dict[str, Any]:
    """The state of a body of either form."""
    return body["state"] if "state" in body else json.loads(body["input"])


class DecisionServer(FakeServer):
    """Prefers the text that sorts first. With a plan of `KIND` or `KIND:n` each, or only the n-th, question is answered amiss."""

    def _answer(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        kind, _, only = seen.kind.partition(":")
        if kind not in (*KINDS, "ok", "no_usage", "no_answers", "renamed"):
            return super()._answer(seen)
        documents = state_of(seen.body)["documents"]
        found: list[tuple[str, Any]] = []
        for number, (name, (a, b)) in enumerate(questions_of(seen.body).items(), 1):
            better = 1 - WORSE if documents[a] < documents[b] else WORSE
            amiss = kind in KINDS and only in ("", str(number))
            honest = {"type": "choice", "choice": a, "probabilities": {a: better, b: round(1 - better, 2)}}
            if not (amiss and kind == "missing"):
                found.append((name if kind != "renamed" else f"q_{name}", _amiss(kind, a, b) if amiss else honest))
            found += [(name, honest)] * (amiss and kind == "twice")
        answer: dict[str, Any] = {"model": "m", "usage": {"input_tokens": 500, "output_tokens": 0}}
        if kind == "no_usage":
            del answer["usage"]
        if kind != "no_answers":
            answer["answers"] = _openai(found) if seen.path.endswith("/decisions") else dict(found)
        return 200, {}, json.dumps(answer).encode()


def _amiss(kind: str, a: str, b: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal"}
    if kind == "not_a_choice":
        return {"type": "score", "score": 1.0}
    if kind == "twice":
        return {"type": "choice", "choice": a, "probabilities": {a: 0.9, b: 0.1}}
    return {"type": "choice", "choice": a, "probabilities": AMISS[kind](a, b)}


def _openai(found: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    listed = []
    for name, one in found:
        more: dict[str, Any] = {"name": name}
        if "probabilities" in one:
            more["probabilities"] = [{"value": value, "probability": p} for value, p in one["probabilities"].items()]
        listed.append(one | more)
    return listed
