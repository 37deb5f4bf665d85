"""Who writes a file, on which host, and whether that process still lives.

A file that is not finished has its writer in its name: HOST.PID.START.NONCE. On the same host the system knows whether the
process lives, and when it was started, since numbers are given again. A process touches what it writes every BEAT seconds: one of
another host is gone when it has not done so for STALE seconds by the clock of the disk, since the clocks of hosts differ.
"""

import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

BEAT = 15.0  # seconds
STALE = 120.0  # seconds; longer than a network file system keeps a file's times without asking (60 s by default on NFS)
HALF = ".half"
_OWNED = re.compile(r".*\.([\w-]+\.\d+\.\d+\.[0-9a-f]{12})\.half", re.DOTALL)


@cache
def host() -> str:
    """This host's name, and what tells it from a container or an earlier start that has the same name."""
    start = [socket.gethostname()]
    with suppress(OSError):  # Linux only
        start += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"), os.readlink("/proc/self/ns/pid")]
    name = re.sub(r"\W+", "-", start[0].partition(".")[0])[:40]
    return f"{name}-{sha256(' '.join(start).encode()).hexdigest()[:8]}"


def new_owner() -> str:
    """A name that no other writer has: HOST.PID.START.NONCE."""
    pid = os.getpid()
    return f"{host()}.{pid}.{_started(pid) or 0}.{uuid.uuid4().hex[:12]}"


def half_of(path: Path) -> Path:
    """Where this process writes a file before it is whole; renaming it to `path` is the end of it."""
    return path.with_name(f".{path.name}.{new_owner()}{HALF}")


def is_half_of_another(path: Path) -> bool:
    """Whether a file is half-written by a process that may still live, which is not this one."""
    found = _OWNED.fullmatch(path.name)
    return bool(found) and not found[1].startswith(f"{host()}.{os.getpid()}.") and not is_gone(found[1], path)


def is_gone(owner: str, path: Path) -> bool:
    """Whether the process that writes `path`, and touches it while it lives, is gone. A file that is gone has no writer."""
    place, pid, start, _ = owner.split(".")
    if place == host():
        return _started(int(pid)) != int(start)
    try:
        return silence(path) > STALE
    except FileNotFoundError:
        return True


def silence(path: Path) -> float:
    """Seconds since a file was touched last, by the clock of its disk. Raises FileNotFoundError."""
    probe = path.with_name(f".now.{new_owner()}{HALF}")
    with path.open("rb") as file:  # opening asks a network file system for the times of now
        touched = os.fstat(file.fileno()).st_mtime
    with probe.open("wb") as file:
        file.write(b"0")  # the time is set when something is written
        file.flush()
        os.fsync(file.fileno())
        now = os.fstat(file.fileno()).st_mtime
    probe.unlink(missing_ok=True)
    return now - touched


def _started(pid: int) -> int | None:
    """When a process of this host was started, in ticks of the system (0 where it does not say); None: it is gone."""
    if sys.platform == "linux":
        try:
            _, _, after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *numbers = after.split()
        return None if state in "ZX" else int(numbers[18])  # Z: it has ended and waits for its parent
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


class Heartbeat:
    """A thread that touches the files which this process writes, so that other hosts see that it lives."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nothing is touched; so it is in a forked child, whose parent goes on with its own."""
        self.paths: set[Path] = set()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    @contextmanager
    def on(self, path: Path) -> Iterator[None]:
        """Touches `path` every BEAT seconds while the block runs."""
        with self.lock:
            self.paths.add(path)
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self.thread.start()
        try:
            yield
        finally:
            with self.lock:
                self.paths.discard(path)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            with self.lock:
                paths = list(self.paths)
            for path in paths:
                with suppress(OSError):  # renamed meanwhile; or the server does not answer, as others see
                    os.utime(path)


HEARTBEAT = Heartbeat()


os.register_at_fork(after_in_child=HEARTBEAT.begin)
