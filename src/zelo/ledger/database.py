"""The ledger's file: its tables, how it is opened, and what SQLite's errors mean to the user."""

import errno
import os
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from zelo.errors import BadInput, LimitReached
from zelo.ledger.place import refuse_network
from zelo.store.disk import LEAST

VERSION = 3
MARK = int.from_bytes(b"zelo", "big")  # application_id in the file's head
SUMS = "entries, tokens_out, seconds, n, bytes, tokens, bytes_bytes, bytes_tokens, tokens_tokens"
ENTRY = (
    "key, provider, model, kind, repeat, answer, tokens_in, tokens_out, usd, made, seconds, prompt_bytes, form, command"
)
_REPLY = """provider TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, repeat INTEGER NOT NULL, answer TEXT NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, usd REAL NOT NULL, made REAL NOT NULL, seconds REAL NOT NULL,
    prompt_bytes INTEGER NOT NULL, form TEXT NOT NULL, command TEXT NOT NULL"""
REPLIES = (  # those that stand, and those that were asked again
    f"CREATE TABLE entry (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE CHECK (length(key) = 16), {_REPLY})",
    f"CREATE TABLE former (id INTEGER PRIMARY KEY, key BLOB NOT NULL, {_REPLY})",
)
# Sums over the entries of a model and form; the last six only over those that say both tokens_in and prompt_bytes.
MEASURE = """CREATE TABLE measure (
    provider TEXT NOT NULL, model TEXT NOT NULL, form TEXT NOT NULL, entries INTEGER NOT NULL, tokens_out REAL NOT NULL,
    seconds REAL NOT NULL, n INTEGER NOT NULL, bytes REAL NOT NULL, tokens REAL NOT NULL, bytes_bytes REAL NOT NULL,
    bytes_tokens REAL NOT NULL, tokens_tokens REAL NOT NULL, PRIMARY KEY (provider, model, form))"""
TABLES = (
    *REPLIES,
    # AUTOINCREMENT: the number of a closed call is never given again. named: somebody was told that it is lost.
    """CREATE TABLE call (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL CHECK (length(key) = 16), provider TEXT NOT NULL,
        model TEXT NOT NULL, kind TEXT NOT NULL, repeat INTEGER NOT NULL, command TEXT NOT NULL,
        tokens INTEGER NOT NULL CHECK (tokens >= 0), picodollars INTEGER NOT NULL CHECK (picodollars >= 0),
        sent REAL NOT NULL, why TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'lost')),
        named INTEGER NOT NULL DEFAULT 1)""",
    "CREATE UNIQUE INDEX call_open ON call (key) WHERE state = 'open'",
    "CREATE INDEX call_not_named ON call (id) WHERE named = 0",
    """CREATE TABLE total (
        scope TEXT PRIMARY KEY, calls INTEGER NOT NULL DEFAULT 0 CHECK (calls >= 0),
        tokens INTEGER NOT NULL DEFAULT 0 CHECK (tokens >= 0),
        picodollars INTEGER NOT NULL DEFAULT 0 CHECK (picodollars >= 0),
        open_calls INTEGER NOT NULL DEFAULT 0 CHECK (open_calls >= 0),
        open_tokens INTEGER NOT NULL DEFAULT 0 CHECK (open_tokens >= 0),
        open_picodollars INTEGER NOT NULL DEFAULT 0 CHECK (open_picodollars >= 0))""",
    "INSERT INTO total (scope) VALUES ('lifetime')",
    MEASURE,
    f"PRAGMA application_id = {MARK}",
    f"PRAGMA user_version = {VERSION}",
)
# From each version to the next, all in one transaction.
UPGRADES = {
    1: (  # which measured all requests to a model as one form; that of its entries is not known
        "ALTER TABLE entry ADD COLUMN form TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE measure RENAME TO measure_1",
        MEASURE,
        f"INSERT INTO measure (provider, model, form, {SUMS}) SELECT provider, model, '', {SUMS} FROM measure_1",
        "DROP TABLE measure_1",
    ),
    2: (  # which kept of a reply what its reader had made of it, and a status; `codec.reply_of` still knows how
        "ALTER TABLE entry RENAME TO entry_2",
        *REPLIES,
        f"INSERT INTO entry (id, {ENTRY}) SELECT id, {ENTRY.replace('command', repr(''))} FROM entry_2",
        "DROP TABLE entry_2",
    ),
}


