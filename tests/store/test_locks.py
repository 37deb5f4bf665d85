"""Locks and half-written files of several hosts: one at a time, the dead block nobody, the living lose nothing."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from zelo.errors import ZeloError
from zelo.store import disk, liveness, locks
from zelo.store.liveness import half_of, host, new_owner
from zelo.store.locks import Locks
from zelo.store.shards import keep_shards
from zelo.store.store import Store

ELSEWHERE = "node7-0123abcd.{pid}.77.0123456789ab"  # a process of another host


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is mounted from a server, as the system says it."""
    folder = tmp_path / "my share"
    folder.mkdir()
    (tmp_path / "mounts").write_text(
        f"proc /proc proc rw 0 0\n/dev/vda / ext4 rw 0 0\nserver:/a {str(folder).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n"
    )
    monkeypatch.setattr(disk, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(locks, "POLL", 0.001)
    return folder


def dead() -> str:
    """The owner that a process of this host was which has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return f"{host()}.{process.pid}.5.0123456789ab"


def aged(path: Path, owner: str, seconds: float) -> Path:
    path.write_text(owner)
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


def test_a_network_file_system_is_told_from_a_disk(on_nfs: Path, tmp_path: Path) -> None:
    assert disk.network_file_system(on_nfs / "home" / "none yet") == "nfs4"
    assert disk.network_file_system(tmp_path) is None


def test_a_local_store_is_locked_by_the_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Locks(tmp_path).hold("rate-abc"), pytest.raises(BlockingIOError):
        with Locks(tmp_path).hold("rate-abc", wait=False):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["rate-abc"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), None], ids=["refused", "without effect"]
)
def test_files_are_locks_where_the_system_has_none(tmp_path: Path, monkeypatch, capsys, error: OSError | None) -> None:
    def flock(*_: object) -> None:
        if error:
            raise error

    monkeypatch.setattr(fcntl, "flock", flock)
    with Locks(tmp_path).hold("rate-abc"), pytest.raises(BlockingIOError):
        with Locks(tmp_path).hold("rate-abc", wait=False):
            pass
    assert capsys.readouterr().err.count("locked by files") == 1


def test_a_store_on_the_network_is_locked_by_files_on_its_server_too(on_nfs: Path, capsys, monkeypatch) -> None:
    with Locks(on_nfs).hold("rate-abc"):
        assert (on_nfs / "rate-abc.held").exists()
        assert capsys.readouterr().err.count("nfs4") == 1
        monkeypatch.setattr(disk, "MOUNTS", on_nfs / "none")  # the server sees a disk
        locks.why_files.cache_clear()
        with pytest.raises(BlockingIOError), Locks(on_nfs).hold("rate-abc", wait=False):
            pass
    assert [path.name for path in on_nfs.iterdir()] == [locks.FILES]


@pytest.mark.parametrize(
    ("holder", "age", "free"),
    [
        ("dead", 0, True),
        ("number given again", 0, True),
        ("here", 999, False),
        ("elsewhere", 0, False),
        ("elsewhere", 999, True),
        ("killed before it wrote its name", 0, False),
        ("killed before it wrote its name", 999, True),
    ],
)
def test_a_lock_is_taken_from_the_dead_only(on_nfs: Path, holder: str, age: int, free: bool) -> None:
    this = new_owner()
    again = this.replace(this.split(".")[2], "5")
    names = {"dead": dead(), "here": this, "elsewhere": ELSEWHERE.format(pid=os.getpid()), "number given again": again}
    path = aged(on_nfs / "rate-abc.held", names.get(holder, ""), age)
    if free:
        with Locks(on_nfs).hold("rate-abc", wait=False):
            assert path.read_text() != names.get(holder)
    else:
        with pytest.raises(BlockingIOError), Locks(on_nfs).hold("rate-abc", wait=False):
            pass
        path.unlink()
    assert [path.name for path in on_nfs.iterdir()] == [locks.FILES]


def test_of_many_that_want_the_lock_of_a_dead_one_each_holds_it_alone(on_nfs: Path) -> None:
    inside: list[int] = []
    most = []

    def take(number: int) -> None:
        for _ in range(5):
            with Locks(on_nfs).hold("rate-abc"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
            if number == 0:  # dies, now and then
                (on_nfs / "new").write_text(gone)
                with suppress(FileExistsError):
                    os.link(on_nfs / "new", on_nfs / "rate-abc.held")

    gone = dead()
    aged(on_nfs / "rate-abc.held", gone, 0)
    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 40
    assert set(most) == {1}


def test_who_was_taken_for_dead_leaves_the_table_to_the_other(on_nfs: Path) -> None:
    store = Store(on_nfs)
    held = on_nfs / "locks" / "rate-abc.held"

    def stopped_for_long(folder: Path, earlier: object) -> dict[str, object]:
        held.write_text(ELSEWHERE.format(pid=1))
        return {}

    with pytest.raises(ZeloError, match="another host took the lock"):
        store.obtain("rate", "abc", stopped_for_long)
    assert store.find("rate", "abc") is None
    assert held.read_text() == ELSEWHERE.format(pid=1), "the lock is the other's"


def test_what_another_host_is_writing_stays_as_long_as_it_lives(tmp_path: Path) -> None:
    folder = tmp_path / ".abc.unfinished"
    (folder / "ratings").mkdir(parents=True)
    shard = folder / "ratings" / "00000.parquet"
    shard.write_text("whole")
    half = half_of(folder / "ratings" / "00001.parquet")
    this = ".".join(half.name.split(".")[3:-1])
    living = aged(half.with_name(half.name.replace(this, ELSEWHERE.format(pid=os.getpid()))), "", 1)
    others = aged(half.with_name(half.name.replace(this, ELSEWHERE.format(pid=7))), "", 999)
    local = aged(half.with_name(half.name.replace(this, dead())), "", 1)
    half.write_text("of this process, whose attempt is over")
    keep_shards(folder)
    assert {path for path in folder.rglob("*") if path.is_file()} == {shard, living}
    assert not others.exists()
    assert not local.exists()


def test_what_a_process_writes_it_touches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "BEAT", 0.01)
    path = aged(tmp_path / "half", "", 999)
    with liveness.Heartbeat().on(path):
        until = time.monotonic() + 10
        while liveness.silence(path) > 100 and time.monotonic() < until:
            time.sleep(0.01)
    assert liveness.silence(path) < 100
    aged(path, "", 999)
    time.sleep(0.05)
    assert liveness.silence(path) > 100
