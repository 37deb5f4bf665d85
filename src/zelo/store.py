"""Tables on disk: a folder of files and a manifest, named by what made it. `python -m zelo.store` lists, verifies, prunes.

A table is whole or absent: it is written beside its place and renamed, the manifest last. A table that lacks some outcomes, or
is made of such a one, is partial: never reused as whole, but handed to the next attempt. A lock per table lets two runs share
a store without doing the same work twice; it dies with its process, so a killed run leaves nothing that blocks.

What has a row per candidate or per comparison lies in shards, name/00000.parquet and so on, a few thousand queries each, the
same queries in each shard of every table of a run. A stage makes one after the other; those that an attempt has finished
when it is killed are found by the next. So is what it has put in the folder checkpoint/, which a finished table does not have.

A table that a stage asks for while it is made, such as a corpus's vectors, is noted in uses/: it is kept as long as that stage's.
"""

import argparse
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.streams import escape_unprintable, read_names_as_utf8

MANIFEST = "manifest.json"
PARTIAL = ".partial-"
MADE_OF = "made_of"  # in the manifest of a table that is partial because of its inputs: role -> their content
UNFINISHED = ".unfinished"
CHECKPOINT = "checkpoint"  # a stage's own folder between attempts; it sees to it that what lies there is whole
SHARD = re.compile(r"\d{5}\.parquet")
HIDDEN = re.compile(r"\.\w+\.\d+")  # a table that is being deleted
RUNNING, FINISHED = (
    "running",
    "finished",
)  # what the manifest of a run says until it has ended, and when it has ended well
MAKING: list[str] = []  # identities of the tables that this process is making, one inside the other
ACTIVE: list["Store"] = []  # the stores that this process works in, one inside the other
LEAST = 1 << 16  # bytes; a disk with less room is full


@dataclass(frozen=True)
class Table:
    """A finished folder of the store."""

    kind: str
    identity: str
    path: Path
    manifest: Facts

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """The table `name`, all shards together; category columns come back as dictionaries."""
        parts = [pq.read_table(path, columns=columns) for path in self.shards(name)]
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts).unify_dictionaries()

    def mapped(self, name: str, folder: Path) -> pa.Table:
        """The table `name` as the system maps it from a file in `folder`, made if it is not there: memory holds what is used."""
        path = folder / f"{name}.arrow"
        if not path.is_file():
            folder.mkdir(exist_ok=True)
            half = path.with_suffix(".half")
            with pa.ipc.new_file(half, pq.read_schema(self.shards(name)[0]).remove_metadata()) as file:
                for shard in self.shards(name):
                    for batch in pq.ParquetFile(shard).iter_batches():
                        file.write(batch)
            half.rename(path)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def shards(self, name: str) -> list[Path]:
        """The parquet files of the table `name`, in order: its shards, or the one file that it is."""
        return sorted((self.path / name).glob("*.parquet")) or [self.path / f"{name}.parquet"]

    def has(self, name: str) -> bool:
        """Whether there is a table of that name."""
        return self.shards(name)[0].is_file()

    @property
    def partial(self) -> bool:
        """Some outcomes are missing or failed, here or in what it was made of: the next attempt asks for those only."""
        return bool(self.manifest.get("partial"))

    @property
    def content(self) -> str:
        """Hash of the files: of two partial tables of one name, whether they say the same."""
        return hash_json(self.manifest["files"])


def contents(inputs: Mapping[str, Table]) -> dict[str, str]:
    """Role -> content."""
    return {role: table.content for role, table in inputs.items()}


def write_parquet(table: pa.Table, schema: pa.Schema, folder: Path, name: str) -> None:
    """Writes `name`.parquet with exactly this schema."""
    pq.write_table(table.select(schema.names).cast(schema), folder / f"{name}.parquet", compression="zstd")


def shard(folder: Path, name: str, number: int) -> Path:
    """Where a shard lies. One that is there is whole."""
    return folder / name / f"{number:05}.parquet"


def write_shard(table: pa.Table, schema: pa.Schema, folder: Path, name: str, number: int) -> None:
    """Writes one shard of `name` with exactly this schema, all of it or nothing."""
    with shard_writer(schema, folder, name, number) as writer:
        writer.write_table(table.select(schema.names).cast(schema))


