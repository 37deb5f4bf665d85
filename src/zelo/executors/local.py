"""The units of the data stages on this machine: in this process, or in a pool of them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as ended
from typing import Any

from zelo.errors import BadInput, ZeloError
from zelo.executors import worker
from zelo.executors.worker import SentWork
from zelo.facts import Facts
from zelo.progress import Advance
from zelo.protocols import Work
from zelo.units import HERE, UnitProgress

AFFECTS_RESULTS = False  # Where a unit runs changes no table.

LOOK = 0.5  # seconds between two looks at how far the workers are
REPORTS: list[Any] = []  # of a worker: the queue by which it says how far it is


@dataclass(frozen=True, kw_only=True)
class Local:
    """Units run one after the other in this process, or `workers` at a time in processes that share its cores."""

    workers: int
    _pools: "list[Pool]" = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadInput(f"executor.workers={self.workers}: at least 1; 1 runs everything in this process.")

    @property
    def where(self) -> str | None:
        """In words; None: in this process."""
        return None if self.workers == 1 else f"in {self.workers:,} processes"

    def check(self) -> None:
        """Nothing can be missing here."""

    def run(self, work: Work, sizes: Mapping[int, int], advance: Advance, *, model: bool = False) -> dict[int, Facts]:
        """As of an Executor. Processes start with the first stage that has two units, and are there until the end."""
        if self.workers == 1 or len(sizes) < 2:
            return HERE.run(work, sizes, advance)
        if not self._pools:
            self._pools.append(Pool(self.workers))
        return self._pools[0].run(SentWork.of(work), sizes, UnitProgress(sizes, advance))

    def close(self) -> None:
        """Ends the processes, whatever they are at."""
        while self._pools:
            self._pools.pop().end()


class Pool:
    """Processes that wait for units."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self.reports = context.SimpleQueue()
        threads = max((os.cpu_count() or 1) // workers, 1)
        self.workers = workers
        self.pool = ProcessPoolExecutor(workers, context, _prepare, (threads, self.reports))

    def run(self, job: SentWork, sizes: Mapping[int, int], shown: UnitProgress) -> dict[int, Facts]:
        """{unit: facts}. Raises the first error of a unit; those that have not begun do not."""
        units = {self.pool.submit(_perform, job, unit): unit for unit in sizes}
        facts: dict[int, Facts] = {}
        left = set(units)
        try:
            while left:
                done, left = wait(left, LOOK, FIRST_COMPLETED)
                while not self.reports.empty():
                    key, unit, n = self.reports.get()
                    if key == job.key:
                        shown.some(unit, n)
                for future in done:
                    facts[units[future]] = future.result()
                    shown.whole(units[future])
        except BrokenProcessPool as error:
            raise ZeloError(
                f"executor=local executor.workers={self.workers}: a worker was ended from outside, often for want of"
                " memory. What was finished is kept: the same command goes on from there; fewer workers need less memory."
            ) from error
        finally:
            for future in left:
                future.cancel()
        return {unit: facts[unit] for unit in sizes}

    def end(self) -> None:
        """Ends them."""
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _prepare(threads: int, reports: Any) -> None:
    """Makes this process a worker: the one who started it decides when it ends, and takes it along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker.prepare(threads)
    REPORTS[:] = [reports]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    ended([parent.sentinel])
    os._exit(1)


def _perform(job: SentWork, unit: int) -> Facts:
    return worker.perform(job, unit, lambda unit, n: REPORTS[0].put((job.key, unit, n)))
