"""Anthropic's messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zelo.providers.request import CHAT_FIELDS, Endpoint, Parsed, Request, count, finish, text_of, usage

VERSION = "2023-06-01"


@dataclass(frozen=True)
class Messages:
    """POST /messages."""

    path: ClassVar[str] = "/messages"
    max_temperature: ClassVar[float] = 1.0
    logprobs: ClassVar[bool] = False
    schemas: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("temperature",)
    fields: ClassVar[tuple[str, ...]] = CHAT_FIELDS

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body of this API alone, with the key where one is to be sent."""
        return {"anthropic-version": VERSION} | ({} if key is None else {"x-api-key": key})

    def token_limit_key(self, endpoint: Endpoint) -> str:
        """The request key that carries the most tokens that may come back."""
        return "max_tokens"

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for the parameters that are sent as they are named."""
        return {
            "model": endpoint.model,
            **({"system": request.system} if request.system else {}),
            "messages": [{"role": "user", "content": request.user}],
            "max_tokens": request.tokens_out,
        }

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The answer in a body, or the class of what is wrong with it. Raises KeyError and the like for other shapes."""
        if answer.get("content") is None:
            return "no_choices"
        if not isinstance(answer["content"], list):
            return "wrong_shape"
        used = usage(answer)
        tokens_in = count(used.get("input_tokens"))
        if tokens_in is not None:
            tokens_in += sum(count(used.get(f"cache_{how}_input_tokens")) or 0 for how in ("creation", "read"))
        tokens_out = count(used.get("output_tokens"))
        text = text_of(answer["content"])
        known_out = None if text and not tokens_out else tokens_out
        return Parsed(text, finish(answer.get("stop_reason")), False, (), tokens_in or None, known_out)

    def body_of(self, kept: Mapping[str, Any], refused: bool) -> dict[str, Any]:
        """A body that says what an entry of an early ledger kept of one: text, finish."""
        text = {"type": "text", "text": kept.get("text", "")}
        return {"content": [text], "stop_reason": "refusal" if refused else kept.get("finish")}
