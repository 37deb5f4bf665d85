"""What HTTP answers mean, without a network: the shapes of many servers, and bodies that nobody has thought of."""

import json
from dataclasses import replace
from typing import Any

import pytest
from fake_server import Seen, envelope, score_text
from paid_request import KEY, REQUEST, WORST, endpoint, shows_key

from zelo.budget.request_batch import Figures, faults_in_words, reasons_in_words
from zelo.errors import BadInput, LimitReached
from zelo.providers.anthropic import Messages
from zelo.providers.client import read
from zelo.providers.openai import ChatCompletions
from zelo.providers.request import Fault, Reading, Reply
from zelo.providers.retry import retry_after
from zelo.providers.secrets import line
from zelo.reporting.judge_costs import view


def test_pieces_of_keys_are_hidden() -> None:
    for words in (
        KEY,
        KEY.upper(),
        f"x{KEY[5:20]}y",
        f"{KEY[:9]}\n{KEY[20:]}",
        "sk-other-9876543210",
        "Bearer abc.def",
    ):
        shown = line(f"no: {words} .", KEY)
        assert not shows_key(shown)
        assert "9876" not in shown
        assert "abc.def" not in shown
        assert shown.startswith("no: ")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        *(({"retry-after": bad}, None) for bad in ("-1", "nan", "inf", "soon", "")),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def chat(content: Any = "A", usage: Any = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop"} | choice], "usage": usage}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            chat([{"type": "thinking", "thinking": []}, {"type": "text", "text": "A"}]),
            {"text": "A", "status": "answered"},
        ),
        (chat(usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 95}), {"tokens_out": 85}),  # Gemini
        (chat(usage={"prompt_tokens": 10, "total_tokens": 95}), {"tokens_in": 10, "tokens_out": 85, "error": ""}),
        (chat(usage={"prompt_tokens": 0, "completion_tokens": 0}), {"tokens_in": WORST[0], "tokens_out": WORST[1]}),
        (chat(usage={"prompt_tokens": 10, "completion_tokens": 0}), {"tokens_out": WORST[1], "error": "no_usage"}),
        (chat("half a pair: \ud800"), {"text": "half a pair: ?"}),
        (chat(finish_reason="error"), {"kind": "finish_error", "billed": True}),
        (chat(finish_reason="abort"), {"kind": "finish_abort", "billed": True}),
        (chat(finish_reason=None), {"status": "answered"}),
        (chat(finish_reason="STOP"), {"status": "answered"}),
        (chat(finish_reason="tool_calls"), {"status": "unparseable", "error": "unknown_finish"}),
        (chat(" \n"), {"status": "unparseable", "error": "empty"}),
        ({"object": "error", "message": "out of memory", "code": 500}, {"kind": "error_in_200"}),  # old vLLM
    ],
)
def test_answers_of_many_servers(body: Any, expected: dict[str, Any]) -> None:
    asked = endpoint("http://localhost:1/v1")
    result = read(asked, REQUEST, 200, {}, json.dumps(body).encode(), KEY)
    assert {name: getattr(result, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            429,
            [{"error": {"code": 429, "message": "You exceeded your current quota.", "status": "EXHAUSTED"}}],
            "http_429",
        ),
        (402, {"error": {"message": "Insufficient credits", "code": 402}}, "quota"),
        (403, {"error": {"code": 403, "metadata": {"reasons": ["x"], "flagged_input": "y"}}}, "content_filter"),
        (413, {"error": {"type": "request_too_large"}}, "context_too_long"),
        (
            400,
            {"object": "error", "message": "This model's maximum context length is 4096 tokens."},
            "context_too_long",
        ),
        (422, {"detail": [{"loc": ["body", "top_logprobs"], "msg": "too many"}]}, "http_422"),
        (404, {"error": "model 'x' not found, try pulling it first"}, "http_404"),
    ],
)
def test_errors_of_many_servers(status: int, body: Any, expected: str) -> None:
    result = read(endpoint("http://localhost:1/v1"), REQUEST, status, {}, json.dumps(body).encode(), KEY)
    assert (result.error if isinstance(result, Reply) else result.kind) == expected


