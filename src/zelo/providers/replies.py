"""A request as JSON, and what came back over HTTP as a reply or a fault. No network."""

import json
from collections.abc import Mapping
from typing import Any

from zelo.providers.errors import error_body, is_stream, read_error, where
from zelo.providers.request import Endpoint, Fault, Parsed, Reply, Request
from zelo.providers.secrets import HIDDEN, SHORTEST, line
from zelo.records import ANSWERED, REFUSED, TRUNCATED, UNPARSEABLE

ABSURD = 10**9  # tokens; a larger count is a mistake of the endpoint's
ENDED = frozenset({"", "stop", "end_turn", "stop_sequence", "eos", "eos_token"})
CUT = frozenset({"length", "max_tokens", "model_length", "model_context_window_exceeded"})
WITHHELD = frozenset({"content_filter", "refusal", "safety"})
BROKEN = frozenset({"error", "abort"})  # the endpoint says that it failed half-way
_HUMAN = {
    "empty_body": "an empty body",
    "html": "a web page",
    "bad_json": "something that is not JSON",
    "wrong_shape": "JSON of another shape",
    "event_stream": "a stream of events, which was not asked for",
    "error_in_200": "an error in place of an answer",
    "no_choices": "no answer in it",
}


def body(endpoint: Endpoint, request: Request) -> bytes:
    """The JSON to post."""
    names = endpoint.api.parameters
    chosen = {name: endpoint.parameters[name] for name in names if endpoint.parameters.get(name) is not None}
    sent = endpoint.api.body(endpoint, request) | chosen | dict(endpoint.parameters.get("extra_body", {}))
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode()


def read(
    endpoint: Endpoint, request: Request, status: int, headers: Mapping[str, str], raw: bytes, key: str | None
) -> Reply | Fault:
    """What an HTTP answer means for this request. `key` is what was sent: it is in nothing that comes out of here."""
    if not 200 <= status < 300:
        return read_error(endpoint, status, headers, raw, key)
    parsed = _parsed(endpoint, raw)
    if isinstance(parsed, str):
        words = line(error_body(raw).words, key)
        what = f"{where(endpoint)} answered {status} with {_HUMAN[parsed]}" + f" ({words})" * bool(words)
        return Fault(parsed, what, billed=True, words=words)
    outcome, error = _outcome(request, parsed)
    if outcome is None:
        return Fault(error, f"{where(endpoint)} ended its answer with {error}", billed=True)
    tokens_in = request.tokens_in if parsed.tokens_in is None else parsed.tokens_in
    tokens_out = request.tokens_out if parsed.tokens_out is None else parsed.tokens_out
    unknown = parsed.tokens_in is None or parsed.tokens_out is None
    return Reply(
        status=outcome,
        error=error or ("no_usage" if unknown else ""),
        text=parsed.text.replace(key, HIDDEN) if key and len(key) >= SHORTEST else parsed.text,
        finish=line(parsed.finish, key)[:40],
        logprobs=parsed.logprobs,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=endpoint.usd(tokens_in, tokens_out),
    )


def _parsed(endpoint: Endpoint, raw: bytes) -> Parsed | str:
    """The answer in a body, or the class of what is wrong with it."""
    if not raw.strip():
        return "empty_body"
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        if is_stream(raw):
            return "event_stream"
        return "html" if raw.lstrip()[:1] == b"<" else "bad_json"
    answer = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if not isinstance(answer, dict):
        return "wrong_shape"
    if answer.get("error") or answer.get("type") == "error" or answer.get("object") == "error":
        return "error_in_200"
    try:
        return endpoint.api.parse(answer)
    except (KeyError, TypeError, AttributeError, ValueError):  # any field of any other type
        return "wrong_shape"


def _outcome(request: Request, parsed: Parsed) -> tuple[str | None, str]:
    """A status and the class of what is wrong; None as status: the endpoint broke off."""
    reason = parsed.finish.casefold()
    if parsed.refusal or reason in WITHHELD:
        return REFUSED, "refusal" if parsed.refusal else reason
    if reason in BROKEN:
        return None, f"finish_{reason}"
    if reason in CUT and not request.logprobs:  # a verdict is its first token: it is cut by design
        return TRUNCATED, "length"
    if reason not in ENDED | CUT:
        return UNPARSEABLE, "unknown_finish"
    # What a verdict is read from are its log-probabilities: the first token may be a line break.
    return (ANSWERED, "") if parsed.text.strip() or (request.logprobs and parsed.logprobs) else (UNPARSEABLE, "empty")


def usage(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of tokens that came with an answer; empty where there are none."""
    used = answer.get("usage")
    return used if isinstance(used, dict) else {}


def count(value: Any) -> int | None:
    """A number of tokens; None for whatever cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < ABSURD:
        return None
    return int(value)


def text_of(content: Any) -> str:
    """The text of a string or of a list of blocks (thinking and tools are left out). Raises TypeError for other shapes."""
    if isinstance(content, list):
        content = "".join(block["text"] for block in content if block["type"] == "text")
    if not isinstance(content, str | None):
        raise TypeError("content")
    return (content or "").encode(errors="replace").decode()  # half a surrogate pair cannot be written to disk


def finish(reason: Any) -> str:
    """Why the model stopped. Raises TypeError for what is no text."""
    if not isinstance(reason, str | None):
        raise TypeError("finish_reason")
    return reason or ""
