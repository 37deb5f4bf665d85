"""Which processes are alive: each keeps a lock on a file of its own, which the system drops at its death, however it dies."""

import fcntl
import os
import uuid
import weakref
from contextlib import suppress
from pathlib import Path


class Owner:
    """A new name in `folder` that is alive until `close` or the end of this process. Raises OSError if nothing can be written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            self._path = folder / uuid.uuid4().hex
            self._file = self._path.open("x", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if os.fstat(self._file.fileno()).st_nlink:
                break
            self._file.close()  # somebody took it for dead before it was locked
        self.name = self._path.name
        _here.add(self)

    def close(self) -> None:
        """Ends this owner."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def leave_to_parent(self) -> None:
        """Lets go without unlocking: a forked child that outlives its parent must not keep it alive."""
        self._file.close()


def is_gone(folder: Path, name: str) -> bool:
    """Whether an owner is dead; then its file is removed. One that cannot be asked counts as alive."""
    path = folder / name
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that ask at once both see that it is dead
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_dead(folder: Path) -> None:
    """Removes the files of dead owners."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            is_gone(folder, path.name)


_here: "weakref.WeakSet[Owner]" = weakref.WeakSet()


def _after_fork() -> None:
    for owner in list(_here):
        owner.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