@pytest.mark.parametrize(
    ("words", "param", "fix"),
    [
        ("Invalid value for 'top_logprobs': must be at most 5.", "top_logprobs", "judge.top_logprobs=5"),
        ("Requested sample logprobs of 20, which is greater than max allowed: 5", None, "judge.top_logprobs=5"),
        ("'logprobs' is not supported with reasoning models.", "logprobs", "judge.mode=score"),
        ("Unsupported parameter: 'top_logprobs'", None, "judge.mode=score"),
        (
            "'max_tokens' is not supported; use 'max_completion_tokens'.",
            "max_tokens",
            "judge.token_limit_key=max_completion",
        ),
        ("max_tokens is too large: 4096. This model supports at most 2048.", "max_tokens", "judge.max_tokens=2048"),
        ("'temperature' does not support 0.0 with this model.", "temperature", "judge.temperature=null"),
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported", None, "judge.structured=false"),
        ("Unsupported value: 'reasoning_effort'", "reasoning_effort", "judge.reasoning_effort=null"),
        ("Extra inputs are not permitted: seed", None, "judge.seed=null"),
        ("System role not supported", None, "judge.prompt"),
        (
            "enable_thinking must be set to false for non-streaming calls",
            None,
            "judge.extra_body.enable_thinking=false",
        ),
        ("Unknown parameter: 'top_k'.", "top_k", "judge.extra_body: change or leave out top_k"),
        ("chat_template_kwargs is not permitted", None, "judge.extra_body: change or leave out chat_template_kwargs"),
        ("The model `x` does not exist", None, "judge.model"),
        ("Bad request", None, "judge.mode, judge.structured"),
    ],
)
def test_a_400_names_the_field_that_governs_it(words: str, param: str | None, fix: str) -> None:
    extra = {"chat_template_kwargs": {"thinking": False}, "top_k": 1}
    asked = endpoint("http://localhost:1/v1", parameters={"max_tokens": 4096, "extra_body": extra})
    for status, body in (
        (400, {"error": {"message": words, "param": param, "type": "invalid_request_error", "code": None}}),
        (422, {"detail": [{"loc": ["body", param or "x"], "msg": words}]}),
    ):
        result = read(asked, REQUEST, status, {}, json.dumps(body).encode(), KEY)
        assert isinstance(result, Fault)
        assert fix in result.what.partition(words)[2]
        assert result.words.count(words) == result.what.count(words) == 1
        assert isinstance(result.stop, BadInput)


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("http://localhost:1", "need /v1 at the end"),
        ("http://localhost:1/v1/chat/completions", "must end before /chat/completions"),
        ("http://localhost:1/v1", "one of them is not there"),
    ],
)
def test_a_404_says_what_may_be_missing_of_the_address(base_url: str, words: str) -> None:
    result = read(endpoint(base_url), REQUEST, 404, {}, b"404 page not found", KEY)
    assert isinstance(result, Fault)
    assert words in result.what
    assert ("/v1 at the end" in result.what) == (base_url == "http://localhost:1")


@pytest.mark.parametrize(
    ("words", "stops"),
    [
        ("Rate limit reached on requests per day (RPD): Limit 1000, Used 1000", True),
        ("You exceeded your current quota, quotaId: GenerateRequestsPerDayPerProjectPerModel", True),
        ("Rate limit reached on requests per min (RPM): Limit 3", False),
    ],
)
def test_a_quota_of_the_day_ends_the_run_and_one_of_the_minute_does_not(words: str, stops: bool) -> None:
    result = read(endpoint("http://localhost:1/v1"), REQUEST, 429, {}, json.dumps({"error": words}).encode(), KEY)
    assert isinstance(result, Fault)
    assert isinstance(result.stop, LimitReached) == stops
    assert ("daily quota" in result.what) == ("run again when it is renewed" in result.what) == stops


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (429, b'{"error": {"message": "free requests per day", "code": 429}}', "daily_quota", "free requests per day"),
        (
            200,
            b'{"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "out of memory"}}}',
            "error_in_200",
            "Provider returned error: out of memory",
        ),
        (200, b'data: {"error": {"message": "no room"}}\n\ndata: [DONE]\n', "event_stream", "no room"),
        (200, b'data: {"choices": []}\n\ndata: [DONE]\n', "event_stream", '{"choices": []}'),
        (502, b"<html><head><title>502 Bad &amp; Gateway</title></head></html>", "http_502", "502 Bad & Gateway"),
        (200, b"<html><body><h1>It works!</h1></body></html>", "html", "It works!"),
        (500, b"upstream gone", "http_500", "upstream gone"),
        (200, b'{"choices": [{"message": 7}], "note": "odd"}', "wrong_shape", '"note": "odd"'),
    ],
)
def test_a_failed_call_is_reported_in_the_providers_own_words(status: int, body: bytes, kind: str, words: str) -> None:
    result = read(endpoint("http://localhost:1/v1"), REQUEST, status, {}, body, KEY)
    assert isinstance(result, Fault)
    assert result.kind == kind
    assert words in result.words
    assert result.what.count(words) == 1


def test_what_is_counted_carries_words_and_an_example() -> None:
    figures = Figures("free")
    figures.fault("http_429", "per minute")
    figures.fault("http_429", "per day")
    figures.fault("timeout", "")  # without words
    long = f"<think>\n\x1b[31m{KEY} " + "so " * 99
    for shown in (long, "another"):
        figures.read(replace(REQUEST, rows=(0, 1)), Reading("unparseable", why="no JSON: do this", shown=shown), KEY)
    figures.read(REQUEST, Reading("answered", (0.5,)), KEY)
    told = figures.as_facts()
    assert faults_in_words(told) == "http_429 2 (per day), timeout 1"
    (reason,) = reasons_in_words(told)
    assert reason.startswith(
        r"4 without a value: no JSON: do this; the first such answer: <think>\n\x1b[31m(hidden) so so"
    )
    assert not shows_key(reason)
    assert len(reason) < 200
    assert view(row := {"name": "x", "asked": 4, "answered": 0.0, "status": {}, "calls": told} | NOTHING)[
        "reasons"
    ] == [reason]
    assert view(row)["faults"] == "http_429 2 (per day), timeout 1"


NOTHING = dict.fromkeys(("tokens", "usd", "usable", "usd_per_preference", "ndcg", "weight"))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([("A", -0.1), ("B", -2.0), ("A", -0.1)], [("A", -0.1), ("B", -2.0)]),  # the sampled one is listed twice
        ([("A", 1e-7), ("B", float("-inf"))], [("A", 0.0)]),
        ([("A", float("nan")), ("B", -2.0)], []),
        ([("A", 0.5), ("B", -2.0)], []),
    ],
)
def test_log_probabilities_that_cannot_be_are_none(tokens: Any, expected: Any) -> None:
    first, *top = [{"token": token, "logprob": value} for token, value in [tokens[0], *tokens]]
    body = chat(logprobs={"content": [first | {"top_logprobs": top}]}, finish_reason="length")
    reply = read(
        endpoint("http://localhost:1/v1"), replace(REQUEST, logprobs=True), 200, {}, json.dumps(body).encode(), None
    )
    assert isinstance(reply, Reply)
    assert list(reply.logprobs) == expected


def test_no_body_is_beyond_reading() -> None:
    """Each value of an honest answer is replaced by each of many others: a reply or a fault, and never a crash."""
    seen = Seen(0, 0.0, "/v1/chat/completions", {}, {"logprobs": True, "messages": [{"content": ""}]})
    odd = [None, True, -1, 10**30, float("nan"), float("inf"), "", "x", "\ud800", [], [[]], {}, [None], {"a": 1}, [0]]
    for path in ("/v1/chat/completions", "/v1/messages"):
        seen.path = path
        asked = endpoint("http://localhost:1/v1", api=Messages() if seen.messages else ChatCompletions())
        honest = json.dumps(envelope(seen, "ok", score_text(seen)))
        for place in range(len(_places(json.loads(honest)))):
            for value in odd:
                body = json.loads(honest)
                holder, name = _places(body)[place]
                holder[name] = value
                for wanted in (False, True):
                    result = read(asked, replace(REQUEST, logprobs=wanted), 200, {}, json.dumps(body).encode(), KEY)
                    if isinstance(result, Reply):
                        assert 0 <= result.tokens_in + result.tokens_out < 10**10
                        result.text.encode()
                        assert all(value <= 0 for _, value in result.logprobs)
                for status in (400, 403, 429, 500):
                    read(asked, REQUEST, status, {}, json.dumps({"error": value, "message": value}).encode(), KEY)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for name, value in inner for place in [(tree, name), *_places(value)]]
