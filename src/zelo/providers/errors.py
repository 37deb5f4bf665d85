"""What an answer without a reply means: the provider's codes and words, the judge's field that they are about, and the stop."""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from zelo.errors import BadInput, LimitReached
from zelo.providers.request import ChatProvider, Endpoint, Fault, Reply
from zelo.providers.retry import is_retried, may_be_billed, retry_after
from zelo.providers.secrets import line
from zelo.records import FAILED, REFUSED

QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"})
NO_CREDIT = re.compile(r"credit balance is too low|insufficient (credits|balance)", re.IGNORECASE)
TOO_LONG = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large", "max_tokens_exceeded"})
TOO_LONG_WORDS = re.compile(
    r"context (length|window|size|limit)|(prompt|input|string|request) (is )?too (long|large)|too many (input )?tokens"
    r"|maximum (number of (input )?tokens|(prompt|input|model) length)|longer than the (maximum )?model",
    re.IGNORECASE,
)
# A limit by the day, in the words of OpenAI, Groq, Mistral and OpenRouter, or the name of Gemini's quota.
DAILY = re.compile(r"\b(?:per|a)[ -]day\b|\bdaily\b|\b[RT]PD\b|PerDay", re.IGNORECASE)
FILTERED = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
READ = 4096  # characters of a body that are looked at
_UNSUPPORTED = re.compile(
    r"unsupported|not (?:be )?(?:supported|permitted|allowed|available|enabled)|unknown|unrecogni[sz]ed|unexpected|extra"
    r"|does not (?:support|exist)|doesn't support|no longer|instead|deprecated",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"(?:invalid|unknown|no such) model|model\b.{0,80}(?:not found|not exist|not available|not valid)", re.IGNORECASE
)
_AT_MOST = re.compile(
    r"(?:at most|up to|maximum(?: \w+){0,3}|max(?: \w+)?|less than or equal to|<=|between 0 and|exceeds?(?: \w+){0,3})"
    r"[ :=]*(\d+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error's body: codes in small letters, the parameter that it names ("" for none), and its words."""

    codes: frozenset[str]
    param: str
    words: str


def read_error(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], raw: bytes, key: str | None
) -> Reply | Fault:
    """What a status outside 200 to 299 means: a reply (refused, prompt too long), a fault to try again, or a stop."""
    kind, said = f"http_{status}", error_body(raw)
    words = line(said.words, key)
    answered = f"{where(endpoint)} answered {status}" + f" ({words})" * bool(words)
    if status == 402 or said.codes & QUOTA or NO_CREDIT.search(said.words):
        message = f"{answered}: the credit behind {_key_of(endpoint)} is used up. Every answer is kept; add credit and run again."
        return Fault("quota", message, billed=False, stop=LimitReached(message), words=words)
    if status == 429 and DAILY.search(f"{said.words} {raw[:READ].decode(errors='replace')}"):
        message = (
            f"{answered}: the daily quota of {_key_of(endpoint)} is used up. Every answer is kept; run again when it is renewed,"
            " or raise it with the provider."
        )
        return Fault("daily_quota", message, billed=False, stop=LimitReached(message), words=words)
    if is_retried(status):
        return Fault(kind, answered, billed=may_be_billed(status), retry_after=retry_after(headers), words=words)
    if said.codes & FILTERED or (status == 403 and "flagged_input" in said.codes):
        return Reply(status=REFUSED, error="content_filter", words=words)
    if status == 413 or (status in (400, 422) and (said.codes & TOO_LONG or TOO_LONG_WORDS.search(said.words))):
        return Reply(status=FAILED, error="context_too_long", words=words)
    message = f"{answered}. {_fix(endpoint, status, headers, said, key)}"
    kind = "redirect" if 300 <= status < 400 else kind
    return Fault(kind, message, billed=False, stop=BadInput(message), words=words)


