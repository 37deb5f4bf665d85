"""Whoever runs the units of a stage: the same tables, the same errors, nothing twice."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from zelo.errors import BadInput, JobFailed, ModelNotFound
from zelo.executors.local import Local
from zelo.facts import Facts
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.progress import Advance
from zelo.protocols import Executor
from zelo.stages import retrieve
from zelo.store.store import Store
from zelo.units import HERE


def unit(folder: Path, number: int, advance: Advance) -> Facts:
    """Writes down where it ran, and fails on some numbers."""
    with (folder / f"{number}.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if number == 90:
        raise ModelNotFound("m", "there is none")
    if number == 91:
        raise KeyError("broken")
    if number == 92:
        os._exit(1)
    return {"square": number**2}


@pytest.fixture(scope="module")
def pool() -> Iterator[Local]:
    executor = Local(workers=2)
    yield executor
    executor.close()


def test_units_run_in_other_processes_and_facts_come_back_in_order(pool: Local, tmp_path: Path) -> None:
    done: list[int] = []
    facts = pool.run(partial(unit, tmp_path), {3: 5, 1: 7, 2: 9}, lambda n, note="": done.append(n))
    assert list(facts.items()) == [(3, {"square": 9}), (1, {"square": 1}), (2, {"square": 4})]
    assert sum(done) == 21
    ran = [int(line) for number in (1, 2, 3) for line in (tmp_path / f"{number}.txt").read_text().split()]
    assert len(ran) == 3
    assert os.getpid() not in ran
    with pytest.raises(ModelNotFound, match="there is none") as caught:
        pool.run(partial(unit, tmp_path), {90: 1, 4: 1}, lambda n, note="": None)
    assert caught.value.model == "m"
    with pytest.raises(JobFailed, match="KeyError: 'broken'"):
        pool.run(partial(unit, tmp_path), {91: 1, 4: 1}, lambda n, note="": None)


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    Local(workers=1).run(partial(unit, tmp_path), {1: 1, 2: 1}, lambda n, note="": None)
    assert int((tmp_path / "1.txt").read_text()) == os.getpid()


def test_no_workers_are_refused() -> None:
    with pytest.raises(BadInput, match=r"executor\.workers=0: at least 1"):
        Local(workers=0)


def contents(home: Path, executor: Executor) -> dict[str, str]:
    """Stage -> hash of the bytes of its table, of a small run."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        small = ["dataset=synthetic", "dataset.queries=40", "dataset.documents=60", "top_k=12", "until=target"]
        config = compose("config", ["pipeline=annotate", "retriever=random", "judge=simulated", *small])
    *_, (result, _) = run_stages(assemble(config), Store(home), executor=executor)
    return {name: table.content for name, table in result.tables.items() if name != "data_card"}


def test_tables_are_the_same_bytes_whoever_makes_them(
    pool: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "SHARD", 16)
    assert contents(tmp_path / "pool", pool) == contents(tmp_path / "here", HERE)
