"""Tables that travel: only whole ones, once, resumed, and as they were written."""

import json
import shutil
import sys
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from zelo.errors import BadInput, ZeloError
from zelo.store.__main__ import main
from zelo.store.mirror import pull, push
from zelo.store.references import note_use, uses
from zelo.store.shards import write_parquet, write_shard
from zelo.store.store import Store

SCHEMA = pa.schema([("number", pa.int64())])


@pytest.fixture(params=["memory", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/tables" if request.param == "memory" else str(tmp_path / "bucket" / "tables")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two whole tables, the first used by the second, and a partial one."""
    store = Store(tmp_path / "home")

    def make(folder: Path, earlier: object) -> dict[str, object]:
        write_parquet(pa.table({"number": [1, 2, 3]}), SCHEMA, folder, "numbers")
        for number in range(3):
            write_shard(pa.table({"number": [number]}), SCHEMA, folder, "pieces", number)
        return {"rows": 3}

    for identity in ("a", "b"):
        store.obtain("rate", identity, make)
    store.obtain("judge", "c", lambda folder, earlier: make(folder, earlier) | {"partial": True})
    note_use(store.root, "b", "a")
    return store


def copies(found: object) -> list[tuple[str, int, bool]]:
    return [(one.identity, one.files, one.known) for one in found]  # type: ignore[attr-defined]


def test_whole_tables_travel_once_and_arrive_as_they_were(store: Store, url: str, tmp_path: Path) -> None:
    assert copies(push(store, url)) == [("a", 4, False), ("b", 4, False)]
    assert copies(push(store, url)) == [("a", 0, True), ("b", 0, True)]
    other = Store(tmp_path / "other")
    assert copies(pull(other, url)) == [("a", 4, False), ("b", 4, False)]
    assert copies(pull(other, url)) == [("a", 0, True), ("b", 0, True)]
    for table in other.tables():
        assert table.faults() == []
        there = store.find(table.kind, table.identity)
        assert there is not None
        assert table.manifest == there.manifest
        assert table.read("pieces")["number"].to_pylist() == [0, 1, 2]
    assert [table.identity for table in other.tables()] == ["a", "b"]
    assert uses(other.root, "b") == ["a"]


def test_what_was_interrupted_goes_on_from_the_files_that_have_arrived(store: Store, url: str, tmp_path: Path) -> None:
    files, root = fsspec.core.url_to_fs(url)
    list(push(store, url))
    files.rm(f"{root}/rate/a/manifest.json")
    files.rm(f"{root}/rate/a/numbers.parquet")
    broken = f"{root}/rate/a/pieces/00001.parquet"
    files.pipe_file(broken, b"x" * files.size(broken))
    assert copies(push(store, url)) == [("a", 2, False), ("b", 0, True)], "the two that are not there as they are here"
    broken = f"{root}/rate/b/pieces/00002.parquet"
    right = files.cat_file(broken)
    files.pipe_file(broken, b"y" * len(right))
    other = Store(tmp_path / "other")
    with pytest.raises(ZeloError, match=r"rate/b/pieces/00002.parquet has not arrived as its manifest says"):
        list(pull(other, url))
    assert [table.identity for table in other.tables()] == ["a"], "what is broken is no table"
    files.pipe_file(broken, right)
    assert copies(pull(other, url)) == [("a", 0, True), ("b", 1, False)]


def test_what_is_no_table_is_refused(store: Store, tmp_path: Path) -> None:
    bucket, other = tmp_path / "bucket", Store(tmp_path / "other")
    with pytest.raises(BadInput, match="no tables"):
        list(pull(other, str(bucket)))
    list(push(store, str(bucket)))
    manifest = bucket / "rate" / "a" / "manifest.json"
    facts = json.loads(manifest.read_text())
    for wrong in ({"files": {"../../out": {"bytes": 1, "hash": ""}}}, {"identity": "b"}, {"files": 7}):
        manifest.write_text(json.dumps(facts | wrong))
        with pytest.raises(BadInput, match=r"rate/a/manifest.json is "):
            list(pull(other, str(bucket)))
    assert list(other.tables()) == []
    shutil.rmtree(bucket)
    (store.root / "rate" / "b" / "numbers.parquet").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"numbers.parquet is not what was written"):
        list(push(store, str(bucket)))
    assert not (bucket / "rate" / "b").exists()


def test_the_command_says_what_it_did_and_what_is_missing(store: Store, url: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ZELO_HOME", str(store.root))
    assert main(["push", url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert "2 tables sent (8 files, 0.0 MB), 0 were there already; 1 partial ones stay here" in out[-1]
    assert main(["pull", url]) == 0
    assert "0 tables fetched (0 files, 0.0 MB), 2 were there already" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for address, why in (("s3://bucket/tables", "s3fs"), ("nowhere://user:secret@x", "Protocol not known")):
        assert main(["push", address]) == 2
        err = capsys.readouterr().err
        assert why in err
        assert err.count("\n") == 1
        assert "secret" not in err
