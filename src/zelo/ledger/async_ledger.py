"""The ledger inside one event loop: what many calls want to write at the same moment goes to disk together."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from zelo.errors import ZeloError
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Busy, Entry, Granted, Known, NoRoom, Operation, Release, Reserve, Result, report_lost

ATTEMPTS, PAUSE = 4, 2.0  # of a write that holds answers, and seconds between them: they were paid for
POLL = 0.25  # seconds between looks at what other processes do
Done = TypeVar("Done")
Given = TypeVarTuple("Given")


class AsyncLedger:
    """The ledger for one event loop: what many calls want to write at the same moment goes to disk in one transaction.

    One thread writes, and a caller goes on when its row is on disk. However the loop ends, what has come by then is written
    first; only leave to send, which nobody waits for any more, is not.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.waiting: list[tuple[Operation, asyncio.Future[Result]]] = []
        self.wake = asyncio.Event()
        self.room = asyncio.Event()  # a call of this loop has ended
        self.tight = asyncio.Lock()
        self.closing = False

    async def __aenter__(self) -> "AsyncLedger":
        self.thread = ThreadPoolExecutor(1, "ledger")
        self.keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing = True
        self.wake.set()
        await self.keeper
        self.thread.shutdown(wait=True)

    async def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries of these keys."""
        return await self.run(self.ledger.find, keys)

    async def run(self, what: Callable[[*Given], Done], *arguments: *Given) -> Done:
        """Something else that the ledger's thread is to do."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, what, *arguments)

    async def reserve(self, wanted: Reserve, halted: asyncio.Event) -> Granted | Entry | Known | NoRoom | None:
        """Leave to send, or the answer that another process has got meanwhile, or NoRoom where none will come.

        Waits while calls in flight may give room back, or another process asks the same. None: `halted` came first.
        """
        while not halted.is_set():
            result = await self.do(wanted)
            if isinstance(result, NoRoom):
                async with self.tight:  # one at a time waits for room, or all would ask again at every answer
                    result = await self._room(wanted, halted)
            if not isinstance(result, Busy):
                return result
            with suppress(TimeoutError):
                await asyncio.wait_for(halted.wait(), POLL)
        return None

    async def _room(self, wanted: Reserve, halted: asyncio.Event) -> Granted | Entry | Known | Busy | NoRoom | None:
        while not halted.is_set():
            self.room.clear()
            result = await self.do(wanted)
            if not (isinstance(result, NoRoom) and result.open):
                return result
            try:
                await asyncio.wait_for(self.room.wait(), POLL)
            except TimeoutError:  # another process that holds room may have been killed
                report_lost(await self.run(self.ledger.abandoned))
        return None

    async def do(self, operation: Operation) -> Any:
        """Its result, once it is on disk. Raises what the ledger raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.waiting.append((operation, future))
        self.wake.set()
        return await future

    async def _keep(self) -> None:
        while not self.closing or self.waiting:
            await self.wake.wait()
            self.wake.clear()
            batch, self.waiting = self.waiting, []
            batch = [one for one in batch if not (isinstance(one[0], Reserve) and one[1].cancelled())]
            try:
                results = await self.run(self._write, [operation for operation, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            if any(not isinstance(operation, Reserve) for operation, _ in batch):
                self.room.set()
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
                elif isinstance(result, Granted):  # nobody is left to send it
                    self.waiting.append((Release(result.call), future))
                    self.wake.set()

    def _write(self, operations: list[Operation]) -> list[Result]:
        precious = any(not isinstance(operation, Reserve) for operation in operations)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.ledger.write(operations)
            except ZeloError as error:
                if not precious or attempt == ATTEMPTS:
                    raise
                print(f"ledger: {error} Trying again: answers wait to be written.", file=sys.stderr, flush=True)
                time.sleep(PAUSE)
        return []
