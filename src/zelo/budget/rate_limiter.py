"""When a call may start: so many at once, so many a minute, and fewer where the endpoint says that it is too much."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zelo.providers import retry
from zelo.providers.client import Client
from zelo.providers.request import Endpoint, Fault, Reply, Request

MINUTE = 60.0  # seconds
NO_LIMIT = 1 << 30
SMOOTHING = 0.1  # weight of the newest call in the running share of the worst case that a call turns out to need


class Bucket:
    """At most `per_minute` units in any minute (and what the last taker took beyond), spread so that none comes in a lump.

    It holds one second's worth, because providers count by the second too. Times are seconds on any one clock.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.size = max(1.0, per_minute / MINUTE)
        self.rate = (
            per_minute - (self.size - 1)
        ) / MINUTE  # units a second: a full bucket and a minute's flow keep the cap
        self.level = self.size
        self.at = now

    def wait(self, units: float, now: float) -> float:
        """Seconds until so many may be taken; a call larger than the bucket waits until it is full, and leaves a debt."""
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        missing = min(units, self.size) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, units: float) -> None:
        """Takes them; a negative number gives back."""
        self.level = min(self.size, self.level - units)


class RateLimiter:
    """Lets calls of one event loop start, first come first served. Additive increase, multiplicative decrease (AIMD)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.most = endpoint.concurrency
        self.limit = float(endpoint.concurrency)  # calls at once, at this moment
        self._per_minute = endpoint.requests_per_minute, endpoint.tokens_per_minute
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._busy = 0
        self._queue: deque[tuple[asyncio.Future[float], int]] = deque()
        self._share = 1.0
        self._halved = self._closed_until = -math.inf  # on the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "RateLimiter":
        """Starts the clocks."""
        now = asyncio.get_running_loop().time()
        self._requests, self._tokens = (Bucket(most, now) if most else None for most in self._per_minute)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leaves no timer behind."""
        self._stop_timer()

    @asynccontextmanager
    async def turn(self, request: Request) -> AsyncIterator["Turn"]:
        """Waits until the request may be sent. Cancelled before that, nothing was sent."""
        turn = Turn(self, request)
        counted = await self.enter(turn.worst)
        try:
            yield turn
        finally:
            self.leave(turn.worst, counted, turn.used)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def let_go(self) -> None:
        """Lets all requests that wait pass at once, and all later ones."""
        self.most, self.limit, self._closed_until = NO_LIMIT, float(NO_LIMIT), -math.inf
        self._requests = self._tokens = None
        self._admit()

    async def enter(self, worst: int) -> float:
        """Returns when a call of at most `worst` tokens may start; the tokens that it was counted as, for `leave`."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._queue.append((future, worst))
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was let in and cancelled at the same moment
                self._busy -= 1
                self._admit()
            raise

    def leave(self, worst: int, counted: float, used: int | None) -> None:
        """The call has ended; `used` tokens, None where nobody knows."""
        self._busy -= 1
        if used is not None:
            self._share += SMOOTHING * (used / worst - self._share)
            if self._tokens is not None:
                self._tokens.take(used - counted)
        self._admit()

    def faster(self) -> None:
        """A call succeeded: one more at once for every `limit` successes."""
        self.limit = min(float(self.most), self.limit + 1 / self.limit)

    def slower(self, sent: float, pause: float | None) -> None:
        """The endpoint calls it too much: half as many at once, and none for `pause` seconds.

        Calls that were in flight (`sent`, on the loop's clock) when the last halving came say nothing new.
        """
        now = asyncio.get_running_loop().time()
        if sent > self._halved:
            self.limit, self._halved = max(1.0, self.limit / 2), now
        if pause is not None:
            self._closed_until = max(self._closed_until, now + pause)

    def _admit(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._queue and self._busy < int(self.limit):
            future, worst = self._queue[0]
            if future.done():  # cancelled while it waited
                self._queue.popleft()
                continue
            counted = worst * self._share
            wait = self._wait(counted, now)
            if wait > 0:
                self._stop_timer()
                self._timer = asyncio.get_running_loop().call_later(wait, self._admit)
                return
            self._queue.popleft()
            self._busy += 1
            for bucket, units in ((self._requests, 1.0), (self._tokens, counted)):
                if bucket is not None:
                    bucket.take(units)
            future.set_result(counted)

    def _wait(self, counted: float, now: float) -> float:
        waits = [self._closed_until - now]
        waits += [self._requests.wait(1.0, now)] if self._requests else []
        waits += [self._tokens.wait(counted, now)] if self._tokens else []
        return max(waits)


class Turn:
    """A request that may be sent now, once."""

    def __init__(self, limiter: RateLimiter, request: Request) -> None:
        self.limiter, self.request = limiter, request
        self.worst = request.tokens_in + request.tokens_out
        self.used: int | None = None  # tokens; None: nobody knows

    async def send(self, client: Client) -> Reply | Fault:
        """Sends it, and goes faster or slower by what comes back."""
        sent = asyncio.get_running_loop().time()
        result = await client.send(self.request)
        if isinstance(result, Reply):
            self.limiter.faster()
            self.used = result.tokens_in + result.tokens_out if result.tokens_in else None
        elif retry.is_crowded(result):
            self.limiter.slower(sent, retry.everybody_waits(result))
        return result
