"""One process at a time makes a table: `flock` on a disk of this host, files made exclusively on a network file system.

What `flock` does on a network file system depends on its mount, and may hold on one host only; making a file exclusively holds
everywhere. A lock of the system ends with its process. A lock that is a file says who holds it, who touches it while it lives:
`liveness` says when it is gone, and then one of those who wait takes the file away.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from zelo.errors import ZeloError
from zelo.store.disk import network_file_system
from zelo.store.liveness import HEARTBEAT, STALE, is_gone, new_owner, silence

POLL = 0.5  # seconds between looks at a lock that another host may hold
LONGEST = 5.0  # seconds, as they grow
FILES = "by-files"  # a file in the folder of locks: this store is locked by files, also on its server, which sees a local disk


class Locks:
    """The locks of one store, files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def hold(self, name: str, wait: bool = True) -> Iterator["Held"]:
        """Holds the lock of that name. Raises BlockingIOError if another process has it, unless it is to `wait`."""
        files = bool(why_files(self.folder)) or (self.folder / FILES).exists()
        with self._made(name, wait) if files else self._flock(name, wait) as held:
            yield held

    @contextmanager
    def _flock(self, name: str, wait: bool) -> Iterator["Held"]:
        with (self.folder / name).open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                _say_waiting(name, "")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield Held(name)

    @contextmanager
    def _made(self, name: str, wait: bool) -> Iterator["Held"]:
        path = self.folder / f"{name}.held"
        owner = self._take(path, wait, name)
        held = Held(name, path, owner)
        try:
            with HEARTBEAT.on(path):
                yield held
        finally:
            if held.is_mine():
                path.unlink(missing_ok=True)

    def _take(self, path: Path, wait: bool, name: str = "") -> str:
        """The owner that this process is, once it has made the file. name: what is said to be waited for."""
        owner, looks = new_owner(), 0
        while not _make(path, owner):
            holder = _read(path)
            if _is_dead(path, holder):
                self._remove_dead(path, holder)
                continue
            if not wait:
                raise BlockingIOError(f"{path} is held by {holder}")
            if name and not looks:
                _say_waiting(name, holder)
            looks += 1
            time.sleep(min(POLL * looks, LONGEST))
        return owner

    def _remove_dead(self, path: Path, holder: str) -> None:
        """Takes a dead one's lock away. Of two who have seen that it is dead, the second must not take away a third's lock.

        So only who holds the lock that is named after the dead one may do it, after looking again.
        """
        guard = path.with_name(f"{path.name}.{holder or 'nobody'}")
        owner = self._take(guard, wait=True)
        try:
            if _read(path) == holder and _is_dead(path, holder):
                path.unlink(missing_ok=True)
        finally:
            if _read(guard) == owner:
                guard.unlink(missing_ok=True)


@cache
def why_files(folder: Path) -> str:
    """Why files are the locks in this folder; empty where the system's locks do. Tried once per process."""
    marker = folder / FILES
    try:
        return marker.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        why = _against_flock(folder)
    if why:
        marker.write_text(f"{why}\n", encoding="utf-8")
        print(f"store {folder.parent}: {why}, so tables are locked by files", file=sys.stderr, flush=True)
    return why


def _against_flock(folder: Path) -> str:
    if kind := network_file_system(folder):
        return f"it lies on a network file system ({kind})"
    path = folder / f".try.{new_owner()}"
    try:
        with path.open("w", encoding="utf-8") as one, path.open("r+", encoding="utf-8") as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ""
            return "the system's locks (flock) keep nobody out there"
    except OSError as error:
        return f"the system has no locks (flock) there ({error.strerror})"
    finally:
        path.unlink(missing_ok=True)


class Held:
    """A lock that this process holds, as far as it knows: one that was stopped for long may have been taken for dead."""

    def __init__(self, name: str, path: Path | None = None, owner: str = "") -> None:
        self.name = name
        self.path = path
        self.owner = owner

    def is_mine(self) -> bool:
        """Whether the lock is still this process's."""
        return self.path is None or _read(self.path) == self.owner

    def check(self) -> None:
        """Raises ZeloError when another process has taken the lock."""
        if not self.is_mine():
            raise ZeloError(
                f"This process gave no sign of life for so long that another host took the lock {self.name}, so its table is"
                " left to that one. Run again: what was finished is found."
            )


def _make(path: Path, owner: str) -> bool:
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(owner)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str:
    """Who has made a lock; empty while that is being written, and where there is none."""
    with suppress(OSError):
        return path.read_text(encoding="ascii")
    return ""


def _is_dead(path: Path, holder: str) -> bool:
    try:
        return is_gone(holder, path) if holder else silence(path) > STALE  # one was killed between making and writing
    except FileNotFoundError:
        return False


def _say_waiting(name: str, holder: str) -> None:
    kind, _, identity = name.partition("-")
    who = f"process {holder.split('.')[1]} of {holder.split('.')[0].rpartition('-')[0]}" if holder else "another run"
    print(f"{kind} {identity}: {who} is computing it; waiting", file=sys.stderr, flush=True)
