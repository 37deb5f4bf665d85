"""The rate stage by executor, by turns on the same cores: one process, a pool of two, two Ray nodes of one CPU each.

Run: python benchmarks/executor.py [--queries 8192] [--rounds 3]. Outcomes are synthetic: 100 documents a query, four pairs each,
shards of 512 queries. Workers are started before anything is timed. Prints seconds, the medians of the ratios of each round, and
the most memory that a worker held. Without Ray (pip install 'zelo[ray]') that column is left out.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from zelo.executors.local import Local
from zelo.facts import Facts
from zelo.graphs.cycles import Cycles
from zelo.progress import Advance
from zelo.protocols import Executor, Work
from zelo.records import ANSWERED, OUTCOME, STATUSES
from zelo.solvers.thurstone import Thurstone
from zelo.stages.rate import Rate
from zelo.store.shards import write_shard
from zelo.store.store import Store
from zelo.store.table import Table

UNIT, DOCUMENTS, DEGREE = 512, 100, 8


def outcomes(folder: Path, queries: int) -> Table:
    """A judge stage's table."""
    rng, folder = np.random.default_rng(0), folder / "outcomes"
    for number, low in enumerate(range(0, queries, UNIT)):
        count = min(UNIT, queries - low)
        sizes = np.full(count, DOCUMENTS)
        edges = Cycles(degree=DEGREE).propose(sizes, np.arange(low, low + count, dtype=np.uint64), None)
        assert edges is not None
        truth = rng.standard_normal(count * DOCUMENTS)
        p = 1 / (1 + np.exp(truth[edges[:, 1]] - truth[edges[:, 0]] + rng.standard_normal(len(edges))))
        n, names = len(edges), pa.array([f"d{row:03}" for row in range(DOCUMENTS)])
        same = pa.array(np.zeros(n, np.int32))
        columns = {
            "query_id": pa.array([f"q{low + row:06}" for row in range(count)]).take(pa.array(edges[:, 0] // DOCUMENTS)),
            "doc_a": names.take(pa.array(edges[:, 0] % DOCUMENTS)),
            "doc_b": names.take(pa.array(edges[:, 1] % DOCUMENTS)),
            "query_id_b": pa.nulls(n, pa.string()),
            "criterion": pa.nulls(n, pa.int16()),
            "judge": pa.DictionaryArray.from_arrays(same, pa.array(["synthetic"])),
            "repeat": np.zeros(n, np.int16),
            "p": p.astype(np.float32),
            "weight": np.ones(n, np.float32),
            "swapped": np.zeros(n, bool),
            "status": pa.DictionaryArray.from_arrays(
                pa.array(np.full(n, STATUSES.index(ANSWERED), np.int32)), pa.array(STATUSES)
            ),
            "tokens": np.zeros(n, np.int32),
            "cost": np.zeros(n),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(pa.table(columns), OUTCOME, folder, "outcomes", number)
    return Table("judge", "", folder, {})


def measured(work: Work, unit: int, advance: Advance) -> Facts:
    """A unit, and the most memory in MB that its process has held."""
    return work(unit, advance) | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000}


class Measured:
    """An executor whose workers say how much memory they held."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.memory = executor, 0

    def run(self, work: Work, sizes: Mapping[int, int], advance: Advance, *, model: bool = False) -> dict[int, Facts]:
        """As of an Executor."""
        facts = self.executor.run(partial(measured, work), sizes, advance, model=model)
        self.memory = max(self.memory, *(one["memory"] for one in facts.values()))
        return facts

    @property
    def where(self) -> str | None:
        """As of an Executor."""
        return self.executor.where

    @property
    def workers(self) -> int:
        """As of an Executor."""
        return self.executor.workers

    def check(self) -> None:
        """As of an Executor."""
        self.executor.check()

    def close(self) -> None:
        """As of an Executor."""
        self.executor.close()


def seconds(executor: Executor, judged: Table, out: Path) -> float:
    """Of the rate stage."""
    solver = Thurstone(ridge=0.001, tolerance=1e-6, max_steps=50, stderr="two_walk", lapse=0.0, held_out=0.0)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    start = time.perf_counter()
    Rate(inputs={"outcomes": "judge"}, solver=solver, quorum=1, diagnosed_queries=2048).run(
        {"outcomes": judged}, out, executor
    )
    return time.perf_counter() - start


def compared(queries: int, rounds: int, executors: dict[str, Measured]) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as name, Store(Path(name) / "store").active():
        judged, few = outcomes(Path(name) / "all", queries), outcomes(Path(name) / "few", 4 * UNIT)
        for executor in executors.values():
            executor.check()
            seconds(executor, few, Path(name) / "warm")
        took = {label: list[float]() for label in executors}
        for _ in range(rounds):
            for label, executor in executors.items():
                took[label].append(seconds(executor, judged, Path(name) / "out"))
        print(
            f"{queries:,} queries, {queries * DOCUMENTS * DEGREE // 2:,} pairs, {-(-queries // UNIT)} units, {rounds} rounds"
        )
        for label, executor in executors.items():
            ratio = median(one / other for one, other in zip(took["local, 1"], took[label], strict=True))
            line = f"{label:<12} {median(took[label]):7.2f} s   {ratio:.2f} x one process   {executor.memory:,} MB"
            if label == "ray, 2":
                over = median(ray / pool for ray, pool in zip(took[label], took["local, 2"], strict=True))
                line += f"   {100 * (over - 1):+.0f} % over the pool"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=16 * UNIT)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    executors = {f"local, {workers}": Measured(Local(workers=workers)) for workers in (1, 2)}
    try:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster
    except ImportError:
        print("Ray is not installed: pip install 'zelo[ray]'")
        compared(given.queries, given.rounds, executors)
        return
    from zelo.executors.ray import Ray

    small: dict[str, Any] = {"object_store_memory": 80_000_000}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    executors["ray, 2"] = Measured(Ray(address=cluster.address, retries=0))
    try:
        compared(given.queries, given.rounds, executors)
    finally:
        for executor in executors.values():
            executor.close()
        cluster.shutdown()


if __name__ == "__main__":
    import executor  # workers know this module by its name

    with threadpool_limits(1):  # as each worker has
        executor.main()