def _fix(endpoint: Endpoint, status: int, headers: Mapping[str, str], said: ErrorBody, key: str | None) -> str:
    if 300 <= status < 400:
        to = line(_host(headers.get("location", "")), key) or "elsewhere"
        return f"That is a redirect to {to}, and none is followed; set base_url to the endpoint's own address."
    if status in (401, 403):
        if endpoint.api_key_env is None:
            return "No key was sent; set api_key_env to the name of the environment variable that holds one."
        return f"Check the key in {endpoint.api_key_env}, and that it may use {endpoint.model}."
    return not_there(endpoint) if status in (404, 405) else advice(endpoint, said)


def _key_of(endpoint: Endpoint) -> str:
    return f"the key in {endpoint.api_key_env}" if endpoint.api_key_env else "this endpoint"


def where(endpoint: Endpoint) -> str:
    """Who asks and the address: how a message about it begins."""
    return f"{endpoint.asker}: {urlsplit(endpoint.base_url).netloc}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def error_body(raw: bytes) -> ErrorBody:
    """What a body says, whichever of the usual shapes it has: JSON, a stream of events, a web page, plain text."""
    text = raw[:READ].decode(errors="replace").strip()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        if text.startswith("<"):
            return ErrorBody(frozenset(), "", _of_page(text))
        return _of_events(text) if is_stream(raw) else ErrorBody(frozenset(), "", text)
    body = body[0] if isinstance(body, list) and body else body
    if not isinstance(body, dict):
        return ErrorBody(frozenset(), "", text)
    error = body.get("error")
    parts = [part for part in (error, body) if isinstance(part, dict)]
    codes = {str(part[name]).casefold() for part in parts for name in ("code", "type", "status") if part.get(name)}
    for part in parts:
        codes |= {str(name) for name in part["metadata"]} if isinstance(part.get("metadata"), dict) else set()
        inner = part.get("innererror")
        codes |= {str(inner.get("code")).casefold()} if isinstance(inner, dict) else set()
    found = [part.get(name) for part in parts for name in ("message", "detail")]
    words = next((one for one in [error, *found] if isinstance(one, str) and one), None)
    words = words or next((json.dumps(one) for one in found if one), text)
    return ErrorBody(frozenset(codes), _param(parts), words + _behind(parts))


def _param(parts: Iterable[Mapping[str, Any]]) -> str:
    """The parameter that is at fault: OpenAI's `param`, or the place in FastAPI's list of details."""
    for part in parts:
        if isinstance(part.get("param"), str) and part["param"]:
            return part["param"]
        detail = part.get("detail")
        first = detail[0] if isinstance(detail, list) and detail else None
        place = first.get("loc") if isinstance(first, dict) else None
        if isinstance(place, list) and place:
            return ".".join(str(one) for one in place if one != "body")
    return ""


def _behind(parts: Iterable[Mapping[str, Any]]) -> str:
    """What a router passes on of the provider behind it."""
    for part in parts:
        more = part.get("metadata")
        said = more.get("raw") if isinstance(more, dict) else None
        if isinstance(said, str) and said.strip():
            return f": {said.strip()}"
    return ""


def is_stream(raw: bytes) -> bool:
    """Whether a body is a stream of events."""
    return raw.lstrip().startswith((b"data:", b"event:", b": "))


def _of_events(text: str) -> ErrorBody:
    events = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("data:")]
    broken = next((event for event in events if '"error"' in event), None)
    if broken is not None:
        return error_body(broken.encode())
    return ErrorBody(frozenset(), "", events[0] if events else text)


