"""What many workers would gain on the data stages: a simulation from times that are measured here.

Run: python benchmarks/many_workers.py [--units 4 16] [--workers 1 8 64 512] [--queries 112000 10000000] [--judge 0]
Measured, on `experiment=paper_scale until=target` with few queries: the seconds of every unit of each stage, what the command
does itself beside the units (a constant and an amount for each query), the start of a worker, and what a unit costs the command.
Simulated: units wait in one queue, and a free worker takes the next. A stage starts when the one before it has ended. Not in it:
the network, a file system that many machines share, and local judges with a model, whose units are much longer.
"""

import argparse
import heapq
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import zelo
from zelo.executors.local import Local
from zelo.facts import Facts
from zelo.pipeline.run import assemble, run_stages
from zelo.progress import Advance
from zelo.protocols import Executor, Work
from zelo.store.store import Store
from zelo.units import HERE

UNIT, EMPTY = 512, 2000  # queries of a unit; units that do nothing, to learn what one costs the command


@dataclass
class Timed:
    """An executor that runs units one by one in this process and remembers how long each took."""

    inner: Executor = HERE
    seconds: list[float] = field(default_factory=list)

    @property
    def where(self) -> str | None:
        """As of an Executor."""
        return self.inner.where

    @property
    def workers(self) -> int:
        """As of an Executor."""
        return self.inner.workers

    def check(self) -> None:
        """As of an Executor."""

    def close(self) -> None:
        """As of an Executor."""

    def run(self, work: Work, sizes: Mapping[int, int], advance: Advance, *, model: bool = False) -> dict[int, Facts]:
        """As of an Executor."""
        return self.inner.run(partial(self._timed, work), sizes, advance, model=model)

    def _timed(self, work: Work, unit: int, advance: Advance) -> Facts:
        start = time.perf_counter()
        try:
            return work(unit, advance)
        finally:
            self.seconds.append(time.perf_counter() - start)


@dataclass(frozen=True)
class Stage:
    """What is known of a stage after runs with different numbers of queries."""

    units: list[float]  # seconds of each
    alone: dict[int, float]  # queries -> seconds of the command beside the units
    files: dict[int, int]  # queries -> files of the table
    manifest: dict[int, int]  # queries -> bytes

    def at(self, measured: Mapping[int, float], queries: int) -> float:
        """A straight line through what was measured, never below 0 nor falling."""
        slope, base = np.polyfit(list(measured), list(measured.values()), 1)
        return max(base, 0.0) + max(slope, 0.0) * queries

    def seconds(self, queries: int, workers: int, cost: float) -> tuple[float, float]:
        """(of the whole stage, of that in the command alone). cost: seconds of the command for each unit."""
        alone = self.at(self.alone, queries)
        if not self.units:
            return alone, alone
        count = -(-queries // UNIT)
        drawn = np.random.default_rng(0).choice(self.units, count)
        return alone + queued(drawn, workers, cost), alone


def queued(units: Iterable[float], workers: int, cost: float) -> float:
    """Seconds until the last of the units has ended. A unit is sent when the command has sent those before it."""
    free = [0.0] * workers
    heapq.heapify(free)
    for number, unit in enumerate(units):
        heapq.heappush(free, max(heapq.heappop(free), (number + 1) * cost) + unit)
    return max(free)


def measure(sizes: list[int]) -> dict[str, Stage]:
    """Runs the stages with so many queries each, every time from nothing, on one core."""
    stages: dict[str, Stage] = {}
    for queries in sizes:
        with tempfile.TemporaryDirectory() as folder:
            given = [f"dataset.queries={queries}", f"dataset.documents={queries * 9}"]
            steps = assemble(zelo.compose(["experiment=paper_scale", "until=target", *given]))
            store, timed = Store(Path(folder)), Timed()
            for result, name in run_stages(steps, store, executor=timed):
                units, timed.seconds = timed.seconds, []
                stage = stages.setdefault(name, Stage([], {}, {}, {}))
                stage.units.extend(units)
                stage.alone[queries] = result.facts[name]["seconds"] - sum(units)
                path = result.tables[name].path
                stage.files[queries] = sum(file.is_file() for file in path.rglob("*"))
                stage.manifest[queries] = (path / "manifest.json").stat().st_size
    return stages


def nothing(unit: int, advance: Advance) -> Facts:
    """A unit of work that does nothing."""
    return {}


def costs() -> tuple[float, float]:
    """(seconds until a worker has started, seconds of the command for each unit), with a pool of two processes."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)).active():
        pool = Local(workers=2)
        try:
            start = time.perf_counter()
            pool.run(nothing, {0: 1, 1: 1}, lambda n, note="": None)
            started = time.perf_counter()
            pool.run(nothing, dict.fromkeys(range(EMPTY), 1), lambda n, note="": None)
            return started - start, (time.perf_counter() - started) / EMPTY
        finally:
            pool.close()


def main() -> None:
    """Prints what was measured and what follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--queries", type=int, nargs="+", default=[112_000, 10_000_000])
    parser.add_argument(
        "--judge", type=float, default=0.0, help="seconds a query that a real judge takes, added to its units"
    )
    given = parser.parse_args()
    sizes = [units * UNIT for units in given.units]
    start, cost = costs()
    print(f"a worker starts in {start:.1f} s; a unit costs the command {cost * 1000:.2f} ms")
    with threadpool_limits(1):
        stages = measure(sizes)
    stages["judge"].units[:] = [unit + given.judge * UNIT for unit in stages["judge"].units]
    print(f"\n{'stage':<14}{'unit of 512':>12}{'alone, per 1,000 queries':>26}{'files per unit':>16}")
    for name, stage in stages.items():
        unit = f"{np.mean(stage.units):.2f} s" if stage.units else "-"
        (low, *_, high), last = sizes, sizes[-1]
        alone = 1000 * (stage.at(stage.alone, high) - stage.at(stage.alone, low)) / (high - low)
        print(f"{name:<14}{unit:>12}{alone:>24.3f} s{stage.files[last] / (last / UNIT):>16.1f}")
    for queries in given.queries:
        print(f"\n{queries:,} queries, {-(-queries // UNIT):,} units")
        print(f"{'workers':>8}{'seconds':>10}{'x one':>8}{'per worker':>12}{'command alone':>15}   longest stage")
        first = 0.0
        for workers in given.workers:
            took = {name: stage.seconds(queries, workers, cost) for name, stage in stages.items()}
            whole = sum(seconds for seconds, _ in took.values()) + (start if workers > 1 else 0.0)
            first = first or whole * workers
            gain = first / whole
            longest = max(took, key=lambda name: took[name][0])
            print(
                f"{workers:>8,}{whole:>12,.0f}{gain:>8.1f}{gain / workers:>11.0%}"
                f"{sum(alone for _, alone in took.values()) / whole:>14.0%}   {longest} ({took[longest][0]:,.0f} s)"
            )
        files = sum(stage.at(stage.files, queries) for stage in stages.values())
        largest = max(stages, key=lambda name: stages[name].at(stages[name].manifest, queries))
        megabytes = stages[largest].at(stages[largest].manifest, queries) / 1e6
        print(f"{files:,.0f} files; the largest manifest, of {largest}, has {megabytes:,.2f} MB")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import many_workers  # workers know this module by its name

    many_workers.main()
