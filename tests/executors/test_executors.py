"""Whoever runs the units of a stage: the same tables, the same errors, nothing twice."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from small_run import contents
from unit_work import unit

from zelo.errors import BadInput, JobFailed, ModelNotFound
from zelo.executors.local import Local
from zelo.stages import retrieve
from zelo.units import HERE


def still(n: int, note: str = "") -> None:
    """Shows nothing."""


@pytest.fixture(scope="module")
def pool() -> Iterator[Local]:
    executor = Local(workers=2)
    yield executor
    executor.close()


def test_units_run_in_other_processes_and_facts_come_back_in_order(pool: Local, tmp_path: Path) -> None:
    done: list[int] = []
    facts = pool.run(partial(unit, tmp_path, 0), {3: 5, 1: 7, 2: 9}, lambda n, note="": done.append(n))
    assert list(facts.items()) == [(3, {"square": 9}), (1, {"square": 1}), (2, {"square": 4})]
    assert sum(done) == 21
    ran = [int(line) for number in (1, 2, 3) for line in (tmp_path / f"{number}.txt").read_text().split()]
    assert len(ran) == 3
    assert os.getpid() not in ran
    with pytest.raises(ModelNotFound, match="there is none") as caught:
        pool.run(partial(unit, tmp_path, 0), {90: 1, 4: 1}, still)
    assert caught.value.model == "m"
    with pytest.raises(JobFailed, match="KeyError: 'broken'"):
        pool.run(partial(unit, tmp_path, 0), {91: 1, 4: 1}, still)


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    Local(workers=1).run(partial(unit, tmp_path, 0), {1: 1, 2: 1}, still)
    assert int((tmp_path / "1.txt").read_text()) == os.getpid()


def test_no_workers_are_refused() -> None:
    with pytest.raises(BadInput, match=r"executor\.workers=0: at least 1"):
        Local(workers=0)


def test_tables_are_the_same_bytes_whoever_makes_them(
    pool: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "SHARD", 16)
    assert contents(tmp_path / "pool", pool) == contents(tmp_path / "here", HERE)
