"""A request in a provider's words, and what came back as a reply or a fault. No network, no clock but for retry-after."""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from zelo.errors import BadInput, LimitReached, ZeloError
from zelo.providers import complaint
from zelo.providers.request import TOP_LOGPROBS, Endpoint, Reply, Request
from zelo.records import ANSWERED, FAILED, REFUSED, TRUNCATED, UNPARSEABLE

CHAT, MESSAGES = "chat_completions", "messages"
PATHS = {CHAT: "/chat/completions", MESSAGES: "/messages"}
ANTHROPIC_VERSION = "2023-06-01"
HIDDEN = "(hidden)"
SHORTEST = 8  # characters of a key that could give it away; a shorter one cannot be told from ordinary text
WORDS = 200  # characters of a provider's own words that a message repeats
EXAMPLE = 120  # characters of an answer that a message shows
ABSURD = 10**9  # tokens; a larger count is a mistake of the endpoint's

REFUSED_CONNECTION = "refused_connection"  # the class of a fault: nothing listens at that address
CROWDED = frozenset({"http_429", "http_503", "http_529"})  # faults that say: too much at once
TIMED_OUT = frozenset({504, 524})  # a gateway gave up waiting, but the model behind it may have gone on
RETRIED = frozenset({408, 409, 425, 429})  # and everything from 500 on
QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"})
NO_CREDIT = re.compile(r"credit balance is too low|insufficient (credits|balance)", re.IGNORECASE)
TOO_LONG = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"})
TOO_LONG_WORDS = re.compile(
    r"context (length|window|size|limit)|(prompt|input|string|request) (is )?too (long|large)|too many (input )?tokens"
    r"|maximum (number of (input )?tokens|(prompt|input|model) length)|longer than the (maximum )?model",
    re.IGNORECASE,
)
FILTERED = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})

ENDED = frozenset({"", "stop", "end_turn", "stop_sequence", "eos", "eos_token"})
CUT = frozenset({"length", "max_tokens", "model_length", "model_context_window_exceeded"})
WITHHELD = frozenset({"content_filter", "refusal", "safety"})
BROKEN = frozenset({"error", "abort"})  # the endpoint says that it failed half-way

# What a key looks like, whole or with its middle masked, should a provider repeat another one than was sent.
KEY_SHAPE = re.compile(r"\b(?:(?:sk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|AIza[\w*-]{10,})|(?<=Bearer )\S+")
_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


@dataclass(frozen=True, slots=True)
class Fault:
    """An attempt that brought nothing to read. With `stop` no further call could succeed; else it may be tried again."""

    kind: str  # its class: http_500, timeout, no_choices ...
    what: str  # one line for the user, never with a key
    billed: bool  # the provider may have billed it
    stop: ZeloError | None = None  # what the run ends with
    retry_after: float | None = None  # seconds that the endpoint asks for
    sent: bool = True  # the request reached the provider, or may have
    words: str = ""  # the provider's own, in one line without the key

    @property
    def crowded(self) -> bool:
        """The endpoint says that it is too much at once."""
        return self.kind in CROWDED


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer of either API. Counts are None where the endpoint gave none that can be."""

    text: str
    finish: str
    refusal: bool
    logprobs: tuple[tuple[str, float], ...]
    tokens_in: int | None
    tokens_out: int | None


def plain_headers(endpoint: Endpoint) -> dict[str, str]:
    """What goes before the body, but for the key."""
    json_only = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
    return (
        json_only
        | {"user-agent": "zelo"}
        | ({"anthropic-version": ANTHROPIC_VERSION} if endpoint.api == MESSAGES else {})
    )


def body(endpoint: Endpoint, request: Request) -> bytes:
    """The JSON to post to PATHS[endpoint.api]."""
    chosen = {
        name: endpoint.parameters[name]
        for name in ("temperature", "seed", "reasoning_effort")
        if endpoint.parameters.get(name) is not None
    }
    make = _messages_body if endpoint.api == MESSAGES else _chat_body
    sent = make(endpoint, request, chosen) | dict(endpoint.parameters.get("extra_body", {}))
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode()


def _chat_body(endpoint: Endpoint, request: Request, chosen: dict[str, Any]) -> dict[str, Any]:
    system = [{"role": "system", "content": request.system}] if request.system else []
    asked: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [*system, {"role": "user", "content": request.user}],
        complaint.limit_key(endpoint): request.tokens_out,
        **chosen,
    }
    if request.schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.logprobs:
        asked |= {"logprobs": True, "top_logprobs": endpoint.parameters.get("top_logprobs", TOP_LOGPROBS)}
    return asked


def _messages_body(endpoint: Endpoint, request: Request, chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": endpoint.model,
        **({"system": request.system} if request.system else {}),
        "messages": [{"role": "user", "content": request.user}],
        "max_tokens": request.tokens_out,
        **chosen,
    }


def read(
    endpoint: Endpoint, request: Request, status: int, headers: Mapping[str, str], raw: bytes, key: str | None
) -> Reply | Fault:
    """What an HTTP answer means for this request. `key` is what was sent: it is in nothing that comes out of here."""
    if not 200 <= status < 300:
        return _read_error(endpoint, status, headers, raw, key)
    said = _said(endpoint.api, raw)
    if isinstance(said, str):
        words = line(complaint.of(raw).words, key)
        what = f"{where(endpoint)} answered {status} with {_HUMAN[said]}" + f" ({words})" * bool(words)
        return Fault(said, what, billed=True, words=words)
    outcome, error = _outcome(request, said)
    if outcome is None:
        return Fault(error, f"{where(endpoint)} ended its answer with {error}", billed=True)
    tokens_in = request.tokens_in if said.tokens_in is None else said.tokens_in
    tokens_out = request.tokens_out if said.tokens_out is None else said.tokens_out
    unknown = said.tokens_in is None or said.tokens_out is None
    return Reply(
        status=outcome,
        error=error or ("no_usage" if unknown else ""),
        text=said.text.replace(key, HIDDEN) if key and len(key) >= SHORTEST else said.text,
        finish=line(said.finish, key)[:40],
        logprobs=said.logprobs,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=endpoint.usd(tokens_in, tokens_out),
    )


_HUMAN = {
    "empty_body": "an empty body",
    "html": "a web page",
    "bad_json": "something that is not JSON",
    "wrong_shape": "JSON of another shape",
    "event_stream": "a stream of events, which was not asked for",
    "error_in_200": "an error in place of an answer",
    "no_choices": "no answer in it",
}


def _said(api: str, raw: bytes) -> _Said | str:
    """The answer in a body, or the class of what is wrong with it."""
    if not raw.strip():
        return "empty_body"
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        if complaint.is_stream(raw):
            return "event_stream"
        return "html" if raw.lstrip()[:1] == b"<" else "bad_json"
    answer = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if not isinstance(answer, dict):
        return "wrong_shape"
    if answer.get("error") or answer.get("type") == "error" or answer.get("object") == "error":
        return "error_in_200"
    try:
        return _messages_answer(answer) if api == MESSAGES else _chat_answer(answer)
    except (KeyError, TypeError, AttributeError, ValueError):  # any field of any other type
        return "wrong_shape"


def _chat_answer(answer: dict[str, Any]) -> _Said | str:
    if not answer.get("choices"):
        return "no_choices"
    choice = answer["choices"][0]
    message = choice["message"]
    usage = _usage(answer)
    tokens_in, tokens_out, total = map(_count, map(usage.get, ("prompt_tokens", "completion_tokens", "total_tokens")))
    if total is not None and tokens_in is not None:  # some leave the tokens of thinking out of completion_tokens
        tokens_out = max(tokens_out or 0, total - tokens_in)
    text = _text(message.get("content"))
    return _Said(
        text,
        _finish(choice.get("finish_reason")),
        bool(message.get("refusal")),
        _logprobs(choice.get("logprobs")),
        tokens_in or None,
        None if text and not tokens_out else tokens_out,
    )


def _messages_answer(answer: dict[str, Any]) -> _Said | str:
    if answer.get("content") is None:
        return "no_choices"
    if not isinstance(answer["content"], list):
        return "wrong_shape"
    usage = _usage(answer)
    tokens_in = _count(usage.get("input_tokens"))
    if tokens_in is not None:
        tokens_in += sum(_count(usage.get(f"cache_{how}_input_tokens")) or 0 for how in ("creation", "read"))
    tokens_out = _count(usage.get("output_tokens"))
    text = _text(answer["content"])
    finish = _finish(answer.get("stop_reason"))
    return _Said(text, finish, False, (), tokens_in or None, None if text and not tokens_out else tokens_out)


def _usage(answer: dict[str, Any]) -> dict[str, Any]:
    usage = answer.get("usage")
    return usage if isinstance(usage, dict) else {}


def _count(value: Any) -> int | None:
    """A number of tokens; None for whatever cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < ABSURD:
        return None
    return int(value)


def _text(content: Any) -> str:
    """The text of a string or of a list of blocks (thinking and tools are left out). Raises TypeError for other shapes."""
    if isinstance(content, list):
        content = "".join(block["text"] for block in content if block["type"] == "text")
    if not isinstance(content, str | None):
        raise TypeError("content")
    return (content or "").encode(errors="replace").decode()  # half a surrogate pair cannot be written to disk


def _finish(reason: Any) -> str:
    if not isinstance(reason, str | None):
        raise TypeError("finish_reason")
    return reason or ""


