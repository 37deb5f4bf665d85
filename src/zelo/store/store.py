"""The store: a folder of tables, each named by what made it.

A table is whole or absent: it is written beside its place and renamed, the manifest last. A table that lacks some outcomes, or
is made of such a one, is partial: never reused as whole, but handed to the next attempt. A lock per table lets two runs share
a store, also from two hosts, without doing the same work twice; one whose holder is killed blocks nobody.

What has a row per candidate or per comparison lies in shards, name/00000.parquet and so on, a few thousand queries each, the
same queries in each shard of every table of a run. A stage makes one after the other; those that an attempt has finished
when it is killed are found by the next. So is what it has put in the folder checkpoint/, which a finished table does not have.

A table that a stage asks for while it is made, such as a corpus's vectors, is noted in uses/: it is kept as long as that stage's.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.store.disk import is_full, sync
from zelo.store.hashing import hash_file
from zelo.store.liveness import new_owner
from zelo.store.locks import Held, Locks
from zelo.store.references import note_use
from zelo.store.shards import CHECKPOINT, UNFINISHED, keep_shards, remove_halves
from zelo.store.table import MADE_OF, MANIFEST, PARTIAL, Table, contents

MAKING: list[str] = []  # identities of the tables that this process is making, one inside the other
ACTIVE: list["Store"] = []  # the stores that this process works in, one inside the other


class Store:
    """A folder of tables, `$ZELO_HOME` unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks = Locks(root / "locks")
        try:
            (root / "locks").mkdir(parents=True, exist_ok=True)
            (root / "runs").mkdir(exist_ok=True)
            (root / "uses").mkdir(exist_ok=True)
            probe = root / f".writable.{new_owner()}"
            probe.write_text("", encoding="utf-8")
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"The store {root} cannot be written ({error.strerror}). Set ZELO_HOME to a folder of your own."
            ) from error

    @staticmethod
    def default() -> "Store":
        """The store that `$ZELO_HOME` names, else ~/.cache/zelo."""
        return Store(Path(os.environ.get("ZELO_HOME") or Path.home() / ".cache" / "zelo"))

    @staticmethod
    def current() -> "Store":
        """The store that this process works in: the innermost one that is active, outside any that of `$ZELO_HOME`."""
        return ACTIVE[-1] if ACTIVE else Store.default()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Whatever asks for the current store in this block gets this one, as each table does while it is made."""
        ACTIVE.append(self)
        try:
            yield
        finally:
            ACTIVE.pop()

    def find(self, kind: str, identity: str) -> Table | None:
        """The whole table of that name, if there is one."""
        return self._open(kind, identity, self.root / kind / identity)

    def find_partial(self, kind: str, identity: str) -> Table | None:
        """The latest partial table of that name, if there is one."""
        found = sorted(
            (self.root / kind).glob(f"{identity}{PARTIAL}*"), key=lambda path: int(path.name.rpartition("-")[2])
        )
        return self._open(kind, identity, found[-1]) if found else None

    def unchanged(self, kind: str, identity: str, inputs: Mapping[str, Table]) -> Table | None:
        """A table that is partial only because of its inputs, where these still are and say the same as then."""
        earlier = self.find_partial(kind, identity) if any(table.partial for table in inputs.values()) else None
        return earlier if earlier and earlier.manifest.get(MADE_OF) == contents(inputs) else None

    def _open(self, kind: str, identity: str, path: Path) -> Table | None:
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise BadInput(
                f"{path / MANIFEST} is damaged ({error}). Delete the folder {path} and run again."
            ) from error
        return Table(kind, identity, path, manifest)

    def unfinished(self, kind: str, identity: str) -> Path:
        """Where the table of that name is made."""
        return self.root / kind / f".{identity}{UNFINISHED}"

    def obtain(self, kind: str, identity: str, make: Callable[[Path, Table | None], Facts]) -> tuple[Table, bool]:
        """The table of that name and whether it was there already; else `make(folder, partial)` fills a new folder.

        `make` gets the earlier partial table, if any, and returns what the manifest should say; `partial: True` in it marks
        the new table as partial. Shards that an attempt which did not come to its end has finished are in the folder already,
        and what it has left in checkpoint/.
        Raises BadInput when the disk is full.
        """
        if MAKING:
            note_use(self.root, MAKING[-1], identity)  # before it is there: a prune meanwhile keeps it
        if table := self.find(kind, identity):
            return table, True
        with self.lock(kind, identity) as held:
            if table := self.find(kind, identity):
                return table, True
            (self.root / kind).mkdir(exist_ok=True)
            folder = self.unfinished(kind, identity)
            keep_shards(folder)
            folder.mkdir(exist_ok=True)
            try:
                return self._commit(kind, identity, folder, make, held), False
            except Exception as error:
                if not is_full(self.root, error):
                    raise
                raise BadInput(
                    f"No space left in the store {self.root} while computing {kind} {identity}; what was finished is kept."
                    " Free some space (python -m zelo.store prune) or set ZELO_HOME to a larger disk, and run again."
                ) from error
            finally:
                keep_shards(folder)

    def lock(self, kind: str, identity: str, wait: bool = True) -> AbstractContextManager[Held]:
        """Nobody else makes the table of that name meanwhile. Raises BlockingIOError if somebody does, unless it is to `wait`."""
        return self._locks.hold(f"{kind}-{identity}", wait)

    def _commit(
        self, kind: str, identity: str, folder: Path, make: Callable[[Path, Table | None], Facts], held: Held
    ) -> Table:
        earlier = self.find_partial(kind, identity)
        start = time.time()
        MAKING.append(identity)
        try:
            with self.active():
                figures = make(folder, earlier)
        finally:
            MAKING.pop()
        held.check()
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        remove_halves(folder)
        files = {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "hash": hash_file(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = {"kind": kind, "identity": identity, "made": start, "seconds": time.time() - start, **figures}
        manifest["files"] = files
        for name in files:
            sync(folder / name)
        with (folder / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        number = int(earlier.path.name.rpartition("-")[2]) + 1 if earlier else 0
        place = self.root / kind / (f"{identity}{PARTIAL}{number}" if figures.get("partial") else identity)
        folder.rename(place)
        sync(place.parent)
        if earlier:
            shutil.rmtree(earlier.path)
        return Table(kind, identity, place, manifest)

    def tables(self, kind: str = "*") -> Iterator[Table]:
        """Every table, whole or partial, that has a manifest; those of a kind."""
        for path in sorted(self.root.glob(f"{kind}/*/{MANIFEST}")):
            if not path.parent.name.startswith(".") and path.parent.parent.name != "runs":
                table = self._open(path.parent.parent.name, path.parent.name.partition(PARTIAL)[0], path.parent)
                if table:
                    yield table
