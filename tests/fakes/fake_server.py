"""A judge's endpoint that misbehaves on demand: real HTTP on loopback, both APIs, in a thread or as a program.

with FakeServer(plan=lambda seen: "http_500" if seen.number % 3 == 0 else "ok") as server:
    ...  # base_url=server.base_url; afterwards server.seen
python tests/fakes/fake_server.py PORT [LATENCY]     # answers by the name of the model: model=http_500 gets http_500
"""

import asyncio
import contextlib
import json
import math
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

HTML = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
TOKENS_IN, TOKENS_OUT = 120, 30  # of every honest answer
VERDICT = {"A": 0.6, "B": 0.3, "The": 0.1}  # probability of the first token, where log-probabilities are asked for

# kind -> (status, code, message), in the provider's envelope; a message may echo the key.
ERRORS: dict[str, tuple[int, str, str]] = {
    "http_429": (429, "rate_limit_exceeded", "Too many requests."),
    "http_429_retry_after": (429, "rate_limit_exceeded", "Too many requests."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota, {key}."),
    "no_credit": (400, "invalid_request_error", "Your credit balance is too low to access the API."),
    "http_408": (408, "timeout", "Too slow."),
    "http_500": (500, "server_error", "Something with {key} went wrong."),
    "http_502": (502, "bad_gateway", "Bad gateway."),
    "http_504": (504, "gateway_timeout", "The model took too long."),
    "http_529": (529, "overloaded_error", "Overloaded."),
    "error_in_200": (200, "server_error", "Upstream failed for {key}."),
    "http_401": (401, "invalid_api_key", "Incorrect API key provided: {key}. Masked: {masked}."),
    "http_403": (403, "permission_error", "{key} may not use this model."),
    "http_404": (404, "model_not_found", "The model does not exist, or {key} may not use it."),
    "http_400": (400, "invalid_request_error", "Unsupported parameter:\n\x1b[31m'temperature' ({key})." + " x" * 300),
    "http_422": (422, "unprocessable", "top_logprobs must be at most 5."),
    "http_400_content_filter": (400, "content_filter", "The prompt was filtered."),
    "context_too_long": (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens."),
    "context_too_long_in_words": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
}
# kind -> the whole body of a 200
BODIES: dict[str, bytes] = {
    "html_in_200": HTML,
    "empty_body": b"",
    "bad_json": b'{"choices": [{"message": {"content": "score',
    "bad_utf8": b'{"choices": "\xff\xfe"}',
    "deep_json": b"[" * 100_000,
    "wrong_shape": b'["A", 0.9]',
    "wrong_types": b'{"choices": [{"message": "A"}], "content": [7], "usage": []}',
}
# kind -> score in the text: the judge's reader has to see through it
SCORES = {"score_out_of_range": "7.5", "score_nan": "NaN"}
# kind -> finish reason: (chat_completions, messages)
FINISHES = {"length": ("length", "max_tokens"), "content_filter": ("content_filter", "refusal")}
USAGES: dict[str, Any] = {"no_usage": None, "usage_nan": math.nan, "usage_negative": -5}
RAW = ("reset", "reset_early", "stall", "drip", "cut_chunks", "bad_http", "too_large", "too_large_gzip", "stale")
OTHER = ("ok", "http_503_html", "no_choices", "empty_content", "refusal_field", "redirect")
TEXTS = ("refusal_in_prose", "two_scores", "cut_structure", *SCORES)
KINDS = (*OTHER, *ERRORS, *BODIES, *FINISHES, *TEXTS, *USAGES, *RAW)


@dataclass
class Seen:
    """One request that came in."""

    number: int  # from 0
    at: float  # time.monotonic()
    path: str
    headers: dict[str, str]  # names in small letters
    body: dict[str, Any]
    kind: str = ""  # what it was answered with
    port: int = 0  # the client's end of the connection

    @property
    def messages(self) -> bool:
        """Whether it is for the Messages API."""
        return self.path.endswith("/messages")

    @property
    def key(self) -> str:
        """The key that was sent."""
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")


def by_model(seen: Seen) -> str:
    """The plan that does what the model's name says."""
    model = seen.body.get("model", "")
    return model if model in KINDS else "ok"


def score_text(seen: Seen, score: str = "0.50") -> str:
    """What an honest model answers to zelo's prompts: a verdict, or thoughts and a score, or one for each document."""
    if seen.body.get("logprobs"):
        return max(VERDICT, key=lambda token: VERDICT[token])
    prompt = str(seen.body["messages"][-1]["content"])
    labels = re.findall(r"^<document-(\d+)-", prompt, re.MULTILINE)
    if labels:
        score = ", ".join(f'"{label}": {score if label == "1" else 1 / int(label)}' for label in labels)
        score = f"{{{score}}}"
    if "response_format" in seen.body:
        name = "scores" if labels else "score"
        return f'{{"thoughts": ["Both are about it.", "The second says more."], "{name}": {score}}}'
    tags = re.findall(r"^(\S+): (?:NUMBER|\{)", prompt, re.MULTILINE)
    return f"Both are about it.\nThe second says more.\n{tags[-1] if tags else 'score'}: {score}"


@dataclass
class FakeServer:
    """A context manager; plan, latency and text are asked again for each request, in the server's thread."""

    plan: Callable[[Seen], str] = by_model
    latency: float | Callable[[Seen], float] = 0.0  # seconds
    text: Callable[[Seen], str] = score_text
    retry_after: str = "1"
    location: str = "http://127.0.0.1:9/elsewhere"  # of a redirect
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    flying: int = 0
    most: int = 0  # requests that were under way at once

    @property
    def base_url(self) -> str:
        """What a judge's field base_url is set to, for either API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.ready = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=(self.run(),), daemon=True)
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()

    async def run(self) -> None:
        """Serves until `end` is set."""
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.end.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                seen = await self._request(reader)
                if not seen.body:
                    writer.write(_http(200, {}, json.dumps({"count": len(self.seen)}).encode()))
                    continue
                seen.port = writer.get_extra_info("peername")[1]
                self.seen.append(seen)
                self.flying += 1
                self.most = max(self.most, self.flying)
                try:
                    seen.kind = self.plan(seen)
                    await asyncio.sleep(self.latency(seen) if callable(self.latency) else self.latency)
                    if seen.kind in RAW:
                        await getattr(self, f"_{seen.kind}")(seen, writer)
                    else:
                        writer.write(_http(*self._answer(seen)))
                        await writer.drain()
                finally:
                    self.flying -= 1
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Seen:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(len(self.seen), time.monotonic(), first.split()[1], headers, json.loads(body) if body else {})

    def _answer(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        kind = seen.kind
        if kind in ERRORS:
            status, code, words = ERRORS[kind]
            words = words.format(key=seen.key, masked=f"{seen.key[:12]}***{seen.key[-12:]}")
            error = {"type": code, "message": words} | ({} if seen.messages else {"code": code})
            headers = {"retry-after": self.retry_after} if kind.endswith("retry_after") else {}
            return status, headers, json.dumps({"type": "error", "error": error}).encode()
        if kind in BODIES:
            return 200, {}, BODIES[kind]
        if kind == "http_503_html":
            return 503, {"content-type": "text/html"}, HTML
        if kind == "redirect":
            return 307, {"location": self.location}, b""
        return 200, {}, json.dumps(envelope(seen, kind, self.text_of(seen))).encode()

    def text_of(self, seen: Seen) -> str:
        """The text in the answer to it."""
        if seen.kind in SCORES:
            return score_text(seen, SCORES[seen.kind])
        if seen.kind == "refusal_in_prose":
            return "I'm sorry, but I can't help with that."
        if seen.kind == "two_scores" and seen.body.get("logprobs"):
            return "Both A and B."
        if seen.kind == "two_scores":
            return score_text(seen, "-0.90") + "\n" + score_text(seen, "0.90")
        if seen.kind in ("cut_structure", "length"):
            return self.text(seen)[:-5]
        return "" if seen.kind in ("empty_content", "refusal_field") else self.text(seen)

    def _ok(self, seen: Seen) -> bytes:
        return _http(200, {}, json.dumps(envelope(seen, "ok", self.text(seen))).encode())

    async def _reset(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(self._ok(seen)[:-20])
        await writer.drain()
        await asyncio.sleep(0.02)
        _abort(writer)

    async def _reset_early(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        _abort(writer)

    async def _stall(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def _drip(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        for byte in self._ok(seen):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def _cut_chunks(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        content = self._ok(seen).partition(b"\r\n\r\n")[2]
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(content), content))
        await writer.drain()
        raise ConnectionError

    async def _bad_http(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n")
        raise ConnectionError

    async def _too_large(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        content = json.dumps(envelope(seen, "ok", "x" * (5 << 20))).encode()
        writer.write(_http(200, {}, content))
        await writer.drain()

    async def _too_large_gzip(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        import gzip

        content = gzip.compress(json.dumps(envelope(seen, "ok", "x" * (6 << 20))).encode(), 1)
        writer.write(_http(200, {"content-encoding": "gzip"}, content))
        await writer.drain()

    async def _stale(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        """The right answer, and a little later another that nobody asked for."""
        writer.write(self._ok(seen))
        await writer.drain()
        await asyncio.sleep(0.03)
        writer.write(_http(200, {}, json.dumps(envelope(seen, "ok", "STALE")).encode()))


def _http(status: int, headers: dict[str, str], content: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in ({"content-type": "application/json"} | headers).items())
    return f"HTTP/1.1 {status} -\r\n{lines}content-length: {len(content)}\r\n\r\n".encode() + content


def _abort(writer: asyncio.StreamWriter) -> None:
    """Closes with a reset, not with an end."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionError


def envelope(seen: Seen, kind: str, text: str) -> dict[str, Any]:
    """The JSON of a 200, in the words of the API that was asked."""
    tokens_in, tokens_out = [USAGES[kind]] * 2 if kind in USAGES else (TOKENS_IN, TOKENS_OUT)
    if seen.messages:
        finish = FINISHES.get(kind, ("", "end_turn"))[1] if kind != "refusal_field" else "refusal"
        answer: dict[str, Any] = {"type": "message", "role": "assistant", "stop_reason": finish}
        if kind != "no_choices":
            answer["content"] = [{"type": "text", "text": text}] if text else []
        usage = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    else:
        message = {"role": "assistant", "content": text or None}
        if kind == "refusal_field":
            message["refusal"] = "I will not compare these."
        choice = {"index": 0, "message": message, "finish_reason": FINISHES.get(kind, ("stop",))[0]}
        if seen.body.get("logprobs") and kind != "no_logprobs":
            tokens = VERDICT if text in VERDICT else {(text.split() or [""])[0]: 0.9, "The": 0.1}
            wrong = {"score_nan": math.nan, "score_out_of_range": 2.0}.get(kind, 0.0)
            likely = [{"token": token, "logprob": math.log(p) + wrong} for token, p in tokens.items()]
            choice["logprobs"] = {"content": [likely[0] | {"top_logprobs": likely}]}
            choice["finish_reason"] = "length" if choice["finish_reason"] == "stop" else choice["finish_reason"]
        answer = {"object": "chat.completion", "choices": [] if kind == "no_choices" else [choice]}
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    return answer | ({} if kind == "no_usage" else {"usage": usage})


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """A base_url where connections are refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1"


def main() -> None:
    """Serves at a port until it is killed."""
    server = FakeServer(port=int(sys.argv[1]), latency=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    server.ready = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.run())


if __name__ == "__main__":
    main()