def _logprobs(given: Any) -> tuple[tuple[str, float], ...]:
    """(token, log-probability) of the likeliest first tokens, natural logarithm; none at all where any is impossible."""
    if not given or not given.get("content"):
        return ()
    first = given["content"][0]
    found: dict[tuple[str, float], None] = {}
    for token in [*(first.get("top_logprobs") or []), first]:
        value = float(token["logprob"])
        if math.isnan(value) or value > 1e-3:
            return ()
        if math.isfinite(value):
            found[str(token["token"]).encode(errors="replace").decode(), min(value, 0.0)] = None
    return tuple(found)


def _outcome(request: Request, said: _Said) -> tuple[str | None, str]:
    """A status and the class of what is wrong; None as status: the endpoint broke off."""
    finish = said.finish.casefold()
    if said.refusal or finish in WITHHELD:
        return REFUSED, "refusal" if said.refusal else finish
    if finish in BROKEN:
        return None, f"finish_{finish}"
    if finish in CUT and not request.logprobs:  # a verdict is its first token: it is cut by design
        return TRUNCATED, "length"
    if finish not in ENDED | CUT:
        return UNPARSEABLE, "unknown_finish"
    # What a verdict is read from are its log-probabilities: the first token may be a line break.
    return (ANSWERED, "") if said.text.strip() or (request.logprobs and said.logprobs) else (UNPARSEABLE, "empty")


def _read_error(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], raw: bytes, key: str | None
) -> Reply | Fault:
    kind, said = f"http_{status}", complaint.of(raw)
    words = line(said.words, key)
    told = f"{where(endpoint)} answered {status}" + f" ({words})" * bool(words)
    if status == 402 or said.codes & QUOTA or NO_CREDIT.search(said.words):
        message = (
            f"{told}: the credit behind {_key_of(endpoint)} is used up. Every answer is kept; add credit and run again."
        )
        return Fault("quota", message, billed=False, stop=LimitReached(message), words=words)
    if status >= 500 or status in RETRIED:
        return Fault(kind, told, billed=status in TIMED_OUT, retry_after=retry_after(headers), words=words)
    if said.codes & FILTERED or (status == 403 and "flagged_input" in said.codes):
        return Reply(status=REFUSED, error="content_filter", words=words)
    if status == 413 or (status in (400, 422) and (said.codes & TOO_LONG or TOO_LONG_WORDS.search(said.words))):
        return Reply(status=FAILED, error="context_too_long", words=words)
    message = f"{told}. {_fix(endpoint, status, headers, said, key)}"
    kind = "redirect" if 300 <= status < 400 else kind
    return Fault(kind, message, billed=False, stop=BadInput(message), words=words)


def _fix(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], said: complaint.Complaint, key: str | None
) -> str:
    if 300 <= status < 400:
        to = line(_host(headers.get("location", "")), key) or "elsewhere"
        return f"That is a redirect to {to}, and none is followed; set base_url to the endpoint's own address."
    if status in (401, 403):
        if endpoint.api_key_env is None:
            return "No key was sent; set api_key_env to the name of the environment variable that holds one."
        return f"Check the key in {endpoint.api_key_env}, and that it may use {endpoint.model}."
    return complaint.not_there(endpoint) if status in (404, 405) else complaint.advice(endpoint, said)


def _key_of(endpoint: Endpoint) -> str:
    return f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "this endpoint"


def where(endpoint: Endpoint) -> str:
    """The judge and the address: how a message about it begins."""
    return f"judge {endpoint.name}: {urlsplit(endpoint.base_url).netloc}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def line(words: str, key: str | None) -> str:
    """A stranger's words in one line of at most 200 printable characters, with the key, or a piece of it, hidden."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in words[:4096]).split())
    flat = KEY_SHAPE.sub(HIDDEN, without(flat, key) if key else flat)
    return flat if len(flat) <= WORDS else flat[: WORDS - 3] + "..."


def example(text: str, key: str | None) -> str:
    """The beginning of an answer for a message: unprintable characters escaped, keys hidden."""
    text = text.strip()[: 2 * EXAMPLE]
    shown = KEY_SHAPE.sub(HIDDEN, without(text, key) if key and len(key) >= SHORTEST else text)
    shown = shown[:EXAMPLE] + "..." * (len(shown) > EXAMPLE)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def without(words: str, key: str) -> str:
    """The words with every piece of the key of 8 characters or more hidden, in small letters or capitals."""
    shortest, small, secret = min(SHORTEST, len(key)), words.translate(_LOWER), key.translate(_LOWER)
    out, at = [], 0
    while at < len(words):
        end = at + shortest
        if small[at:end] in secret and end <= len(words):
            while end < len(words) and small[at : end + 1] in secret:
                end += 1
            out.append(HIDDEN)
            at = end
        else:
            out.append(words[at])
            at += 1
    return "".join(out)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait, from a number or a date (by the endpoint's own clock if it tells it)."""
    asked = headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        until, now = _date(asked), _date(headers.get("date", ""))
        if until is None:
            return None
        seconds = max(0.0, until - (time.time() if now is None else now))
    return seconds if 0 <= seconds < math.inf else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
