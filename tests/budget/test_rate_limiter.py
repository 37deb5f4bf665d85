"""How fast a client goes: pauses, retry-after, concurrency that adapts, requests and tokens a minute."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_server import FakeServer
from paid_request import REQUEST, WORST, endpoint

from zelo.budget.rate_limiter import Bucket, RateLimiter
from zelo.errors import BadInput
from zelo.providers.client import Client
from zelo.providers.request import Endpoint, Fault, Reply, Request
from zelo.providers.retry import LONGEST_ASKED, PATIENCE, pause


class Paced:
    """A client that sends when the rate limiter lets it."""

    def __init__(self, client: Client, limiter: RateLimiter) -> None:
        self.client, self.limiter = client, limiter

    async def send(self, request: Request) -> Reply | Fault:
        async with self.limiter.turn(request) as turn:
            return await turn.send(self.client)


def run(endpoint: Endpoint, work: Callable[[Paced], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with Client(endpoint) as client, RateLimiter(endpoint) as limiter:
            return await work(Paced(client, limiter))

    return asyncio.run(inside())


async def many(client: Paced, count: int) -> list[Reply | Fault]:
    return await asyncio.gather(*(client.send(REQUEST) for _ in range(count)))


def test_pauses_are_jittered_and_bounded() -> None:
    at = endpoint("http://localhost:1/v1", retries=8)
    fault = Fault("http_500", "", billed=False)
    for tries, most in ((0, 0.5), (1, 1.0), (5, 16.0), (7, 30.0)):
        pauses = [pause(at, fault, tries, 0.0) or 0.0 for _ in range(200)]
        assert 0 <= min(pauses) < 0.1 * most
        assert 0.9 * most < max(pauses) <= most
    assert pause(at, fault, 8, 0.0) is None
    assert pause(at, replace(fault, stop=BadInput("")), 0, 0.0) is None
    assert pause(at, replace(fault, retry_after=LONGEST_ASKED + 1), 0, 0.0) is None
    asked = pause(at, replace(fault, retry_after=20.0), 0, 0.0)
    assert asked is not None
    assert 20 <= asked <= 20.5
    assert pause(at, replace(fault, retry_after=20.0), 0, PATIENCE - 10) is None


def test_retry_after_holds_everybody_back() -> None:
    with FakeServer(plan=lambda seen: "ok" if seen.number else "http_429_retry_after", retry_after="0.3") as server:

        async def work(client: Paced) -> None:
            fault = await client.send(REQUEST)
            assert isinstance(fault, Fault)
            assert fault.retry_after == pytest.approx(0.3)
            await asyncio.gather(*(client.send(REQUEST) for _ in range(4)))

        run(endpoint(server.base_url), work)
        times = [seen.at for seen in server.seen]
        assert len(times) == 5
        assert min(times[1:]) - times[0] >= 0.3


def test_concurrency_falls_on_429_and_rises_again() -> None:
    """A server that bears four at once: the limit comes down to it, once for each round trip, and goes up afterwards."""
    with FakeServer(latency=0.02) as server:
        server.plan = lambda seen: "http_429" if server.flying > 4 else "ok"

        async def work(client: Paced) -> list[int]:
            limits = [int(client.limiter.limit)]
            results = await asyncio.gather(*(client.send(REQUEST) for _ in range(16)))
            assert sum(isinstance(result, Fault) for result in results) >= 8
            limits.append(int(client.limiter.limit))
            server.plan = lambda seen: "http_429"
            for _ in range(4):
                await client.send(REQUEST)
            limits.append(int(client.limiter.limit))
            server.plan, server.most = (lambda seen: "ok"), 0
            await asyncio.gather(*(client.send(REQUEST) for _ in range(4)))
            assert server.most <= 2
            await asyncio.gather(*(client.send(REQUEST) for _ in range(200)))
            return [*limits, int(client.limiter.limit)]

        first, after_one_wave, after_many, after_successes = run(endpoint(server.base_url, concurrency=16), work)
        assert (first, after_one_wave, after_many, after_successes) == (16, 8, 1, 16)


def test_never_more_at_once_than_asked_and_connections_are_kept() -> None:
    with FakeServer(latency=0.01) as server:
        run(endpoint(server.base_url, concurrency=5), lambda client: many(client, 60))
        assert (server.most, len(server.seen), len({seen.port for seen in server.seen})) == (5, 60, 5)


def test_two_hundred_at_once_overlap() -> None:
    with FakeServer(latency=0.2) as server:
        start = time.perf_counter()
        replies = run(endpoint(server.base_url, concurrency=200), lambda client: many(client, 400))
        assert time.perf_counter() - start < 20  # one after the other: 80
        assert all(reply.status == "answered" for reply in replies)
        assert server.most > 50


def test_requests_per_minute_are_kept() -> None:
    with FakeServer() as server:
        start = time.monotonic()
        run(endpoint(server.base_url, requests_per_minute=1200), lambda client: many(client, 30))
        assert 0.5 < server.seen[-1].at - start < 10  # 20 at once, then 20 a second


def test_tokens_per_minute_are_kept_by_what_calls_really_use() -> None:
    """150 tokens a call at 60,000 a minute is 6.7 calls a second, although the worst case of a call is 4,000."""
    with FakeServer() as server:
        long = replace(REQUEST, tokens_out=4000 - WORST[0])
        asked = endpoint(server.base_url, tokens_per_minute=60_000, concurrency=2)
        start = time.perf_counter()

        async def work(client: Paced) -> None:
            client.limiter._share = 150 / 4000  # as after many calls
            await asyncio.gather(*(client.send(long) for _ in range(13)))

        run(asked, work)
        seconds = time.perf_counter() - start
    assert 0.7 < seconds < 20  # 1,000 tokens at once, the other 950 at 1,000 a second; by the worst case: 50 s


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600, 50_000])
def test_no_minute_holds_more_than_its_share(per_minute: int) -> None:
    random.seed(per_minute)
    largest = max(1, per_minute // 50)
    now, bucket, taken = 0.0, Bucket(per_minute, 0.0), []
    while now < 300 and len(taken) < 5000:
        units = random.randint(1, largest)
        now += bucket.wait(units, now) + 1e-6 + random.choice((0.0, 0.0, 5.0))
        bucket.take(units)
        taken.append((now, units))
    for start, _ in taken:
        assert sum(units for at, units in taken if start <= at < start + 59.99) <= per_minute + largest


def test_a_cancelled_wait_gives_its_place_back() -> None:
    async def work(client: Paced) -> Any:
        async with client.limiter.turn(REQUEST):
            waiting = [asyncio.create_task(client.send(REQUEST)) for _ in range(3)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
        waiting[1].cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    with FakeServer() as server:
        *_, last = run(endpoint(server.base_url, concurrency=1), work)
        assert last.status == "answered"
        assert len(server.seen) == 1
