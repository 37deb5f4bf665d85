"""The store: a table is whole or absent, made once, and survives kills."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from zelo.backbones import vectors
from zelo.errors import BadInput
from zelo.store.__main__ import main
from zelo.store.hashing import hash_json
from zelo.store.liveness import new_owner
from zelo.store.locks import FILES
from zelo.store.prune import prune
from zelo.store.references import register_run
from zelo.store.shards import keep_made_of, keep_shards, write_parquet
from zelo.store.store import Store

SCHEMA = pa.schema([("number", pa.int64())])


def make(folder: Path, earlier: object) -> dict[str, object]:
    write_parquet(pa.table({"number": [1, 2, 3]}), SCHEMA, folder, "numbers")
    return {"rows": 3}


def test_a_table_is_made_once_and_reads_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    table, reused = store.obtain("rate", "abc", make)
    assert not reused
    assert table.read("numbers")["number"].to_pylist() == [1, 2, 3]
    again, reused = store.obtain("rate", "abc", lambda *_: pytest.fail("made twice"))
    assert reused
    assert again.manifest == table.manifest
    assert table.faults() == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(folder: Path, earlier: object) -> dict[str, object]:
        make(folder, earlier)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.obtain("rate", "abc", fail)
    assert store.find("rate", "abc") is None
    assert list((tmp_path / "rate").iterdir()) == []


def test_a_partial_table_is_handed_on_and_never_reused_as_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, _ = store.obtain("judge", "abc", lambda folder, earlier: make(folder, earlier) | {"partial": True})
    assert first.partial
    assert store.find("judge", "abc") is None
    second, reused = store.obtain("judge", "abc", lambda folder, earlier: make(folder, earlier) | {"partial": True})
    assert not reused
    assert second.path != first.path
    assert not first.path.exists()
    seen = []
    third, _ = store.obtain("judge", "abc", lambda folder, earlier: seen.append(earlier) or make(folder, earlier))
    assert seen[0].path == second.path
    assert not third.partial
    assert store.find("judge", "abc") is not None
    assert [table.identity for table in store.tables()] == ["abc"]


def test_verify_finds_damage_and_prune_keeps_what_a_run_names(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    store = Store.default()
    kept, _ = store.obtain("rate", "kept", make)
    store.obtain("rate", "gone", make)
    run = tmp_path / "run"
    run.mkdir()
    names = {"stages": {"rate": {"identity": "kept"}}}
    (run / "manifest.json").write_text(json.dumps(names | {"status": "running"}))
    register_run(store.root, run, ["kept", "gone"])
    assert main(["verify"]) == 0
    assert main(["prune"]) == 0
    assert [table.identity for table in store.tables()] == ["gone", "kept"], "the run may still want it"
    (run / "manifest.json").write_text(json.dumps(names | {"status": "finished"}))
    assert main(["prune"]) == 0
    assert [table.identity for table in store.tables()] == ["kept"]
    assert list((store.root / "rate").iterdir()) == [kept.path]
    (run / "manifest.json").write_text("{")
    assert main(["prune"]) == 2, "what it names is not known"
    assert [table.identity for table in store.tables()] == ["kept"]
    (kept.path / "numbers.parquet").write_bytes(b"x")
    assert main(["verify"]) == 1
    assert "numbers.parquet" in capsys.readouterr().err


def _run_folder(folder: Path, status: str, stages: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    names = {name: {"identity": name} for name in stages}
    (folder / "manifest.json").write_text(json.dumps({"stages": names, "status": status}))
    return folder


def _vectors(folder: Path, earlier: object) -> dict[str, object]:
    """A stage that asks for what is computed once per corpus."""

    def encode(folder: Path) -> None:
        np.save(folder / "pooled.npy", np.ones((2, 3), np.float32))

    assert vectors.kept({"texts": "abc"}, encode).pooled.shape == (2, 3)
    return {"rows": 2}


def test_prune_keeps_vectors_as_long_as_a_run_folder_that_used_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    store = Store.default()
    first = _run_folder(tmp_path / "first", "finished", ["stage"])
    register_run(store.root, first, ["stage"])
    store.obtain("retrieve", "stage", _vectors)
    prune(store)
    assert {table.kind for table in store.tables()} == {"retrieve", "vectors"}
    second = _run_folder(tmp_path / "second", "finished", ["stage"])  # which found the stage made
    register_run(store.root, second, ["stage"])
    shutil.rmtree(first)
    prune(store)
    assert {table.kind for table in store.tables()} == {"retrieve", "vectors"}
    shutil.rmtree(second)
    prune(store)
    assert list(store.tables()) == []
    assert list((store.root / "uses").iterdir()) == []


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_prune_keeps_what_a_run_that_did_not_end_well_goes_on_from(status: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    store = Store.default()
    run = _run_folder(tmp_path / "run", status, [])
    register_run(store.root, run, ["stage"])

    def stop(folder: Path, earlier: object) -> dict[str, object]:
        _vectors(folder, earlier)
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "weights").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.obtain("train", "stage", stop)
    prune(store)
    assert [table.kind for table in store.tables()] == ["vectors"]
    assert (store.unfinished("train", "stage") / "checkpoint" / "weights").exists()
    shutil.rmtree(run)
    prune(store)
    assert list(store.tables()) == []
    assert not store.unfinished("train", "stage").exists()


def test_a_run_that_begins_while_another_prunes_keeps_its_tables(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path / "home")
    for identity in ("a", "b"):
        store.obtain("rate", identity, make)
    run = _run_folder(tmp_path / "run", "running", [])
    lock = store.lock

    def begin(kind: str, identity: str, wait: bool = True):
        if identity == "a":  # is about to be deleted
            register_run(store.root, run, ["b"])
        return lock(kind, identity, wait)

    monkeypatch.setattr(store, "lock", begin)
    assert [table.identity for table in prune(store)] == ["a"]
    assert [table.identity for table in store.tables()] == ["b"]


def test_prune_ends_what_a_killed_prune_began(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "rate" / f".abc.{new_owner()}.gone").mkdir(parents=True)
    prune(store)
    assert list((tmp_path / "rate").iterdir()) == []


def test_a_store_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="ZELO_HOME"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("1000000 requested and 12784 written"),  # numpy
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    ],
    ids=["the system", "numpy", "safetensors"],
)
def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(folder: Path, earlier: object) -> dict[str, object]:
        raise error

    monkeypatch.setattr("zelo.store.disk.LEAST", 1 << 62)
    with pytest.raises(BadInput, match="No space left in the store"):
        Store(tmp_path).obtain("rate", "abc", full)


@pytest.mark.parametrize("error", [OSError("1 requested and 0 written"), OSError(5, "I/O error"), ValueError("no")])
def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path, error: Exception) -> None:
    def fail(folder: Path, earlier: object) -> dict[str, object]:
        raise error

    with pytest.raises(type(error)) as seen:
        Store(tmp_path).obtain("rate", "abc", fail)
    assert seen.value is error


def _slow(root: Path, log: Path) -> None:
    def work(folder: Path, earlier: object) -> dict[str, object]:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return make(folder, earlier)

    Store(root).obtain("rate", "abc", work)


@pytest.mark.parametrize("files", [False, True], ids=["flock", "by files"])
def test_two_runs_at_once_do_the_work_once(tmp_path: Path, files: bool) -> None:
    if files:
        (Store(tmp_path / "store").root / "locks" / FILES).write_text("it lies on a network file system (nfs4)")
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_slow, args=(tmp_path / "store", tmp_path / "log")) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert (tmp_path / "log").read_text() == "made\n"


@pytest.mark.long
def test_twenty_kills_at_random_moments_end_with_the_same_tables(tmp_path: Path, tiny_beir: Path) -> None:
    """A run killed with SIGKILL at any moment and started again ends with the tables of an unbroken run."""
    program = str(Path(sys.executable).with_name("zelo"))
    command = [program, "until=target", "dataset=beir", f"dataset.path={tiny_beir}"]
    command += ["top_k=6", "graph.degree=2", "retriever=bm25", "judge=lexical", f"hydra.run.dir={tmp_path}/run"]

    def environment(home: Path) -> dict[str, str]:
        return os.environ | {"ZELO_HOME": str(home)}

    start = time.monotonic()
    subprocess.run(command, env=environment(tmp_path / "whole"), check=True, capture_output=True)
    length = time.monotonic() - start
    rng = random.Random(0)
    for _ in range(20):
        process = subprocess.Popen(
            command, env=environment(tmp_path / "killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.5, 1.0) * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment(tmp_path / "killed"), check=True, capture_output=True)

    def files(home: Path) -> dict[str, str]:
        return {
            f"{table.kind}/{table.identity}/{name}": facts["hash"]
            for table in Store(home).tables()
            for name, facts in table.manifest["files"].items()
        }

    assert files(tmp_path / "whole")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert not [path for path in (tmp_path / "killed").glob("*/.*") if path.is_dir()]


def test_hash_of_json_ignores_the_order_of_keys() -> None:
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_what_an_attempt_made_of_other_inputs_goes(tmp_path: Path) -> None:
    def left(inputs: str) -> bool:
        keep_made_of(tmp_path, inputs)
        there = (tmp_path / "ratings").is_dir()
        (tmp_path / "ratings").mkdir(exist_ok=True)
        (tmp_path / "ratings/00000.parquet").touch()
        keep_shards(tmp_path)
        return there

    assert [left(inputs) for inputs in ("whole", "whole", "x", "x", "y", "whole", "whole")] == [
        False, True, False, True, False, False, True,
    ]  # fmt: skip
