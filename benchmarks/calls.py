"""Calls a second through the budget, ledger on, against the same calls sent with nothing but the HTTP library.

10,000 calls at 200 at once to a loopback server that answers in 200 ms: ideally 10 s. Usage: python benchmarks/calls.py [CALLS]
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fakes"))

from fake_server import FakeServer
from paid_judge import Judge, ask, budget, endpoint, questions

PARALLEL, LATENCY = 200, 0.2


async def bare(url: str, bodies: list[bytes]) -> None:
    """The peer: a session, 200 workers, nothing else."""
    left = iter(bodies)
    connector = aiohttp.TCPConnector(limit=PARALLEL)
    async with aiohttp.ClientSession(connector=connector, headers={"content-type": "application/json"}) as session:

        async def work() -> None:
            for body in left:
                async with session.post(url, data=body) as response:
                    await response.json()

        await asyncio.gather(*(work() for _ in range(PARALLEL)))


@contextlib.contextmanager
def served() -> Iterator[FakeServer]:
    """The server in a process of its own, as a provider's is: this one is what is measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = FakeServer(port=free.getsockname()[1])
    script = Path(__file__).parents[1] / "tests" / "fakes" / "fake_server.py"
    process = subprocess.Popen([sys.executable, str(script), str(server.port), str(LATENCY)])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port)):
                break
            time.sleep(0.1)
        yield server
    finally:
        process.kill()


def main() -> None:
    """Prints seconds, their ratio to the ideal and to the peer, and what a rerun costs."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    ideal = calls / PARALLEL * LATENCY
    with tempfile.TemporaryDirectory() as home, served() as server:
        os.environ["ZELO_HOME"] = home

        from zelo.providers.client import body

        judge = Judge(endpoint(server, concurrency=PARALLEL, timeout=30.0))
        asked = questions(calls, size=500)
        bodies = [body(judge.endpoint, request) for request in judge.requests(asked)]
        start = time.perf_counter()
        asyncio.run(bare(server.base_url + "/chat/completions", bodies))
        peer = time.perf_counter() - start
        start = time.perf_counter()
        budget().plans({"chat": (judge, [asked])})
        planned = time.perf_counter() - start
        start = time.perf_counter()
        ask(budget(usd=1e6), judge, asked)
        ours = time.perf_counter() - start
        start, processor = time.perf_counter(), time.process_time()
        ask(budget(usd=1e6), judge, asked)
        again, processor = time.perf_counter() - start, time.process_time() - processor
    print(f"{calls:,} calls, {PARALLEL} at once, {LATENCY * 1000:.0f} ms each: ideally {ideal:.1f} s")
    print(
        f"aiohttp alone {peer:.1f} s ({peer / ideal:.2f} x ideal); zelo {ours:.1f} s ({ours / ideal:.2f} x ideal, of which"
    )
    print(f"planning {planned:.1f} s); again from the ledger {again:.2f} s ({again / ours:.1%} of the first;")
    print(f"{1e6 * processor / calls:.1f} us of the processor a call)")


if __name__ == "__main__":
    main()