@contextmanager
def shard_writer(schema: pa.Schema, folder: Path, name: str, number: int) -> Iterator[pq.ParquetWriter]:
    """Writes one shard bit by bit; it is there when all of it is, whoever else is at the same one."""
    path = shard(folder, name, number)
    path.parent.mkdir(exist_ok=True)
    half = path.with_suffix(f".{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.half")
    with pq.ParquetWriter(half, schema, compression="zstd") as writer:
        yield writer
    half.rename(path)


def hash_file(path: Path) -> str:
    """Hex digest (blake2b, 16 bytes) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def hash_json(value: object) -> str:
    """Hex digest (sha256, 24 characters) of a JSON-ready value; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]


class Store:
    """A folder of tables, `$ZELO_HOME` unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / "locks").mkdir(parents=True, exist_ok=True)
            (root / "runs").mkdir(exist_ok=True)
            (root / "uses").mkdir(exist_ok=True)
            probe = root / f".writable-{os.getpid()}"
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
        self._note_use(identity)  # before it is there: a prune meanwhile keeps it
        if table := self.find(kind, identity):
            return table, True
        with self._lock(kind, identity):
            if table := self.find(kind, identity):
                return table, True
            (self.root / kind).mkdir(exist_ok=True)
            folder = self.unfinished(kind, identity)
            _keep_shards(folder)
            folder.mkdir(exist_ok=True)
            try:
                return self._commit(kind, identity, folder, make), False
            except Exception as error:
                if not self._full(error):
                    raise
                raise BadInput(
                    f"No space left in the store {self.root} while computing {kind} {identity}; what was finished is kept."
                    " Free some space (python -m zelo.store prune) or set ZELO_HOME to a larger disk, and run again."
                ) from error
            finally:
                _keep_shards(folder)

    def _commit(self, kind: str, identity: str, folder: Path, make: Callable[[Path, Table | None], Facts]) -> Table:
        earlier = self.find_partial(kind, identity)
        start = time.time()
        MAKING.append(identity)
        try:
            with self.active():
                figures = make(folder, earlier)
        finally:
            MAKING.pop()
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        files = {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "hash": hash_file(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = {"kind": kind, "identity": identity, "made": start, "seconds": time.time() - start, **figures}
        manifest["files"] = files
        for name in files:
            _sync(folder / name)
        with (folder / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        number = int(earlier.path.name.rpartition("-")[2]) + 1 if earlier else 0
        place = self.root / kind / (f"{identity}{PARTIAL}{number}" if figures.get("partial") else identity)
        folder.rename(place)
        _sync(place.parent)
        if earlier:
            shutil.rmtree(earlier.path)
        return Table(kind, identity, place, manifest)

    def _note_use(self, identity: str) -> None:
        if MAKING and identity not in self._uses(MAKING[-1]):
            with (self.root / "uses" / MAKING[-1]).open("a", encoding="utf-8") as file:
                file.write(f"{identity}\n")

    def _uses(self, identity: str) -> list[str]:
        """Identities of the tables that the making of this one asked for."""
        try:
            return (self.root / "uses" / identity).read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []

    def _full(self, error: Exception) -> bool:
        """Whether the disk being full made this error: numpy and safetensors do not pass the system's number on."""
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = f"os error {errno.ENOSPC}" in str(error)
        return said or (isinstance(error, OSError) and shutil.disk_usage(self.root).free < LEAST)

    @contextmanager
    def _lock(self, kind: str, identity: str, wait: bool = True) -> Iterator[None]:
        with (self.root / "locks" / f"{kind}-{identity}").open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                print(f"{kind} {identity}: another run is computing it; waiting", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def tables(self) -> Iterator[Table]:
        """Every table, whole or partial, that has a manifest."""
        for path in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            if not path.parent.name.startswith(".") and path.parent.parent.name != "runs":
                table = self._open(path.parent.parent.name, path.parent.name.partition(PARTIAL)[0], path.parent)
                if table:
                    yield table

    def register_run(self, folder: Path, identities: Iterable[str]) -> None:
        """Remembers a run directory: nothing that its manifest names is pruned, nor, until it has ended well, these tables."""
        note = "\n".join([str(folder.resolve()), *identities])
        self._note(folder).write_text(note, encoding="utf-8")

    def forget_run(self, folder: Path) -> None:
        """Undoes `register_run`."""
        self._note(folder).unlink(missing_ok=True)

    def _note(self, folder: Path) -> Path:
        return self.root / "runs" / hash_json(str(folder.resolve()))

    def named_by_runs(self) -> set[str]:
        """Identities that remembered run directories name, and what was used to make them; deleted run directories name nothing.

        Raises BadInput when the manifest of one cannot be read: what it names would be lost.
        """
        names: set[str] = set()
        for note in (self.root / "runs").iterdir():
            try:
                folder, *planned = note.read_text(encoding="utf-8").split("\n")
            except FileNotFoundError:  # forgotten since
                continue
            path = Path(folder) / MANIFEST
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise BadInput(
                    f"{path} cannot be read ({error}), so nothing is pruned. Delete that run directory."
                ) from error
            names.update(stage["identity"] for stage in manifest["stages"].values())
            names.update(() if manifest["status"] == FINISHED else planned)  # the same command goes on from them
        todo = list(names)
        while todo:
            used = set(self._uses(todo.pop())) - names
            names |= used
            todo += used
        return names

    def verify(self, table: Table) -> list[str]:
        """What is wrong with a table's files, one line each; empty when they are as they were written."""
        faults = []
        for name, facts in table.manifest["files"].items():
            path = table.path / name
            if not path.is_file():
                faults.append(f"{path} is missing")
            elif path.stat().st_size != facts["bytes"] or hash_file(path) != facts["hash"]:
                faults.append(f"{path} is not what was written")
        return faults

    def prune(self) -> list[Table]:
        """Deletes every table that no remembered run directory names, and returns them; also what killed runs have left.

        A table being made is left alone, and so is what a run names that begins meanwhile.
        """
        found, gone = list(self.tables()), []
        runs = (self.root / "runs").stat().st_mtime_ns
        keep = self.named_by_runs()  # after looking: a run that has begun since may have made a table
        for table in found:
            if (changed := (self.root / "runs").stat().st_mtime_ns) != runs:
                runs, keep = changed, self.named_by_runs()
            if table.identity in keep:
                continue
            gone.append(table)
            (self.root / "uses" / table.identity).unlink(missing_ok=True)
            with self._lock(table.kind, table.identity):
                hidden = table.path.with_name(f".{table.identity}.{os.getpid()}")
                with suppress(FileNotFoundError):  # another prune was faster
                    table.path.rename(hidden)  # at once, so that a kill leaves no half of a table
                    shutil.rmtree(hidden)
        for left in self.root.glob("*/.*"):
            if HIDDEN.fullmatch(left.name):  # a prune that was killed
                shutil.rmtree(left, ignore_errors=True)
        for left in self.root.glob(f"*/.*{UNFINISHED}"):
            identity = left.name[1 : -len(UNFINISHED)]
            if identity in keep:  # the next attempt goes on from there
                continue
            with suppress(BlockingIOError):  # somebody is at it
                with self._lock(left.parent.name, identity, wait=False):
                    shutil.rmtree(left, ignore_errors=True)
        return gone


def _keep_shards(folder: Path) -> None:
    """Leaves of an unfinished table its finished shards and its checkpoint only, and nothing where there are none."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name == CHECKPOINT:
            continue
        if path.is_dir():
            for file in path.iterdir():
                if not SHARD.fullmatch(file.name):
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
            with suppress(OSError):
                path.rmdir()
        else:
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(table: Table) -> float:
    return sum(facts["bytes"] for facts in table.manifest["files"].values()) / 1e6


def main(arguments: list[str] | None = None) -> int:
    """Housekeeping from the command line; returns the exit status (1 when verify finds a fault)."""
    parser = argparse.ArgumentParser(prog="python -m zelo.store", description=main.__doc__)
    parser.add_argument("verb", choices=["list", "verify", "prune"])
    verb = parser.parse_args(arguments).verb
    try:
        store = Store.default()
        tables = store.prune() if verb == "prune" else list(store.tables())
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    faults = [fault for table in tables for fault in store.verify(table)] if verb == "verify" else []
    for table in tables:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(table.manifest["made"]))
        state = "partial" if table.partial else "whole"
        print(f"{table.kind:<10} {table.identity}  {state:<7}  {when}  {_size(table):10.1f} MB")
    print(
        f"{len(tables)} tables, {sum(map(_size, tables)):.1f} MB{' deleted' if verb == 'prune' else ''} in {store.root}"
    )
    for fault in faults:
        print(f"{fault}: delete its folder and run again", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    read_names_as_utf8()
    escape_unprintable()
    sys.exit(main())
