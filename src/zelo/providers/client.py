"""Paid calls over HTTP, one attempt at a time, each at its pace. What to do with a fault is for the caller to decide."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from zelo.budget.rate_limiter import RateLimiter
from zelo.errors import BadInput
from zelo.providers import wire
from zelo.providers.request import Endpoint, Reply, Request
from zelo.providers.wire import REFUSED_CONNECTION, Fault

LARGEST = 4 << 20  # bytes of an answer; a judge's is a few thousand
CONNECT = 10.0  # seconds; a connection that takes longer was never made, so nothing was billed
KEEP_ALIVE = 4.0  # seconds; uvicorn closes after 5, and a call that meets the closing would count as perhaps billed
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0  # seconds
FEWER = 2  # retries where nothing listens on this machine
LONGEST_ASKED = 120.0  # seconds of retry-after that are honoured; who asks for more is not asked again in this run
LONGEST_COMPLAINT = 1 << 16  # characters of an error that are searched for pieces of a key
PATIENCE = 300.0  # seconds that one request may be waited for between its attempts


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
        self._pace = RateLimiter(endpoint.concurrency, endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._pace.open()
        timeout = self.endpoint.timeout
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=self.endpoint.concurrency, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT, timeout)),
            headers=wire.plain_headers(self.endpoint),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pace.close()
        if self._session is not None:
            await self._session.close()

    @property
    def limit(self) -> int:
        """Calls that may be under way at once at this moment."""
        return int(self._pace.limit)

    def let_go(self) -> None:
        """Nobody waits for a turn any more: nothing more will be sent."""
        self._pace.let_go()

    async def attempt(self, request: Request) -> Reply | Fault:
        """Waits for its turn and sends once."""
        async with self.turn(request) as send:
            return await send()

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator[Callable[[], Awaitable[Reply | Fault]]]:
        """Waits until the request may be sent, and gives what sends it, once. Cancelled before that, nothing was sent."""
        worst = request.tokens_in + request.tokens_out
        counted = await self._pace.enter(worst)
        used: int | None = None

        async def send() -> Reply | Fault:
            nonlocal used
            result = await self._send(request)
            if isinstance(result, Reply) and result.tokens_in:
                used = result.tokens_in + result.tokens_out
            return result

        try:
            yield send
        finally:
            self._pace.leave(worst, counted, used)

    def pause(self, fault: Fault, tries: int, waited: float) -> float | None:
        """Seconds until the next attempt, or None: there is none. Full jitter, on top of what the endpoint asks for.

        `tries`: attempts before this one (0 at the first fault); `waited`: seconds paused between them.
        """
        # Nobody comes to listen on this machine while we wait: a server that is starting gets a second or two.
        fewer = fault.kind == REFUSED_CONNECTION and self.endpoint.local
        if fault.stop is not None or tries >= (min(self.endpoint.retries, FEWER) if fewer else self.endpoint.retries):
            return None
        pause = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2.0 ** min(tries, 16)))
        if fault.retry_after is not None:
            if fault.retry_after > LONGEST_ASKED:
                return None
            pause += fault.retry_after
        return pause if waited + pause <= PATIENCE else None

    async def _send(self, request: Request) -> Reply | Fault:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        result = await self._exchange(request)
        if isinstance(result, Reply):
            self._pace.faster()
            return replace(result, seconds=loop.time() - sent)
        if result.crowded:
            asked = result.retry_after
            self._pace.slower(sent, asked if asked is not None and asked <= LONGEST_ASKED else None)
        return result

    async def _exchange(self, request: Request) -> Reply | Fault:
        assert self._session is not None, "a client is used inside `async with`"
        content = wire.body(self.endpoint, request)
        key = _key(self.endpoint)
        try:
            async with self._session.post(
                self._url, data=content, headers=_authorization(self.endpoint, key), allow_redirects=False
            ) as response:
                raw = await _content(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Told by its class alone: what aiohttp's errors carry includes the headers that were sent.
            return _broken(self.endpoint, error)
        if raw is None:
            what = f"{wire.where(self.endpoint)} answered with more than {LARGEST >> 20} MiB"
            return Fault("too_large", what, billed=True)
        result = wire.read(self.endpoint, request, status, headers, raw, key)
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


async def _content(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, unpacked; None if it is too large."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST:
            return None
    return b"".join(chunks)


def redacted(status: int, raw: bytes, key: str | None) -> str:
    """A body as the ledger keeps it: as it came but for the key, which an error may also show in pieces or masked."""
    text = raw.decode(errors="replace")
    if not 200 <= status < 300 and len(text) <= LONGEST_COMPLAINT:
        text = wire.KEY_SHAPE.sub(wire.HIDDEN, wire.without(text, key) if key else text)
    if key is None or len(key) < wire.SHORTEST:
        return text
    text = text.replace(key, wire.HIDDEN)
    if "\\" in text:
        with suppress(ValueError, RecursionError):
            plain, written = json.dumps(json.loads(text), ensure_ascii=False), json.dumps(key)[1:-1]
            text = plain.replace(written, wire.HIDDEN) if written in plain else text
    return text


def _broken(endpoint: Endpoint, error: Exception) -> Fault:
    """What a failure of the network means. Sent, billed: it may have been, unless certainly not."""
    where = wire.where(endpoint)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            message = f"{where} shows a certificate that is not valid for it; nothing was sent. Check base_url."
            return Fault("certificate", message, billed=False, stop=BadInput(message), sent=False)
        case aiohttp.ClientConnectorDNSError():
            return Fault("unknown_host", f"{where} has no address", billed=False, sent=False)
        case aiohttp.ClientSSLError():
            return Fault(
                "no_tls", f"{where} does not speak TLS as it should; nothing was sent", billed=False, sent=False
            )
        case aiohttp.ClientConnectorError():
            return Fault(REFUSED_CONNECTION, f"{where} lets nobody connect", billed=False, sent=False)
        case aiohttp.ConnectionTimeoutError():
            return Fault("connect_timeout", f"{where} did not let connect in time", billed=False, sent=False)
        case TimeoutError():
            return Fault("timeout", f"{where} did not answer within {endpoint.timeout:g} s", billed=True)
        case _:
            return Fault("broken_connection", f"{where} broke the connection off", billed=True)


def _address(endpoint: Endpoint) -> URL:
    """Where to post. Raises BadInput for an address that is none, or that would show the key on its way."""
    where = f"judge {endpoint.name}: base_url={endpoint.base_url}"
    try:
        parts = urlsplit(endpoint.base_url)  # what stands behind a ? stays there, as Azure wants it
        url = URL(parts._replace(path=parts.path.rstrip("/") + wire.PATHS[endpoint.api]).geturl())
    except ValueError as error:
        raise BadInput(f"{where} is no address ({error}); write one like https://api.openai.com/v1.") from None
    if url.scheme != "https" and endpoint.api_key_env is not None and not endpoint.local:
        raise BadInput(
            f"{where} would carry the key in {endpoint.api_key_env} in clear text; use https://, or set api_key_env=null if"
            " the endpoint needs no key."
        )
    return url


def _key(endpoint: Endpoint) -> str | None:
    """The key, read anew from the environment for each call so that no object holds it; None: none is to be sent."""
    name = endpoint.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "")
    where = f"judge {endpoint.name}: the environment variable {name}, which api_key_env names,"
    if not key.strip():
        if endpoint.local:
            return None
        raise BadInput(f"{where} is not set; put the key for {urlsplit(endpoint.base_url).netloc} into it.")
    if not all("!" <= char <= "~" for char in key):
        raise BadInput(f"{where} holds no key: a key is one line of visible ASCII characters.")
    return key


def _authorization(endpoint: Endpoint, key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"x-api-key": key} if endpoint.api == wire.MESSAGES else {"authorization": f"Bearer {key}"}
