"""OpenAI's chat completions, which most other servers speak too: vLLM, Ollama, Gemini and many routers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zelo.providers.request import (
    CHAT_FIELDS,
    TOP_LOGPROBS,
    Endpoint,
    Parsed,
    Request,
    count,
    finish,
    text_of,
    usage,
)


@dataclass(frozen=True)
class ChatCompletions:
    """POST /chat/completions."""

    path: ClassVar[str] = "/chat/completions"
    max_temperature: ClassVar[float] = 2.0
    logprobs: ClassVar[bool] = True
    schemas: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("temperature", "seed", "reasoning_effort")
    fields: ClassVar[tuple[str, ...]] = CHAT_FIELDS

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body of this API alone, with the key where one is to be sent."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def token_limit_key(self, endpoint: Endpoint) -> str:
        """The request key that carries the most tokens that may come back."""
        # OpenAI's reasoning models refuse max_tokens, and many other servers know nothing else.
        reasons = endpoint.parameters.get("reasoning_effort") is not None
        return endpoint.token_limit_key or ("max_completion_tokens" if reasons else "max_tokens")

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for the parameters that are sent as they are named."""
        system = [{"role": "system", "content": request.system}] if request.system else []
        sent: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [*system, {"role": "user", "content": request.user}],
            self.token_limit_key(endpoint): request.tokens_out,
        }
        if request.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            sent["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.logprobs:
            sent |= {"logprobs": True, "top_logprobs": endpoint.parameters.get("top_logprobs", TOP_LOGPROBS)}
        return sent

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The answer in a body, or the class of what is wrong with it. Raises KeyError and the like for other shapes."""
        if not answer.get("choices"):
            return "no_choices"
        choice = answer["choices"][0]
        message = choice["message"]
        used = usage(answer)
        tokens_in, tokens_out, total = map(count, map(used.get, ("prompt_tokens", "completion_tokens", "total_tokens")))
        if total is not None and tokens_in is not None:  # some leave the tokens of thinking out of completion_tokens
            tokens_out = max(tokens_out or 0, total - tokens_in)
        text = text_of(message.get("content"))
        return Parsed(
            text,
            finish(choice.get("finish_reason")),
            bool(message.get("refusal")),
            _logprobs(choice.get("logprobs")),
            tokens_in or None,
            None if text and not tokens_out else tokens_out,
        )

    def body_of(self, kept: Mapping[str, Any], refused: bool) -> dict[str, Any]:
        """A body that says what an entry of an early ledger kept of one: text, finish, logprobs, error."""
        likely = [{"token": token, "logprob": value} for token, value in kept.get("logprobs") or ()]
        message = {"content": kept.get("text", ""), "refusal": kept.get("error") if refused else None}
        choice: dict[str, Any] = {"message": message, "finish_reason": kept.get("finish")}
        if likely:
            first = max(likely, key=lambda one: one["logprob"])  # which of them was chosen, was not kept
            choice["logprobs"] = {"content": [first | {"top_logprobs": likely}]}
        return {"choices": [choice]}


def _logprobs(given: Any) -> tuple[tuple[str, float], ...]:
    """(token, log-probability) of the likeliest first tokens, natural logarithm; none at all where any is impossible."""
    if not given or not given.get("content"):
        return ()
    first = given["content"][0]
    found: dict[tuple[str, float], None] = {}
    for token in [*(first.get("top_logprobs") or []), first]:
        text, value = str(token["token"]), float(token["logprob"])
        if not value <= 1e-3:  # or nan
            return ()
        if value > -math.inf:
            text = text if text.isascii() else text.encode(errors="replace").decode()
            found[text, min(value, 0.0)] = None
    return tuple(found)
