"""Finished tables copied to object storage and back, by fsspec: URL/KIND/IDENTITY/FILE, the manifest last.

A table is at the URL when its manifest is. What is there already is not copied again: neither tables, nor the files of a table
whose copying was interrupted. Each file is read where it has arrived, and has the hash that the manifest says.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.store.disk import sync
from zelo.store.hashing import hash_file
from zelo.store.references import note_use, uses
from zelo.store.store import Store
from zelo.store.table import MANIFEST, Table

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PULLED = ".pulled"  # the end of a folder's name while its table is fetched
NAME = re.compile(r"\w[\w.-]*")
BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Copied:
    """What became of one table."""

    kind: str
    identity: str
    files: int  # that were copied; the others had arrived before
    bytes: int  # of these
    known: bool = False  # it was there already


class Remote:
    """A place that fsspec reaches. Raises BadInput for a URL of no known protocol, or of one whose package is missing."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.shown = re.sub(r"//[^/@]*@", "//***@", url).partition("?")[0]  # without a password or a signature
        try:
            with self._reached():
                self.files: AbstractFileSystem
                self.files, self.root = url_to_fs(url)
        except ZeloError as error:
            if isinstance(error.__cause__, ImportError | ValueError):
                raise BadInput(f"{self.shown}: {error.__cause__}. Install that package, or give another URL.") from None
            raise

    def names(self) -> dict[str, int]:
        """The files below the URL, by the path from there, and their sizes in bytes."""
        with self._reached():
            self.files.invalidate_cache()
            try:
                found: Any = self.files.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
        above = f"{self.root.rstrip('/')}/"
        return {path.removeprefix(above): int(facts["size"] or 0) for path, facts in found.items()}

    def read(self, name: str) -> bytes:
        """A small file."""
        with self._reached():
            content: Any = self.files.cat_file(self._path(name))
        return content

    def hash(self, name: str) -> str:
        """The hash of a file as `hashing.hash_file` computes it."""
        digest = hashlib.blake2b(digest_size=16)
        with self._reached(), self.files.open(self._path(name), "rb") as file:
            binary: Any = file
            while block := binary.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def put(self, sources: list[Path], names: list[str]) -> None:
        """Copies files there."""
        places = [self._path(name) for name in names]
        with self._reached():
            for folder in sorted({place.rpartition("/")[0] for place in places}) if self._has_folders() else ():
                self.files.makedirs(folder, exist_ok=True)
            self.files.put([str(source) for source in sources], places)
            self.files.invalidate_cache()

    def get(self, names: list[str], targets: list[Path]) -> None:
        """Copies files from there."""
        for folder in {target.parent for target in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        with self._reached():
            self.files.get([self._path(name) for name in names], [str(target) for target in targets])

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _has_folders(self) -> bool:
        """Whether folders are made before files; in object storage that could make a bucket."""
        protocol = self.files.protocol
        return not {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"} & {protocol, *protocol}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Raises ZeloError for whatever the file system raises: each has errors of its own."""
        try:
            yield
        except Exception as error:
            text = re.sub(r"//[^/@\s]*@", "//***@", str(error).strip().partition("\n")[0])
            raise ZeloError(
                f"{self.shown}: {type(error).__name__}: {text}. What was copied is kept; run the same command again."
            ) from error


def push(store: Store, url: str) -> Iterator[Copied]:
    """Copies each finished table of the store that is not at the URL. Partial tables are left out.

    Raises BadInput for a table that is damaged here, ZeloError where the URL fails, or a file is not there what it is here.
    """
    remote = Remote(url)
    there = remote.names()
    for table in store.tables():
        if not table.partial:
            yield _push(store, table, remote, there)


def _push(store: Store, table: Table, remote: Remote, there: dict[str, int]) -> Copied:
    place = f"{table.kind}/{table.identity}"
    if f"{place}/{MANIFEST}" in there:
        return Copied(table.kind, table.identity, 0, 0, known=True)
    if faults := table.faults():
        raise BadInput(f"{faults[0]}: delete its folder, and run what made it again.")
    files = table.manifest["files"]
    new = [
        name
        for name, facts in files.items()
        if there.get(f"{place}/{name}") != facts["bytes"] or remote.hash(f"{place}/{name}") != facts["hash"]
    ]
    if new:
        remote.put([table.path / name for name in new], [f"{place}/{name}" for name in new])
    for name in new:
        if remote.hash(f"{place}/{name}") != files[name]["hash"]:
            raise ZeloError(f"{remote.shown}/{place}/{name} is not what was sent. Run the same command again.")
    if uses(store.root, table.identity):
        remote.put([store.root / "uses" / table.identity], [f"uses/{table.identity}"])
    remote.put([table.path / MANIFEST], [f"{place}/{MANIFEST}"])
    return Copied(table.kind, table.identity, len(new), sum(files[name]["bytes"] for name in new))


def pull(store: Store, url: str) -> Iterator[Copied]:
    """Copies each table at the URL that the store lacks.

    Raises BadInput for what is no table there, or where there is none at all, ZeloError where the URL fails.
    """
    remote = Remote(url)
    there = remote.names()
    places = [PurePosixPath(name).parts[:-1] for name in sorted(there) if name.endswith(f"/{MANIFEST}")]
    tables = [place for place in places if len(place) == 2 and all(map(NAME.fullmatch, place))]
    if not tables:
        raise BadInput(f"There are no tables at {remote.shown}. Give the URL that was given to push.")
    for kind, identity in tables:
        with store.lock(kind, identity):
            if store.find(kind, identity):
                yield Copied(kind, identity, 0, 0, known=True)
            else:
                yield _pull(store, kind, identity, remote, there)


def _pull(store: Store, kind: str, identity: str, remote: Remote, there: dict[str, int]) -> Copied:
    place = f"{kind}/{identity}"
    text = remote.read(f"{place}/{MANIFEST}")
    files = _files(f"{remote.shown}/{place}/{MANIFEST}", text, kind, identity)
    folder = store.root / kind / f".{identity}{PULLED}"
    new = [name for name, facts in files.items() if not _is(folder / name, facts)]
    if lacking := [name for name in new if f"{place}/{name}" not in there]:
        raise BadInput(
            f"{remote.shown}/{place}/{lacking[0]} is missing. Delete {remote.shown}/{place} and push it again."
        )
    remote.get([f"{place}/{name}" for name in new], [folder / name for name in new])
    for name in new:
        if not _is(folder / name, files[name]):
            (folder / name).unlink()
            raise ZeloError(
                f"{remote.shown}/{place}/{name} has not arrived as its manifest says it is. Run the same command again; if"
                f" that changes nothing, delete {remote.shown}/{place} and push it again."
            )
        sync(folder / name)
    folder.mkdir(parents=True, exist_ok=True)  # of a table without files
    (folder / MANIFEST).write_bytes(text)
    sync(folder / MANIFEST)
    if f"uses/{identity}" in there:
        for used in remote.read(f"uses/{identity}").decode().split("\n")[:-1]:
            note_use(store.root, identity, used)
    folder.rename(store.root / kind / identity)
    sync(store.root / kind)
    if earlier := store.find_partial(kind, identity):
        shutil.rmtree(earlier.path)
    return Copied(kind, identity, len(new), sum(files[name]["bytes"] for name in new))


def _files(place: str, text: bytes, kind: str, identity: str) -> dict[str, Facts]:
    """The files that a manifest names. Raises BadInput for one that no store has written."""
    try:
        manifest = json.loads(text)
        named = (manifest["kind"], manifest["identity"])
        files = {
            str(name): {"bytes": int(one["bytes"]), "hash": str(one["hash"])} for name, one in manifest["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{place} is no manifest of a table ({error!r}). Delete its folder and push again.") from error
    outside = [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if named != (kind, identity) or outside:
        raise BadInput(
            f"{place} is of another table: it says {'/'.join(named)} {' '.join(outside)}. Delete its folder."
        )
    return files


def _is(path: Path, facts: Facts) -> bool:
    return path.is_file() and path.stat().st_size == facts["bytes"] and hash_file(path) == facts["hash"]
