"""Group commit: what many calls want to write at the same moment goes to disk in one transaction."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zelo.calls.ledger import Entry, Ledger


class Journal:
    """The ledger for one event loop: one thread writes, and whoever asked goes on when it is on disk."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self.wake = asyncio.Event()

    async def __aenter__(self) -> "Journal":
        self.thread = ThreadPoolExecutor(1, "ledger")
        self.keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.keeper.cancel()
        await asyncio.gather(self.keeper, return_exceptions=True)
        self.thread.shutdown(wait=True)
        if self.waiting:  # interrupted: answers that have come are kept
            self.ledger.write([operation for operation, _ in self.waiting])

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of these keys."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.ledger.find, keys)

    async def do(self, operation: Any) -> Any:
        """Its result, once it is on disk."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((operation, future))
        self.wake.set()
        return await future

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.wake.wait()
            self.wake.clear()
            batch, self.waiting = self.waiting, []
            try:
                results = await loop.run_in_executor(
                    self.thread, self.ledger.write, [operation for operation, _ in batch]
                )
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