def _of_page(text: str) -> str:
    """The title of a web page, or its first words."""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    plain = re.sub(r"<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return html.unescape(title[1] if title and title[1].strip() else plain).strip()


def advice(endpoint: Endpoint, body: ErrorBody) -> str:
    """Which field of the judge governs what a 400 or 422 is about, and what to set it to."""
    extra = endpoint.parameters.get("extra_body", {})
    for text in filter(None, (body.param, body.words)):  # what is named is more certain than what is mentioned
        for name in _names(extra):
            if _mentions(text, name) and ("_" in name or name in extra or text == body.param):
                return f"That is {endpoint.setting}extra_body: change or leave out {name}."
        for names, fix in _FIXES if isinstance(endpoint.api, ChatProvider) else ():
            if any(_mentions(text, name) for name in names):
                return fix(endpoint, body.words)
    if body.param == "model" or "model_not_found" in body.codes or _NO_MODEL.search(body.words):
        return f"Set {endpoint.setting}model to a name that this endpoint serves."
    *fields, last = (f"{endpoint.setting}{name}" for name in endpoint.api.fields)
    return f"No call like this one can succeed; what is sent follows from {', '.join(fields)} and {last}."


def _names(tree: Any) -> list[str]:
    """Keys of a tree, the inner ones first: they are more particular."""
    if not isinstance(tree, Mapping):
        return []
    return [*(name for value in tree.values() for name in _names(value)), *map(str, tree)]


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![a-z0-9_]){re.escape(name)}(?![a-z0-9_])", text, re.IGNORECASE) is not None


def _logprobs(_: Endpoint, words: str) -> str:
    if most := _AT_MOST.search(words):
        return f"Set judge.top_logprobs={most[1]}: this endpoint lists no more tokens."
    if _mentions(words, "top_logprobs") and not _UNSUPPORTED.search(words):
        return "Set judge.top_logprobs to a smaller number, such as 5."
    return "Set judge.mode=score: this endpoint gives no log-probabilities, which mode=verdict needs."


def _limit(endpoint: Endpoint, words: str) -> str:
    assert isinstance(endpoint.api, ChatProvider)
    sent = endpoint.api.token_limit_key(endpoint)
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[sent]
    if _mentions(words, other) or _UNSUPPORTED.search(words):
        return f"Set judge.token_limit_key={other}: this endpoint does not take {sent}."
    if endpoint.parameters.get("max_tokens") == 1:
        return "Set judge.mode=score: mode=verdict asks for one token, which is too few for this model."
    most = _AT_MOST.search(words)
    return f"Set judge.max_tokens={most[1]}." if most else "Set judge.max_tokens to a number that this endpoint takes."


def _always(fix: str) -> Callable[[Endpoint, str], str]:
    return lambda endpoint, words: fix


# Names in a provider's words, the most certain first -> the fix.
_FIXES: tuple[tuple[tuple[str, ...], Callable[[Endpoint, str], str]], ...] = (
    (("top_logprobs", "logprobs", "logprob", "log probabilities", "log-probabilities"), _logprobs),
    (("max_tokens", "max_completion_tokens"), _limit),
    (("temperature",), _always("Set judge.temperature=null, or to a value that this model takes.")),
    (
        ("response_format", "json_schema", "response_schema", "guided_json", "structured output", "structured outputs"),
        _always("Set judge.structured=false: this endpoint cannot hold its answer to a JSON schema."),
    ),
    (
        ("reasoning_effort", "reasoning.effort", "reasoning effort"),
        _always("Set judge.reasoning_effort=null, or to a value that this model takes."),
    ),
    (("enable_thinking",), _always("Set judge.extra_body.enable_thinking=false.")),
    (("seed",), _always("Set judge.seed=null: this endpoint takes none.")),
    (
        ("system role", "system message", "system messages", "system prompt"),
        _always(
            "Set judge.prompt (also cross_prompt, rubric_prompt) to a file without [system]: this model takes none."
        ),
    ),
)


def not_there(endpoint: Endpoint) -> str:
    """What may be wrong where an address answers 404 or 405."""
    path = urlsplit(endpoint.base_url).path.rstrip("/")
    said = f"Check model={endpoint.model} and base_url={endpoint.base_url}: one of them is not there."
    if path.endswith(("/completions", "/messages", "/systemone", "/decisions", "/rerank")):
        return f"{said} base_url must end before {endpoint.api.path}."
    if not re.search(r"/v\d", path):
        return f"{said} Most endpoints need /v1 at the end of the path."
    return said