class Database:
    """The SQLite file at `path`, made if there is none; what is committed is on disk. One thread at a time gets in.

    Raises what `refuse` says, here and on every use, and RuntimeError in a forked child of the process that opened it.
    """

    def __init__(self, path: Path, patience: float) -> None:
        # SQLite would share the parent's locks with the child without holding them.
        if any(other.path.absolute() == path.absolute() for other in _inherited):
            raise RuntimeError(f"{path} was open when this process was forked; start processes by spawn")
        self.path = path
        self.patience = patience  # seconds to wait for others
        self.inherited = False
        self._lock = threading.RLock()
        refuse_network(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._check_halves()
            self._connection = sqlite3.connect(path, patience, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            refuse(path, patience, error)
        _here.add(self)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._check_fork()
        _here.discard(self)
        self._connection.close()

    def run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Runs one statement that gives no rows."""
        self._check_fork()
        with self._lock:
            try:
                return self._connection.execute(statement, values)
            except sqlite3.Error as error:
                refuse(self.path, self.patience, error)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows that a statement gives."""
        self._check_fork()
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                refuse(self.path, self.patience, error)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; on disk when it ends."""
        self._check_fork()
        with self._lock:
            try:
                self.run("BEGIN IMMEDIATE")
                yield
                self.run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite has gone back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _check_fork(self) -> None:
        if self.inherited:
            raise RuntimeError(f"{self.path} was opened before this process was forked; open it after")

    def _check_halves(self) -> None:
        """SQLite would take an empty file for a new one and delete the journal beside it, with what it holds."""
        journal = self.path.with_name(self.path.name + "-wal")
        if _size(journal) and not _size(self.path):
            raise BadInput(
                f"The ledger {self.path} is missing or empty, but its journal {journal} is not: this is half of a ledger."
                " Nothing was changed. Bring both files back from one copy, or move the journal away to begin a new one."
            )

    def _prepare(self) -> None:
        if not self._is_ledger():
            with self.transaction():
                if not self._is_ledger():  # another process may have been faster
                    for statement in TABLES:
                        self.run(statement)
        if self._version() < VERSION:
            with self.transaction():
                for version in range(self._version(), VERSION):  # another process may have been faster
                    for statement in UPGRADES[version]:
                        self.run(statement)
                self.run(f"PRAGMA user_version = {VERSION}")
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        self.run("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops at the drive's cache

    def _version(self) -> int:
        return self.rows("PRAGMA user_version")[0][0]

    def _is_ledger(self) -> bool:
        """False for a new file. Raises BadInput for what is not ours or is later than this version."""
        if not self.rows("SELECT 1 FROM sqlite_master LIMIT 1"):
            return False
        if self.rows("PRAGMA application_id")[0][0] != MARK:
            raise BadInput(
                f"{self.path} is a database of another program, not a ledger. Nothing was changed. Move it away, or set"
                " ZELO_LEDGER to another file."
            )
        version = self._version()
        if version > VERSION:
            raise BadInput(
                f"The ledger {self.path} has version {version}, and this zelo knows {VERSION} at most. Nothing was changed."
                " Install the zelo that wrote it, or set ZELO_LEDGER to another file."
            )
        return True


def refuse(path: Path, patience: float, error: OSError | sqlite3.Error) -> NoReturn:
    """Says what an error means for the ledger at `path`; one that is a mistake of the program is raised as it is.

    Raises LimitReached when the disk is full, BadInput when the file is no ledger, damaged, locked or cannot be written.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if _is_full(path, error, code):
        raise LimitReached(
            f"No space left for the ledger {path}; everything that was written is kept. Free some space, or move the ledger"
            " and set ZELO_LEDGER to its new place, and run again: answered requests are not sent again."
        ) from error
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise BadInput(
            f"The ledger {path} has been locked by another process for more than {patience:g} s. Nothing is lost. End that"
            " process (fuser names it) and run again."
        ) from error
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        raise BadInput(
            f"The ledger {path} is no whole SQLite file: {error}. Nothing was changed or deleted. Bring back a copy, or move"
            f" it away with its -wal file and save what can be read: sqlite3 {path.name} .recover | sqlite3 new.sqlite"
        ) from error
    if isinstance(error, OSError) or code in (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
    ):
        raise BadInput(
            f"The ledger {path} cannot be written ({getattr(error, 'strerror', None) or error}). What it holds is kept. Give"
            " it write access, or set ZELO_LEDGER to a file in a folder of your own."
        ) from error
    raise error


def _is_full(path: Path, error: Exception, code: int) -> bool:
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if code not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or not path.parent.is_dir():
        return False
    return shutil.disk_usage(path.parent).free < LEAST


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


_here: "weakref.WeakSet[Database]" = weakref.WeakSet()
_inherited: list[Database] = []  # kept, so that a child never closes what its parent opened


def _after_fork() -> None:
    for database in list(_here):
        database.inherited = True
        _inherited.append(database)


os.register_at_fork(after_in_child=_after_fork)
