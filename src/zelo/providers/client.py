"""One attempt of a paid call over HTTP, and what came back: a reply or a fault. When to send is for the caller to decide."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from zelo.errors import BadInput
from zelo.providers.errors import error_body, is_stream, read_error, where
from zelo.providers.request import NO_USAGE, REFUSED_CONNECTION, Endpoint, Fault, ListProvider, Parsed, Reply, Request
from zelo.providers.secrets import HIDDEN, SHORTEST, line, redacted
from zelo.records import ANSWERED, REFUSED, TRUNCATED, UNPARSEABLE

CONNECT = 10.0  # seconds; a connection that takes longer was never made, so nothing was billed
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": "zelo",
}
KEEP_ALIVE = 4.0  # seconds; uvicorn closes after 5, and a call that meets the closing would count as perhaps billed
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


class Client:
    """Sends requests to one endpoint, inside one event loop: `async with Client(endpoint) as client`.

    No cookies and no redirects are kept or followed, and nothing in the environment but the key changes a call: a proxy or a
    .netrc of the shell's would see prompts, or replace the key, without standing in any config. Raises BadInput where the
    variable that api_key_env names is missing or holds no key, or where a key would travel in clear text.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._url = _address(endpoint)
        _key(endpoint)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        timeout = self.endpoint.timeout
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=self.endpoint.concurrency, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT, timeout)),
            headers=HEADERS,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> Reply | Fault:
        """One attempt."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        result = await self._exchange(request)
        return replace(result, seconds=loop.time() - sent) if isinstance(result, Reply) else result

    async def _exchange(self, request: Request) -> Reply | Fault:
        assert self._session is not None, "a client is used inside `async with`"
        content = body(self.endpoint, request)
        key = _key(self.endpoint)
        try:
            async with self._session.post(
                self._url, data=content, headers=self.endpoint.api.headers(key), allow_redirects=False
            ) as response:
                raw = await _content(response, self.endpoint.largest)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Named by its class alone: what aiohttp's errors carry includes the headers that were sent.
            return _broken(self.endpoint, error)
        if raw is None:
            what = f"{where(self.endpoint)} answered with more than {self.endpoint.largest >> 20} MiB"
            return Fault("too_large", what, billed=True)
        result = read(self.endpoint, request, status, headers, raw, key)
        return replace(result, http=status, body=redacted(status, raw, key)) if isinstance(result, Reply) else result


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection on which something came unasked: it would be taken for the answer to the next request."""

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """A new connection, or one that has been silent since its last answer."""
        while True:
            connection = await super().connect(*args, **kwargs)
            if not connection.protocol:  # its queue of messages
                return connection
            connection.close()


def body(endpoint: Endpoint, request: Request) -> bytes:
    """The JSON to post."""
    names = endpoint.api.parameters
    chosen = {name: endpoint.parameters[name] for name in names if endpoint.parameters.get(name) is not None}
    sent = endpoint.api.body(endpoint, request) | chosen | dict(endpoint.parameters.get("extra_body", {}))
    return json.dumps(sent, ensure_ascii=False, separators=(",", ":")).encode()


def read(
    endpoint: Endpoint, request: Request, status: int, headers: Mapping[str, str], raw: bytes | str, key: str | None
) -> Reply | Fault:
    """What an HTTP answer means for this request. `key` is what was sent: it is in nothing that comes out of here.

    raw: as it came, or the text that the ledger kept of it.
    """
    if not 200 <= status < 300:
        return read_error(endpoint, status, headers, _bytes(raw), key)
    parsed = _parsed(endpoint, raw)
    if isinstance(parsed, str):
        words = line(error_body(_bytes(raw)).words, key)
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
        error=error or (NO_USAGE if unknown else ""),
        text=parsed.text.replace(key, HIDDEN) if key and len(key) >= SHORTEST else parsed.text,
        finish=line(parsed.finish, key)[:40],
        logprobs=parsed.logprobs,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usd=endpoint.usd(tokens_in, tokens_out, request.searches if parsed.searches is None else parsed.searches),
    )


def _bytes(raw: bytes | str) -> bytes:
    return raw.encode(errors="replace") if isinstance(raw, str) else raw


def _parsed(endpoint: Endpoint, raw: bytes | str) -> Parsed | str:
    """The answer in a body, or the class of what is wrong with it."""
    if not raw.strip():
        return "empty_body"
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        if is_stream(_bytes(raw)):
            return "event_stream"
        return "html" if _bytes(raw).lstrip()[:1] == b"<" else "bad_json"
    if isinstance(answer, list) and isinstance(endpoint.api, ListProvider):
        answer = endpoint.api.of_list(answer)
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


async def _content(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body, unpacked; None if it is too large."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            return None
    return b"".join(chunks)


def _broken(endpoint: Endpoint, error: Exception) -> Fault:
    """What a failure of the network means. Sent, billed: it may have been, unless certainly not."""
    place = where(endpoint)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            message = f"{place} shows a certificate that is not valid for it; nothing was sent. Check base_url."
            return Fault("certificate", message, billed=False, stop=BadInput(message), sent=False)
        case aiohttp.ClientConnectorDNSError():
            return Fault("unknown_host", f"{place} cannot be resolved", billed=False, sent=False)
        case aiohttp.ClientSSLError():
            return Fault("no_tls", f"{place} does not speak valid TLS; nothing was sent", billed=False, sent=False)
        case aiohttp.ClientConnectorError():
            return Fault(REFUSED_CONNECTION, f"{place} refused the connection", billed=False, sent=False)
        case aiohttp.ConnectionTimeoutError():
            return Fault("connect_timeout", f"{place} did not accept the connection in time", billed=False, sent=False)
        case TimeoutError():
            return Fault("timeout", f"{place} did not answer within {endpoint.timeout:g} s", billed=True)
        case _:
            return Fault("broken_connection", f"{place} closed the connection", billed=True)


def _address(endpoint: Endpoint) -> URL:
    """Where to post. Raises BadInput for an address that is none, or that would show the key on its way."""
    place = f"{endpoint.asker}: base_url={endpoint.base_url}"
    try:
        parts = urlsplit(endpoint.base_url)  # what stands behind a ? stays there, as Azure wants it
        url = URL(parts._replace(path=parts.path.rstrip("/") + endpoint.api.path).geturl())
    except ValueError as error:
        raise BadInput(f"{place} is no address ({error}); write one like https://api.openai.com/v1.") from None
    if url.scheme != "https" and endpoint.api_key_env is not None and not endpoint.local:
        raise BadInput(
            f"{place} would carry the key in {endpoint.api_key_env} in clear text; use https://, or set api_key_env=null if"
            " the endpoint needs no key."
        )
    return url


def _key(endpoint: Endpoint) -> str | None:
    """The key, read again from the environment for each call so that no object holds it; None: none is to be sent."""
    name = endpoint.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "")
    place = f"{endpoint.asker}: the environment variable {name}, which api_key_env names,"
    if not key.strip():
        if endpoint.local:
            return None
        raise BadInput(f"{place} is not set; put the key for {urlsplit(endpoint.base_url).netloc} into it.")
    if not all("!" <= char <= "~" for char in key):
        raise BadInput(f"{place} holds no key: a key is one line of visible ASCII characters.")
    return key
