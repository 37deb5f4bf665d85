"""The client of paid calls against a server that misbehaves: each fault gets its outcome, its price and its stop."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import KINDS, TOKENS_IN, TOKENS_OUT, VERDICT, FakeServer, closed_port
from paid_request import KEY, REQUEST, VARIABLE, WORST, endpoint, run, shows_key

from zelo.errors import BadInput, LimitReached
from zelo.providers.anthropic import Messages
from zelo.providers.client import Client
from zelo.providers.openai import ChatCompletions
from zelo.providers.request import Fault, Provider, Reply
from zelo.providers.retry import pause

FAKES = str(Path(__file__).parents[1] / "fakes")  # of modules that a test's own process imports

SCHEMA = {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}

# kind -> (status of the reply, its class), for what is final; the class of a fault, for what is tried again; its stop else.
FINAL = {
    "ok": ("answered", ""),
    **dict.fromkeys(("refusal_in_prose", "score_out_of_range", "score_nan", "two_scores"), ("answered", "")),
    "cut_structure": ("answered", ""),
    **dict.fromkeys(("no_usage", "usage_nan", "usage_negative"), ("answered", "no_usage")),
    "empty_content": ("unparseable", "empty"),
    "length": ("truncated", "length"),
    "content_filter": ("refused", "content_filter"),
    "refusal_field": ("refused", "refusal"),
    "http_400_content_filter": ("refused", "content_filter"),
    "context_too_long": ("failed", "context_too_long"),
    "context_too_long_in_words": ("failed", "context_too_long"),
}
FREE = {
    **dict.fromkeys(("http_429_retry_after", "http_429"), "http_429"),
    **{kind: kind for kind in ("http_408", "http_500", "http_502", "http_529")},
    "http_503_html": "http_503",
}
BILLED = {
    **{kind: kind for kind in ("http_504", "empty_body", "bad_json", "wrong_shape", "no_choices", "error_in_200")},
    **dict.fromkeys(("bad_utf8", "deep_json"), "bad_json"),
    **dict.fromkeys(("too_large", "too_large_gzip"), "too_large"),
    **dict.fromkeys(("reset", "reset_early", "cut_chunks", "bad_http"), "broken_connection"),
    **dict.fromkeys(("stall", "drip"), "timeout"),
    "html_in_200": "html",
    "wrong_types": "wrong_shape",
}
STOPS: dict[str, type[Exception]] = {
    **dict.fromkeys(("http_400", "http_401", "http_403", "http_404", "http_422", "redirect"), BadInput),
    **dict.fromkeys(("quota", "no_credit"), LimitReached),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    """Answers by the name of the model."""
    with FakeServer(retry_after="0.2") as server:
        yield server


def everything_of(result: Reply | Fault) -> str:
    """All words that could reach a screen, a log or a file."""
    stop = result.stop if isinstance(result, Fault) else None
    return f"{result!r} {stop!r} {stop} {stop.__cause__ if stop else ''} {stop.__context__ if stop else ''}"


@pytest.mark.parametrize("api", [ChatCompletions(), Messages()], ids=["openai", "anthropic"])
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"stale"}))
def test_every_fault_has_its_outcome(server: FakeServer, api: Provider, kind: str) -> None:
    before = len(server.seen)
    timeout = 0.2 if BILLED.get(kind) == "timeout" else 5.0
    asked = endpoint(server.base_url, model=kind, api=api, timeout=timeout)
    result = run(asked, lambda client: client.send(REQUEST))
    seen = server.seen[before:]
    assert [one.kind for one in seen] == [kind]
    assert not shows_key(everything_of(result))
    if kind in FINAL:
        assert isinstance(result, Reply)
        status, error = FINAL[kind]
        if kind == "content_filter" and api == Messages():
            error = "refusal"  # that API has one word for both
        assert (result.status, result.error) == (status, error)
        told = kind not in ("no_usage", "usage_nan", "usage_negative")
        if seen[0].body and result.status != "failed" and kind != "http_400_content_filter":
            assert (result.tokens_in, result.tokens_out) == ((TOKENS_IN, TOKENS_OUT) if told else WORST)
            assert result.usd == pytest.approx((result.tokens_in + 2 * result.tokens_out) / 1e6)
        else:
            assert result.usd == 0
        if result.status == "answered":
            assert result.text == server.text_of(
                seen[0]
            )  # not a word of anything else: what it says is for the judge to read
            assert result.seconds > 0
        return
    assert isinstance(result, Fault)
    assert "careful" in result.what
    assert len(result.what) < 600
    assert "\n" not in result.what
    if kind in STOPS:
        assert type(result.stop) is STOPS[kind]
        assert not result.billed
        assert str(result.stop) == result.what
    else:
        assert result.stop is None
        assert (result.kind, result.billed) == ((FREE[kind], False) if kind in FREE else (BILLED[kind], True))


def test_a_stop_names_the_judge_the_host_the_status_and_the_fix(server: FakeServer) -> None:
    host = server.base_url.split("/")[2]
    for kind, fix in (
        ("http_401", VARIABLE),
        ("http_403", VARIABLE),
        ("http_404", "model=http_404"),
        ("redirect", "base_url"),
        ("http_400", "temperature"),
        ("quota", VARIABLE),
    ):
        result = run(endpoint(server.base_url, model=kind), lambda client: client.send(REQUEST))
        status = {"redirect": "307", "quota": "429"}.get(kind, kind[-3:])
        for part in ("careful", host, status, fix):
            assert part in result.what, (kind, result.what)
        assert result.what.isprintable()


def test_nobody_listens() -> None:
    with closed_port() as base_url:
        result = run(endpoint(base_url), lambda client: client.send(REQUEST))
    assert (result.kind, result.billed, result.stop) == ("refused_connection", False, None)


def test_a_server_on_this_machine_that_is_not_there_is_tried_less_often() -> None:
    refused, crowded = (Fault(kind, "", billed=False) for kind in ("refused_connection", "http_503"))
    here, far = (endpoint(url, retries=5) for url in ("http://127.0.0.1:9/v1", "https://example.com/v1"))
    pauses = [pause(*case, 2, 0.0) for case in ((here, refused), (far, refused), (here, crowded))]
    assert [seconds is None for seconds in pauses] == [True, False, False]
    assert pause(here, refused, 1, 0.0) is not None


def test_no_proxy_of_the_shell_sees_a_call(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as base_url:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, base_url)
        assert run(endpoint(server.base_url), lambda client: client.send(REQUEST)).status == "answered"


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next(server: FakeServer) -> None:
    async def work(client: Client) -> list[str]:
        texts = []
        for _ in range(4):
            reply = await client.send(REQUEST)
            assert isinstance(reply, Reply)
            texts.append(reply.text)
            await asyncio.sleep(0.06)
        return texts

    assert "STALE" not in run(endpoint(server.base_url, model="stale", concurrency=1), work)


def test_a_redirect_is_never_followed() -> None:
    with FakeServer() as second, FakeServer(plan=lambda seen: "redirect", location=second.base_url) as first:
        result = run(endpoint(first.base_url), lambda client: client.send(REQUEST))
        assert isinstance(result.stop, BadInput)
        assert (len(first.seen), len(second.seen)) == (1, 0)


# What is sent


def test_the_two_apis_in_their_own_words(server: FakeServer) -> None:
    structured = replace(REQUEST, schema=SCHEMA)
    parameters = {"temperature": 0.5, "seed": None, "reasoning_effort": None, "max_tokens": 50}
    before = len(server.seen)
    run(endpoint(server.base_url, parameters=parameters), lambda client: client.send(structured))
    thinking = parameters | {"reasoning_effort": "low", "seed": 7}
    run(endpoint(server.base_url, parameters=thinking), lambda client: client.send(REQUEST))
    run(endpoint(server.base_url, parameters=parameters, api=Messages()), lambda client: client.send(structured))
    chat, thoughtful, messages = server.seen[before:]
    user = {"role": "user", "content": "A or B?"}
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    asked = {"model": "ok", "messages": [{"role": "system", "content": "You judge."}, user]}
    assert chat.body == asked | {"max_tokens": 50, "temperature": 0.5, "response_format": schema}
    extra = {"max_completion_tokens": 50, "temperature": 0.5, "seed": 7, "reasoning_effort": "low"}
    assert thoughtful.body == asked | extra
    expected = {"model": "ok", "system": "You judge.", "messages": [user], "max_tokens": 50, "temperature": 0.5}
    assert messages.body == expected
    assert (chat.path, messages.path) == ("/v1/chat/completions", "/v1/messages")
    assert chat.headers["authorization"] == f"Bearer {KEY}"
    assert messages.headers["x-api-key"] == KEY
    assert messages.headers["anthropic-version"]
    assert "authorization" not in messages.headers
    assert "cookie" not in chat.headers


def test_a_verdict_is_one_token_with_its_probabilities(server: FakeServer) -> None:
    reply = run(endpoint(server.base_url), lambda client: client.send(replace(REQUEST, logprobs=True)))
    assert (reply.status, reply.text, reply.finish) == ("answered", "A", "length")
    assert [token for token, _ in reply.logprobs] == list(VERDICT)
    assert (server.seen[-1].body["logprobs"], server.seen[-1].body["top_logprobs"]) == (True, 20)


# Keys


def test_a_query_string_is_carried(server: FakeServer) -> None:
    asked = endpoint(f"{server.base_url}/?api-version=2024-10-21&x=a%20b")
    assert run(asked, lambda client: client.send(REQUEST)).status == "answered"
    assert server.seen[-1].path == "/v1/chat/completions?api-version=2024-10-21&x=a%20b"


@pytest.mark.parametrize(
    ("base_url", "key", "words"),
    [
        ("http://api.example.com/v1", KEY, "clear text"),
        ("https://api.example.com/v1", None, VARIABLE),
        ("https://api.example.com/v1", "  ", VARIABLE),
        ("https://api.example.com/v1", f"{KEY}\n", "one line"),
        ("https://api.example.com/v1", f"{KEY}\r\nx: y", "one line"),
        ("https://api.example.com/v1", f"{KEY}ü", "one line"),
        ("https://api.example.com:99999/v1", KEY, "no address"),
    ],
)
def test_a_key_that_cannot_be_sent_safely(
    monkeypatch: pytest.MonkeyPatch, base_url: str, key: str | None, words: str
) -> None:
    monkeypatch.delenv(VARIABLE) if key is None else monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(BadInput, match=words) as caught:
        Client(endpoint(base_url))
    assert not shows_key(f"{caught.value!r} {caught.value.__context__!r}")


def test_a_local_endpoint_needs_no_key(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert run(endpoint(server.base_url), lambda client: client.send(REQUEST)).status == "answered"
    assert not server.seen[-1].key
    Client(endpoint("http://gpu-box:8000/v1", api_key_env=None))


def test_a_key_in_an_answer_is_hidden_and_a_placeholder_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(text=lambda seen: f"You sent {seen.key}: A") as server:
        reply = run(endpoint(server.base_url), lambda client: client.send(REQUEST))
        assert reply.text == "You sent (hidden): A"
        monkeypatch.setenv(VARIABLE, "A")  # what people set where a server wants any key
        assert run(endpoint(server.base_url), lambda client: client.send(REQUEST)).text == "You sent A: A"


# Interrupted


INTERRUPTED = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from paid_request import REQUEST, Client, endpoint

async def work():
    async with Client(endpoint(sys.argv[2], model="stall", api_key_env=None)) as client:
        await asyncio.gather(*(client.send(REQUEST) for _ in range(20)))

async def main():
    task = asyncio.create_task(work())
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")

asyncio.run(main(), debug=True)
"""


def test_cancelling_leaves_no_warning(server: FakeServer) -> None:
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        INTERRUPTED,
        FAKES,
        server.base_url,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "cancelled\n"), done.stderr
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr
