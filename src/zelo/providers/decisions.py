"""What decision endpoints have in common, whatever their form: typed questions about one state, answered by probabilities.

Nothing is generated, so that there is no text to read: an answer is a probability for each option of its question.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from zelo.providers.request import Parsed, Provider, Request

REFUSAL = "refusal"
"""Stands for the probabilities where the model declines to answer a question."""
TWICE = "answered twice"
NO_PROBABILITIES = "no probabilities"
FIELDS = (
    "model",
    "task",
    "question",
    "instruction",
    "pairs_per_state",
    "state_tokens",
    "document_tokens",
    "extra_body",
)
OVERHEAD = 64  # tokens that an endpoint may put around the state, and around each question


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with several options, of which one is right."""

    name: str
    instructions: str
    options: tuple[tuple[str, str], ...]  # value and description, in the order in which they are shown


@dataclass(slots=True)
class DecisionRequest(Request):
    """Questions about one state; `system`, `user` and `schema` are empty."""

    state: Mapping[str, Any]
    questions: tuple[Choice, ...]
    size: int  # bytes of the state and the questions as JSON

    @property
    def tokens_in(self) -> int:
        """No fewer tokens than any tokenizer on bytes can make of it: its bytes, and room for an endpoint's own words."""
        return self.size + OVERHEAD * (1 + len(self.questions))


@runtime_checkable
class DecisionProvider(Provider, Protocol):
    """One whose models decide. The text of what it parses is JSON: name of a question -> {option: probability}, or a string
    that says what came instead.
    """

    form: ClassVar[str]  # part of an answer's key: an answer of another form could not be read
    filled: ClassVar[tuple[str, ...]]  # keys of the body that the judge fills


def size_of(state: Mapping[str, Any], questions: tuple[Choice, ...]) -> int:
    """Bytes of a state and its questions as JSON."""
    asked = [(one.name, one.instructions, one.options) for one in questions]
    return len(json.dumps([state, asked], ensure_ascii=False).encode(errors="replace"))


def parsed(answers: Mapping[str, Any], tokens_in: int | None, tokens_out: int | None) -> Parsed:
    """Of answers by the names of their questions. Nothing is billed for what comes out, so that its count may be missing."""
    text = json.dumps(answers, separators=(",", ":"))  # ASCII: half a surrogate pair cannot be written to disk
    return Parsed(text, "", False, (), tokens_in or None, tokens_out or 0)


def instead(answer: Mapping[str, Any]) -> str:
    """What stands for the probabilities of an answer that has none."""
    kind = answer.get("type")
    if kind == REFUSAL or answer.get(REFUSAL):
        return REFUSAL
    return NO_PROBABILITIES if kind in (None, "choice") else str(kind)
