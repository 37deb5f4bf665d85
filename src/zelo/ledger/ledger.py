"""What was paid for and what may be billed, in one SQLite file that several runs share.

Three kinds of rows: an entry is a reply as it came, kept for ever; a call is a reservation that is open, or lost because
nobody knows whether it was billed; a total is what a command, or everybody, has spent and reserved. All three change in one
transaction, and are on disk before `write` returns, so a kill at any moment loses no answer and no reservation.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from zelo.ledger.database import ENTRY, SUMS, Database, refuse
from zelo.ledger.operations import (
    Busy,
    Caps,
    Entry,
    Granted,
    Known,
    Lose,
    Lost,
    Measured,
    NoRoom,
    Operation,
    Release,
    Reserve,
    Result,
    Settle,
    Totals,
)
from zelo.ledger.process_liveness import Owner, is_gone, remove_dead

LIFETIME = "lifetime"  # all commands together
KILLED = "its run was killed"  # why an abandoned call is lost
PICO = 10**12  # money is summed in whole trillionths of a dollar: exact, in any order, and 0 again when all is settled
CHUNK = 500  # keys in one look-up; any SQLite takes 999
Counts = tuple[int, int, int]

CALL = "key, provider, model, kind, repeat, command, tokens, picodollars, sent, why"
LOST = f"key, provider, model, kind, repeat, command, tokens, picodollars / {PICO}.0, sent, why"
COUNTS = ("calls", "tokens", "picodollars", "open_calls", "open_tokens", "open_picodollars")
INSERT_ENTRY = f"INSERT INTO entry ({ENTRY}) VALUES ({','.join('?' * 14)}) ON CONFLICT (key) DO NOTHING"
ADD_TO_TOTAL = f"UPDATE total SET {', '.join(f'{name} = {name} + ?' for name in COUNTS)} WHERE scope IN (?, ?)"
ADD_TO_MEASURE = (
    f"INSERT INTO measure (provider, model, form, {SUMS}) VALUES ({','.join('?' * 12)}) ON CONFLICT (provider, model, form)"
    f" DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS.split(', '))}"
)


class Ledger:
    """The file at `path`, made if there is none. Any thread may use it; a forked child must open its own.

    Raises BadInput when the file is no ledger, damaged, of a later version, not writable, or locked for longer than
    `patience` seconds, and LimitReached when the disk is full: on opening and on every use. Nothing is deleted then.
    """

    def __init__(self, path: Path, patience: float = 30.0) -> None:
        self.path = path
        self._file = Database(path, patience)
        self._folder = path.with_name(path.name + ".owners")
        try:
            self._owner = Owner(self._folder)
        except OSError as error:
            self._file.close()
            refuse(path, patience, error)
        try:
            self._look_for_dead()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends this owner: calls that it leaves open are abandoned."""
        self._file.close()
        self._owner.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """The entries that these keys have."""
        found: dict[bytes, Entry] = {}
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            for row in self._file.rows(f"SELECT {ENTRY} FROM entry WHERE key IN ({marks})", chunk):
                found[row[0]] = Entry(*row)
        return found

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of the keys that have an entry."""
        found: set[bytes] = set()
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            found.update(key for (key,) in self._file.rows(f"SELECT key FROM entry WHERE key IN ({marks})", chunk))
        return found

    def entries(self, batch: int) -> Iterator[list[Entry]]:
        """All entries in the order in which they were written, at most `batch` at a time."""
        last = 0
        while rows := self._file.rows(f"SELECT id, {ENTRY} FROM entry WHERE id > ? ORDER BY id LIMIT ?", (last, batch)):
            last = rows[-1][0]
            yield [Entry(*row[1:]) for row in rows]

    def write(self, operations: Iterable[Operation]) -> list[Result]:
        """Does all of these in order, or none; they are on disk when it returns. One result each.

        Reserve gives Granted, or the Entry that is there already, Known, Busy or NoRoom; Settle gives the Entry that stands.
        Raises ValueError for a mistake of the caller: its own call is in flight already, or is closed.
        """
        with self._file.transaction():
            return [self._do(operation) for operation in operations]

    def add(self, entries: Iterable[Entry]) -> int:
        """Keeps answers that were paid for elsewhere, and says how many are new; what is there stays as it is."""
        with self._file.transaction():
            return sum(self._keep(entry) for entry in entries)

    def abandoned(self) -> list[Lost]:
        """Calls left in flight by processes that are gone, not named before: they may have been billed, and are lost."""
        self._look_for_dead()
        if not self._file.rows("SELECT 1 FROM call WHERE named = 0 LIMIT 1"):
            return []
        with self._file.transaction():
            rows = self._file.rows(f"SELECT {LOST} FROM call WHERE named = 0 ORDER BY id")
            self._file.run("UPDATE call SET named = 1 WHERE named = 0")
        return [Lost(*row) for row in rows]

    def spent(self, command: str) -> Totals:
        """What a command, or LIFETIME, has spent and reserved."""
        calls, tokens, pico, open_calls, open_tokens, open_pico = self._total(command)
        return Totals(calls, tokens, pico / PICO, open_calls, open_tokens, open_pico / PICO)

    def knows(self, provider: str, model: str) -> bool:
        """Whether there is any entry of this model."""
        return bool(self._file.rows("SELECT 1 FROM measure WHERE provider = ? AND model = ?", (provider, model)))

    def measured(self, provider: str, model: str, form: str | None) -> Measured | None:
        """What the entries of a model, of one form or of all (None), say about its next calls; None where there is no entry."""
        sums = ", ".join(f"sum({name})" for name in SUMS.split(", "))
        of = "FROM measure WHERE provider = ? AND model = ? AND form = coalesce(?, form)"
        ((entries, *rest),) = self._file.rows(f"SELECT {sums} {of}", (provider, model, form))
        if not entries:
            return None
        tokens_out, seconds, n, size, tokens, size_size, size_tokens, tokens_tokens = rest
        ratio = tokens / size if n else None
        error = None
        if ratio is not None and n > 1:
            squares = tokens_tokens - 2 * ratio * size_tokens + ratio * ratio * size_size
            error = math.sqrt(max(squares, 0.0) / (n - 1)) / (tokens / n)
        return Measured(entries, tokens_out / entries, seconds / entries, ratio, error)

    def _do(self, operation: Operation) -> Result:
        match operation:
            case Reserve():
                return self._reserve(operation)
            case Settle():
                return self._settle(operation)
            case Release(call):
                self._release(call, operation.sent)
            case Lose(call, why):
                self._lose(call, why)
        return None

    def _reserve(self, wanted: Reserve) -> Granted | Entry | Known | Busy | NoRoom:
        if wanted.parts and len(self.known(wanted.parts)) == len(set(wanted.parts)):
            return Known()
        if found := self._file.rows(f"SELECT {ENTRY} FROM entry WHERE key = ?", (wanted.key,)):
            entry = Entry(*found[0])
            if not wanted.again or entry.command == wanted.caps.command:
                return entry
        for (owner,) in self._file.rows("SELECT owner FROM call WHERE key = ? AND state = 'open'", (wanted.key,)):
            if owner == self._owner.name:
                raise ValueError(f"call {wanted.key.hex()} is in flight already")
            if not is_gone(self._folder, owner):
                return Busy()
            self._bury(owner)
        command, pico = wanted.caps.command, round(wanted.usd * PICO)
        if no_room := self._no_room(wanted.caps, wanted.tokens, pico):
            return no_room
        row = (wanted.key, wanted.provider, wanted.model, wanted.kind, wanted.repeat, command, wanted.tokens, pico)
        row += (time.time(), "", self._owner.name, "open")
        inserted = self._file.run(f"INSERT INTO call ({CALL}, owner, state) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row)
        self._file.run("INSERT INTO total (scope) VALUES (?) ON CONFLICT (scope) DO NOTHING", (command,))
        self._count(command, opened=(1, wanted.tokens, pico))
        assert inserted.lastrowid is not None
        return Granted(inserted.lastrowid)

    def _no_room(self, caps: Caps, tokens: int, pico: int) -> NoRoom | None:
        """A cap under which this does not fit; one under which it never will comes before the others."""
        own = self._total(caps.command)
        lifetime = self._total(LIFETIME) if caps.lifetime_usd is not None else own
        full = []
        for name, total, column, worst in (
            ("usd", own, 2, pico),
            ("tokens", own, 1, tokens),
            ("calls", own, 0, 1),
            ("lifetime_usd", lifetime, 2, pico),
        ):
            cap, unit = getattr(caps, name), PICO if column == 2 else 1
            spent, reserved = total[column], total[column + 3]
            if cap is not None and spent + reserved + worst > round(cap * unit):
                shown = (spent, reserved, worst) if unit == 1 else (spent / unit, reserved / unit, worst / unit)
                full.append(NoRoom(name, spent + worst <= round(cap * unit), cap, *shown))
        return min(full, key=lambda no_room: no_room.open, default=None)

    def _settle(self, ended: Settle) -> Entry:
        key, command = self._take(ended.call)
        entry = replace(ended.entry, command=command)
        if key != entry.key:
            raise ValueError(f"call {ended.call} asked {key.hex()}, not {entry.key.hex()}")
        self._count(command, spent=(1, entry.tokens_in + entry.tokens_out, round(entry.usd * PICO)))
        if ended.parts:
            for part in ended.parts:
                self._keep(replace(part, command=command))
            return entry
        if not ended.keep:
            return entry
        if ended.again:
            self._file.run(f"INSERT INTO former ({ENTRY}) SELECT {ENTRY} FROM entry WHERE key = ?", (key,))
            self._file.run("DELETE FROM entry WHERE key = ?", (key,))
        return entry if self._keep(entry) else self.find([key])[key]

    def _release(self, call: int, sent: bool) -> None:
        _, command = self._take(call)
        if sent:
            self._count(command, spent=(1, 0, 0))

    def _take(self, call: int) -> tuple[bytes, str]:
        """Ends a call and gives its room back, also that of one which was taken for lost; its key and command."""
        rows = self._file.rows("SELECT key, command, tokens, picodollars, state FROM call WHERE id = ?", (call,))
        if not rows:
            raise ValueError(f"call {call} is closed already")
        key, command, tokens, pico, state = rows[0]
        self._file.run("DELETE FROM call WHERE id = ?", (call,))
        back, none = (-1, -tokens, -pico), (0, 0, 0)
        self._count(command, *((none, back) if state == "open" else (back, none)))
        return key, command

    def _lose(self, call: int, why: str, named: bool = True) -> None:
        rows = self._file.rows("SELECT command, tokens, picodollars, state FROM call WHERE id = ?", (call,))
        if not rows:
            raise ValueError(f"call {call} is closed already")
        command, tokens, pico, state = rows[0]
        self._file.run("UPDATE call SET state = 'lost', why = ?, named = ? WHERE id = ?", (why, named, call))
        if state == "open":
            self._count(command, spent=(1, tokens, pico), opened=(-1, -tokens, -pico))

    def _keep(self, entry: Entry) -> bool:
        """Whether the entry is new, and therefore kept."""
        # Half a surrogate pair is no UTF-8, but in JSON its escape says the same: a paid answer must not break on it.
        answer = entry.answer.encode("utf-8", "backslashreplace").decode()
        row = (entry.key, entry.provider, entry.model, entry.kind, entry.repeat, answer, entry.tokens_in)
        row += (entry.tokens_out, entry.usd, entry.made, entry.seconds, entry.prompt_bytes, entry.form, entry.command)
        if not self._file.run(INSERT_ENTRY, row).rowcount:
            return False
        known = entry.prompt_bytes > 0 and entry.tokens_in > 0
        size, tokens = (float(entry.prompt_bytes), float(entry.tokens_in)) if known else (0.0, 0.0)
        sums = (1, entry.tokens_out, entry.seconds, known, size, tokens, size * size, size * tokens, tokens * tokens)
        self._file.run(ADD_TO_MEASURE, (entry.provider, entry.model, entry.form, *sums))
        return True

    def _look_for_dead(self) -> None:
        remove_dead(self._folder)
        owners = self._file.rows("SELECT DISTINCT owner FROM call WHERE state = 'open'")
        gone = [owner for (owner,) in owners if owner != self._owner.name and is_gone(self._folder, owner)]
        if gone:
            with self._file.transaction():
                for owner in gone:
                    self._bury(owner)

    def _bury(self, owner: str) -> None:
        for (call,) in self._file.rows("SELECT id FROM call WHERE owner = ? AND state = 'open'", (owner,)):
            self._lose(call, KILLED, named=False)

    def _total(self, scope: str) -> tuple[int, ...]:
        rows = self._file.rows(f"SELECT {', '.join(COUNTS)} FROM total WHERE scope = ?", (scope,))
        return rows[0] if rows else (0,) * len(COUNTS)

    def _count(self, command: str, spent: Counts = (0, 0, 0), opened: Counts = (0, 0, 0)) -> None:
        """Adds calls, tokens and picodollars to the totals of a command and of all."""
        if command == LIFETIME:
            raise ValueError(f"no command may be named {LIFETIME!r}")
        self._file.run(ADD_TO_TOTAL, (*spent, *opened, command, LIFETIME))
