"""Whoever runs the units of a stage: the same tables, the same errors, nothing twice."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_place import ByPlace
from small_run import contents, units_of
from unit_work import unit

from zelo import units
from zelo.backbones import encoding
from zelo.errors import BadInput, JobFailed, ModelNotFound, ZeloError
from zelo.executors.local import Local
from zelo.records import DOCUMENT, QUERY, SCORED
from zelo.stages import retrieve, score
from zelo.store.shards import write_parquet
from zelo.store.store import Store
from zelo.store.table import Table
from zelo.texts import Texts
from zelo.training.student import Student
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
    for target in ("target=link", "target=quantile"):
        assert contents(tmp_path / "pool", pool, target) == contents(tmp_path / "here", HERE, target)


def test_the_units_of_all_stages_are_known_once_the_queries_are_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert units_of(store) == {}
    contents(tmp_path, HERE, "until=make_queries")
    assert units_of(store) == {"retrieve": 1, "judge": 1, "rate": 1, "calibrate": 1, "target": 1}


@pytest.mark.long
def test_a_student_scores_in_units_wherever_they_run(
    pool: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "UNIT", 2)
    texts = tmp_path / "data"
    texts.mkdir()
    names = [f"q{n}" for n in range(5)]
    write_parquet(pa.table([names, names, ["dev"] * 5], schema=QUERY), QUERY, texts, "queries")
    documents = pa.table([[f"d{n}" for n in range(4)], [""] * 4, ["."] * 4], schema=DOCUMENT)
    write_parquet(documents, DOCUMENT, texts, "documents")
    found = pa.table([[*names, *names], [f"d{n % 4}" for n in range(10)], range(10)], schema=SCORED)
    write_parquet(found, SCORED, texts, "scored")
    parts: Any = dict.fromkeys(("backbone", "loss", "optimizer", "scheduler", "loader", "trainer"))
    stage = score.Score(
        inputs={"candidates": ""},
        student=Student(model=cast(Any, ByPlace()), **parts),
        hardware=cast(Any, SimpleNamespace(device="cpu")),
        splits=["dev"],
        top_k=3,
        keep_own_document=True,
        batch_queries=1,
        seed=0,
    )
    table = Table("x", "", texts, {})
    tables = {"data": table, "candidates": table}
    made = []
    for name, executor in (("pool", pool), ("here", HERE)):
        (tmp_path / name).mkdir()
        assert stage.run(tables, tmp_path / name, executor)["rows"] == 10
        assert len(list((tmp_path / name / "checkpoint").iterdir())) == 3
        made.append((tmp_path / name / "scored.parquet").read_bytes())
    assert made[0] == made[1]
    rows = pq.read_table(tmp_path / "here" / "scored.parquet").to_pylist()
    assert all(row["score"] == -int(row["doc_id"][1:]) for row in rows)


@pytest.mark.long
def test_a_corpus_is_encoded_in_units_wherever_they_run(
    pool: Local, tmp_path: Path, component: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "UNIT", 3)
    monkeypatch.setattr(encoding, "TOKENS", {"cpu": 40})
    texts = Texts(pa.chunked_array([[f"word {'more ' * n}" for n in range(12)]]))
    encoder, made = component("backbone/minilm"), []
    for name, executor in (("pool", pool), ("here", HERE)):
        (tmp_path / name).mkdir()
        with Store(tmp_path / "store").active(), units.active(executor):
            encoder._encode(tmp_path / name, "documents", texts, "", 256, "float32", None)
        assert len(list((tmp_path / name / "checkpoint").glob("pooled-*"))) == 4
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.npy")})
    assert len(made[0]) == 4
    assert made[0] == made[1]
    with Store(tmp_path / "store").active(), units.active(pool), pytest.raises(BadInput, match="at most 512 tokens"):
        encoder._encode(tmp_path, "documents", texts, "", 600, "float32", None)


@pytest.mark.long
def test_a_worker_that_is_killed_is_named(tmp_path: Path) -> None:
    executor = Local(workers=2)
    try:
        with pytest.raises(ZeloError, match=r"executor\.workers=2: a worker was ended from outside"):
            executor.run(partial(unit, tmp_path, 0), {92: 1, 4: 1}, still)
    finally:
        executor.close()
