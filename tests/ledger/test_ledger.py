"""The ledger: nobody pays twice, no cap is passed, nothing that was paid for is lost, and errors say what to do."""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from older_ledger import make_older

from zelo.errors import BadInput, LimitReached
from zelo.ledger import database, process_liveness, transfer
from zelo.ledger.database import Database
from zelo.ledger.ledger import KILLED, LIFETIME, Ledger
from zelo.ledger.operations import Busy, Caps, Entry, Granted, Lose, NoRoom, Release, Reserve, Result, Settle, Totals
from zelo.ledger.place import FILE, ledger_path
from zelo.ledger.transfer import ENTRY, export_entries, import_entries
from zelo.store import disk

FREE = Caps("command")


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def reserve(n: int, usd: float = 0.5, tokens: int = 100, caps: Caps = FREE) -> Reserve:
    return Reserve(key(n), "provider", "model", "judge", 0, tokens, usd, caps)


def entry(n: int, usd: float = 0.2, answer: str = '{"http": 200, "body": "A"}') -> Entry:
    return Entry(key(n), "provider", "model", "judge", 0, answer, 30, 10, usd, 1.5, 2.5, 120)


def granted(result: Result) -> int:
    assert isinstance(result, Granted)
    return result.call


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / FILE) as opened:
        yield opened


def test_an_answer_is_paid_for_once(ledger: Ledger) -> None:
    call = granted(ledger.write([reserve(1)])[0])
    assert ledger.spent("command") == Totals(0, 0, 0.0, 1, 100, 0.5)
    assert ledger.write([Settle(call, entry(1))]) == [entry(1)]
    assert ledger.spent("command") == ledger.spent(LIFETIME) == Totals(1, 40, 0.2)
    assert ledger.write([reserve(1)]) == [entry(1)]
    assert ledger.find([key(1), key(2)]) == {key(1): entry(1)}
    assert ledger.spent("another") == Totals()


def test_how_a_call_may_end(ledger: Ledger) -> None:
    first, second, third, fourth = (granted(result) for result in ledger.write([reserve(n) for n in range(4)]))
    ledger.write([Settle(first, entry(0), keep=False), Release(second, sent=True), Lose(third, "timeout")])
    assert ledger.spent("command") == Totals(3, 140, 0.7, 1, 100, 0.5), (
        "what was sent is a call, though it cost nothing"
    )
    assert ledger.find([key(n) for n in range(4)]) == {}
    ledger.write([Settle(fourth, entry(3))])
    assert ledger.spent("command") == Totals(4, 180, 0.9)
    assert ledger.find([key(3)]) == {key(3): entry(3)}
    assert isinstance(ledger.write([reserve(2)])[0], Granted)  # a lost call may be asked again
    assert ledger.abandoned() == []


def test_money_adds_up_exactly(ledger: Ledger) -> None:
    for _ in range(3):
        results = ledger.write([reserve(n, usd=0.1, caps=Caps("command", usd=1.0)) for n in range(11)])
        assert [type(result) for result in results] == [Granted] * 10 + [NoRoom]
        ledger.write([Release(granted(result)) for result in results[:10]])
    assert ledger.spent("command") == Totals()


@pytest.mark.parametrize(
    "caps", [Caps("a", usd=1.0), Caps("a", tokens=200), Caps("a", calls=2), Caps("a", lifetime_usd=1.0)]
)
def test_each_cap_holds_to_the_last_cent(ledger: Ledger, caps: Caps) -> None:
    name = next(name for name in ("usd", "tokens", "calls", "lifetime_usd") if getattr(caps, name) is not None)
    first, second, third = ledger.write([reserve(n, caps=caps) for n in range(3)])
    assert isinstance(third, NoRoom)
    assert (third.cap, third.open) == (name, True)
    ledger.write([Settle(granted(first), entry(0)), Lose(granted(second), "timeout")])
    (refused,) = ledger.write([reserve(2, tokens=1000, caps=caps)])
    assert isinstance(refused, NoRoom)
    assert (refused.cap, refused.open) == (name, False)
    other = ledger.write([reserve(2, caps=replace(caps, command="b"))])[0]
    assert isinstance(other, NoRoom if name == "lifetime_usd" else Granted)


def test_a_cap_that_is_spent_is_named_before_one_that_is_only_reserved(ledger: Ledger) -> None:
    caps = Caps("a", usd=0.6, calls=1)
    ledger.write([reserve(1, caps=caps)])
    (refused,) = ledger.write([reserve(2, usd=0.7, caps=caps)])
    assert str(refused) == "$0 of $0.6 are spent, $0.5 reserved, and the next call may take $0.7"
    assert refused == NoRoom("usd", False, 0.6, 0.0, 0.5, 0.7)


def test_all_of_a_write_or_nothing(ledger: Ledger) -> None:
    call = granted(ledger.write([reserve(1)])[0])
    before = ledger.spent("command")
    for mistake in (Release(99), Lose(99, ""), Settle(call, entry(3)), reserve(1)):
        with pytest.raises(ValueError, match=r"closed|asked|in flight"):
            ledger.write([reserve(2), mistake])
    with pytest.raises(ValueError, match="no command"):
        ledger.write([reserve(2, caps=Caps(LIFETIME))])
    assert ledger.spent("command") == before
    ledger.write([Release(call), reserve(1)])
    with pytest.raises(ValueError, match="closed"):  # its number is not given again
        ledger.write([Release(call)])


def test_two_owners_share_a_ledger(ledger: Ledger) -> None:
    with Ledger(ledger.path) as other:
        call = granted(ledger.write([reserve(1)])[0])
        assert other.abandoned() == []
        assert other.write([reserve(1)]) == [Busy()]
        ledger.write([Settle(call, entry(1))])
        assert other.write([reserve(1)]) == [entry(1)]


def test_an_owner_that_was_removed_before_it_was_locked_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = process_liveness.fcntl.flock

    def first_removed(file: IO[str], how: int) -> None:
        monkeypatch.setattr(process_liveness.fcntl, "flock", lock)
        Path(file.name).unlink()

    monkeypatch.setattr(process_liveness.fcntl, "flock", first_removed)
    owner = process_liveness.Owner(tmp_path)
    assert os.listdir(tmp_path) == [owner.name]
    assert not process_liveness.is_gone(tmp_path, owner.name)
    owner.close()
    assert process_liveness.is_gone(tmp_path, owner.name)


def test_calls_of_the_dead_stay_spent_and_are_named_once(ledger: Ledger) -> None:
    dead = Ledger(ledger.path)
    dead.write([reserve(n) for n in range(3)])
    dead.close()
    assert isinstance(ledger.write([reserve(1)])[0], Granted)  # nobody else is asking this any more
    with Ledger(ledger.path) as other:
        assert other.spent("command") == Totals(3, 300, 1.5, 1, 100, 0.5)
        named = other.abandoned()
    assert [(lost.key, lost.usd, lost.command, lost.why) for lost in named] == [
        (key(n), 0.5, "command", KILLED) for n in (0, 1, 2)
    ]
    assert f"call {key(0).hex()} to model of provider" in str(named[0])
    assert ledger.abandoned() == []


def test_an_answer_of_a_call_taken_for_lost_is_kept_at_its_price(ledger: Ledger) -> None:
    with Ledger(ledger.path) as slow:
        calls = [granted(result) for result in slow.write([reserve(1), reserve(2)])]
        for name in os.listdir(f"{ledger.path}.owners"):
            Path(f"{ledger.path}.owners", name).unlink()
        assert slow.abandoned() == []
        assert len(ledger.abandoned()) == 2
        slow.write([Lose(calls[0], "timeout")])  # as it is already
        assert ledger.spent("command") == Totals(2, 200, 1.0)
        again = granted(ledger.write([reserve(1)])[0])
        slow.write([Settle(calls[0], entry(1)), Release(calls[1])])
        assert ledger.write([Settle(again, entry(1, answer='{"text": "B"}'))]) == [entry(1)]  # the earlier one stands
    assert ledger.spent("command") == Totals(2, 80, 0.4)


def test_what_entries_measure(ledger: Ledger) -> None:
    assert not ledger.knows("provider", "model")
    assert ledger.measured("provider", "model", None) is None
    size, tokens = np.array([100, 220, 405, 90]), np.array([27, 50, 111, 20])
    entries = [replace(entry(n), prompt_bytes=int(size[n]), tokens_in=int(tokens[n])) for n in range(4)]
    assert ledger.add([*entries, replace(entry(4), prompt_bytes=0, tokens_out=20)]) == 5
    measured = ledger.measured("provider", "model", None)
    assert ledger.knows("provider", "model")
    assert measured is not None
    assert (measured.entries, measured.tokens_out, measured.seconds) == (5, 12.0, 2.5)
    ratio = tokens.sum() / size.sum()
    error = np.sqrt(((tokens - ratio * size) ** 2).sum() / 3) / tokens.mean()
    assert (measured.tokens_per_byte, measured.error) == pytest.approx((ratio, error))
    assert ledger.spent(LIFETIME) == Totals()


def test_entries_are_measured_by_form(ledger: Ledger) -> None:
    ledger.add([replace(entry(n), form="score", tokens_out=300) for n in range(2)])
    ledger.add([replace(entry(n), form="verdict", tokens_out=1) for n in range(2, 4)])
    means = {form: ledger.measured("provider", "model", form) for form in ("score", "verdict", None, "listwise")}
    assert {form: mean and mean.tokens_out for form, mean in means.items()} == {
        "score": 300,
        "verdict": 1,
        None: 150.5,
        "listwise": None,
    }


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_earlier_version_is_taken_over_whole(tmp_path: Path, version: int) -> None:
    with Ledger(tmp_path / FILE) as first:
        first.write([Settle(granted(first.write([reserve(n)])[0]), entry(n)) for n in range(5)])
        spent = first.spent(LIFETIME)
    make_older(tmp_path / FILE, version)
    for _ in range(2):
        with Ledger(tmp_path / FILE) as ledger:
            assert ledger.find([key(n) for n in range(5)]) == {key(n): entry(n) for n in range(5)}
            assert ledger.spent(LIFETIME) == spent
            every = ledger.measured("provider", "model", None)
            assert every is not None
            assert (every.entries, every.tokens_out) == (5, 10)
            assert ledger.write([reserve(0)]) == [entry(0)]
    with Ledger(tmp_path / FILE) as ledger:
        ledger.add([replace(entry(9), form="score")])
        assert ledger.find([key(9)])[key(9)].form == "score"


def test_an_entry_is_asked_again_once_in_a_command_and_the_new_reply_stands(ledger: Ledger) -> None:
    ledger.write([Settle(granted(ledger.write([reserve(1)])[0]), entry(1))])
    again = replace(reserve(1), again=True)
    assert ledger.write([again]) == [entry(1)], "this command has paid for it"
    again = replace(again, caps=Caps("later"))
    assert ledger.write([replace(again, again=False)]) == [entry(1)]
    new = entry(1, answer='{"http": 200, "body": "B"}')
    assert ledger.write([Settle(granted(ledger.write([again])[0]), new, again=True)]) == [new]
    assert ledger.write([again]) == [new]
    assert ledger.find([key(1)]) == {key(1): new}
    assert ledger._file.rows("SELECT key, answer, command FROM former") == [(key(1), entry(1).answer, "command")]
    assert ledger.spent(LIFETIME).calls == 2


def test_an_answer_that_is_no_utf8_is_kept(ledger: Ledger) -> None:
    text = "half a pair \ud83d, an emoji \U0001f600, a zero \0"
    ledger.add([entry(1, answer=json.dumps(text, ensure_ascii=False))])
    assert json.loads(ledger.find([key(1)])[key(1)].answer) == text


class Owners(RuleBasedStateMachine):
    """Three owners at a time do what they like; some die. `log` is what each command has been charged."""

    KEYS, COMMANDS = st.integers(0, 5), st.sampled_from(["a", "b"])
    path: Path

    @initialize(usd=st.integers(1, 9), calls=st.integers(1, 12), lifetime=st.integers(3, 15))
    def begin(self, usd: int, calls: int, lifetime: int) -> None:
        for old in (self.path, *self.path.parent.glob(self.path.name + "-*")):
            old.unlink(missing_ok=True)
        self.caps = {name: Caps(name, usd / 10, 100 * usd, calls, lifetime / 10) for name in "ab"}
        self.owners = [Ledger(self.path) for _ in range(3)]
        self.calls: dict[int, tuple[Ledger, Reserve]] = {}  # in flight
        self.orphans: set[int] = set()  # of these, the owner is dead
        self.named, self.dead = 0, 0
        self.charged: dict[str, list[tuple[int, float]]] = {"a": [], "b": []}
        self.kept: dict[bytes, Entry] = {}

    @rule(who=st.integers(0, 2), n=KEYS, command=COMMANDS, tenths=st.integers(0, 4))
    def reserve(self, who: int, n: int, command: str, tenths: int) -> None:
        wanted = reserve(n, tenths / 10, 10 * tenths + 1, self.caps[command])
        holder = next((owner for owner, held in self.calls.values() if held.key == wanted.key), None)
        if holder is self.owners[who]:
            return
        (result,) = self.owners[who].write([wanted])
        if wanted.key in self.kept:
            assert result == self.kept[wanted.key]
        elif holder in self.owners:
            assert result == Busy()
        else:
            self.charge([call for call in self.orphans if self.calls[call][1].key == wanted.key])
            if isinstance(result, Granted):
                self.calls[result.call] = (self.owners[who], wanted)
            else:
                assert isinstance(result, NoRoom)

    def charge(self, calls: list[int]) -> None:
        for call in calls:
            _, held = self.calls.pop(call)
            self.orphans.discard(call)
            self.charged[held.caps.command].append((held.tokens, held.usd))
            self.dead += 1

    @precondition(lambda self: len(self.calls) > len(self.orphans))
    @rule(data=st.data(), how=st.sampled_from(["answered", "failed", "lost", "released", "sent"]))
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(sorted(self.calls.keys() - self.orphans)))
        owner, held = self.calls.pop(call)
        share = data.draw(st.sampled_from([0.0, 0.37, 1.0]))
        tokens, usd = int(held.tokens * share), held.usd * share
        if how == "released":
            owner.write([Release(call)])
            return
        if how == "sent":
            owner.write([Release(call, sent=True)])
            self.charged[held.caps.command].append((0, 0.0))
            return
        if how == "lost":
            owner.write([Lose(call, "timeout")])
            self.charged[held.caps.command].append((held.tokens, held.usd))
            return
        ended = replace(entry(0, usd, f'"{call}"'), key=held.key, tokens_in=tokens, tokens_out=0)
        assert owner.write([Settle(call, ended, keep=how != "failed")]) == [ended]
        self.charged[held.caps.command].append((tokens, usd))
        if how != "failed":
            self.kept[held.key] = ended

    @rule(who=st.integers(0, 2))
    def die(self, who: int) -> None:
        self.owners[who].close()
        self.orphans |= {call for call, (owner, _) in self.calls.items() if owner is self.owners[who]}
        self.owners[who] = Ledger(self.path)
        self.charge(sorted(self.orphans))

    @rule(who=st.integers(0, 2))
    def name_the_abandoned(self, who: int) -> None:
        self.named += len(self.owners[who].abandoned())
        assert self.named == self.dead

    @invariant()
    def totals_are_sums_under_the_caps(self) -> None:
        ledger, lifetime = self.owners[0], 0.0
        for command, charged in self.charged.items():
            total, caps = ledger.spent(command), self.caps[command]
            held = [wanted for _, wanted in self.calls.values() if wanted.caps.command == command]
            assert (total.calls, total.open_calls) == (len(charged), len(held))
            assert total.tokens == sum(tokens for tokens, _ in charged)
            assert total.open_tokens == sum(wanted.tokens for wanted in held)
            assert total.usd == pytest.approx(sum(usd for _, usd in charged), abs=1e-11)
            assert total.open_usd == pytest.approx(sum(wanted.usd for wanted in held), abs=1e-11)
            assert total.usd + total.open_usd <= (caps.usd or 0) + 1e-11
            assert total.tokens + total.open_tokens <= (caps.tokens or 0)
            assert total.calls + total.open_calls <= (caps.calls or 0)
            lifetime += total.usd + total.open_usd
        everybody = ledger.spent(LIFETIME)
        assert everybody.usd + everybody.open_usd == pytest.approx(lifetime, abs=1e-11)
        assert lifetime <= (self.caps["a"].lifetime_usd or 0) + 1e-11
        assert ledger.find([key(n) for n in range(6)]) == self.kept

    def teardown(self) -> None:
        for owner in getattr(self, "owners", []):
            owner.close()


def test_owners_that_do_what_they_like(tmp_path: Path) -> None:
    Owners.path = tmp_path / FILE
    case = Owners.TestCase
    case.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
    case().runTest()


RACE = """
import sys, time
from pathlib import Path
from zelo.ledger.ledger import Caps, Entry, Granted, Ledger, Reserve, Settle
from zelo.ledger.place import FILE, ledger_path
path, go = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
keys = [n.to_bytes(16, "big") for n in range(200)]
paid = []
with Ledger(path) as ledger:
    for start in range(0, 200, 10):
        wanted = [Reserve(key, "p", "m", "judge", 0, 1, 0.01, Caps("c", usd=1.5)) for key in keys[start : start + 10]]
        grants = [(r.key, g.call) for r, g in zip(wanted, ledger.write(wanted)) if isinstance(g, Granted)]
        ledger.write([Settle(c, Entry(k, "p", "m", "judge", 0, "1", 1, 0, 0.01, 0.0, 0.0)) for k, c in grants])
        paid += [int.from_bytes(key, "big") for key, _ in grants]
print(*paid)
"""


def test_processes_that_open_and_reserve_at_once_pay_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path / FILE), str(tmp_path / "go")]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    paid = Counter(int(n) for out, _ in said for n in out.split())
    assert len(paid) == 150  # what fits under the cap
    assert set(paid.values()) == {1}
    with Ledger(tmp_path / FILE) as ledger:
        assert ledger.spent("c") == Totals(150, 150, 1.5)
        assert ledger.abandoned() == []
    assert list((tmp_path / f"{FILE}.owners").iterdir()) == []


FORK = """
import os, signal, sys, time
from pathlib import Path
from zelo.ledger.ledger import Caps, Ledger, Reserve
from zelo.ledger.place import FILE, ledger_path
path, stop = Path(sys.argv[1]), Path(sys.argv[2])
ledger = Ledger(path)
ledger.write([Reserve(bytes(16), "provider", "model", "judge", 0, 100, 0.5, Caps("command"))])
if os.fork():
    time.sleep(600)
refused = 0
for act in (lambda: ledger.find([bytes(16)]), ledger.close, lambda: Ledger(path)):
    try:
        act()
    except RuntimeError:
        refused += 1
print(refused, flush=True)
while not stop.exists():
    time.sleep(0.01)
os._exit(0)
"""


def test_a_new_ledger_may_be_made_by_another_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Database._is_ledger

    def look_and_be_late(self: Database) -> bool:
        monkeypatch.setattr(Database, "_is_ledger", look)
        seen = look(self)
        with Ledger(tmp_path / FILE) as other:
            other.add([entry(1)])
        return seen

    monkeypatch.setattr(Database, "_is_ledger", look_and_be_late)
    with Ledger(tmp_path / FILE) as ledger:
        assert list(ledger.entries(10)) == [[entry(1)]]


def test_opening_waits_for_a_reader_of_a_ledger_without_wal(tmp_path: Path) -> None:
    path = tmp_path / FILE
    Ledger(path).close()
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("PRAGMA journal_mode = DELETE")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM total").fetchall()
    with pytest.raises(BadInput, match="locked by another process"):
        Ledger(path, patience=0.1)
    end = Timer(0.2, reader.close)
    end.start()
    with Ledger(path) as ledger:
        assert ledger._file.rows("PRAGMA journal_mode") == [("wal",)]
    end.join()


def test_a_forked_child_keeps_out_and_keeps_nobody_alive(ledger: Ledger, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", FORK, str(ledger.path), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "3\n"
            assert ledger.write([reserve(0)]) == [Busy()]
            parent.kill()
            parent.wait()
            assert [lost.key for lost in ledger.abandoned()] == [key(0)]
        finally:
            parent.kill()
            stop.touch()


def truncate(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def scribble(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"{" * 5000)


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (n INTEGER)")
    connection.close()


def later(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    connection.close()


def lose_main_file(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(b"frames with answers")
    path.unlink()


DAMAGE = {
    "head": (truncate(0.001), "no whole SQLite file"),
    "third": (truncate(0.3), "no whole SQLite file"),
    "last page": (truncate(0.95), "no whole SQLite file"),
    "text": (scribble, "no whole SQLite file"),
    "pages": (overwrite_pages, "no whole SQLite file"),
    "foreign": (foreign, "another program"),
    "later": (later, f"version {database.VERSION + 1}, and this zelo knows {database.VERSION}"),
    "half": (lose_main_file, "half of a ledger"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_ledger_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    with Ledger(path) as ledger:
        ledger.add([entry(n, answer=json.dumps("x" * 500)) for n in range(200)])
    spoil, complaint = DAMAGE[damage]
    spoil(path)
    before = {file: file.read_bytes() for file in tmp_path.glob("*sqlite*") if file.is_file()}
    with pytest.raises(BadInput, match=complaint) as caught:
        Ledger(path)
    assert str(path) in str(caught.value)
    assert {file: file.read_bytes() for file in before} == before


def test_a_locked_ledger_is_refused_after_a_while(ledger: Ledger) -> None:
    with Ledger(ledger.path, patience=0.1) as other:
        holder = sqlite3.connect(ledger.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BadInput, match=r"locked by another process for more than 0.1 s"):
            other.write([reserve(1)])
        assert other.find([key(1)]) == {}
        holder.close()
        assert isinstance(other.write([reserve(1)])[0], Granted)


def test_a_full_disk_stops_and_keeps_everything(ledger: Ledger) -> None:
    ledger.add([entry(n) for n in range(50)])
    call = granted(ledger.write([reserve(50)])[0])
    pages = ledger._file.rows("PRAGMA page_count")[0][0]
    ledger._file.run(f"PRAGMA max_page_count = {pages}")
    before = ledger.spent(LIFETIME)
    with pytest.raises(LimitReached, match="No space left for the ledger") as caught:
        ledger.write([Settle(call, entry(50, answer=json.dumps("x" * 100_000)))])
    assert caught.value.exit_status == 3
    assert (len(ledger.find([key(n) for n in range(51)])), ledger.spent(LIFETIME)) == (50, before)
    ledger._file.run(f"PRAGMA max_page_count = {pages + 100}")
    ledger.write([Settle(call, entry(50, answer=json.dumps("x" * 100_000)))])
    assert key(50) in ledger.find([key(50)])


def test_a_ledger_on_the_network_is_refused_and_lies_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\nserver:/a {tmp_path / 'home'} lustre rw 0 0\n")
    monkeypatch.setattr(disk, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    with pytest.raises(BadInput, match=r"network file system \(lustre\).*Set ZELO_LEDGER"):
        Ledger(ledger_path())
    assert not ledger_path().exists()
    monkeypatch.setenv("ZELO_LEDGER", str(tmp_path / "paid" / "mine.sqlite"))
    with Ledger(ledger_path()) as ledger:
        assert ledger.path == tmp_path / "paid" / "mine.sqlite"
    monkeypatch.setenv("ZELO_LEDGER", str(tmp_path))
    with pytest.raises(BadInput, match="is a folder"):
        ledger_path()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot be written \(File exists\)"):
        Ledger(tmp_path / "file" / FILE)
    (tmp_path / FILE).mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        Ledger(tmp_path / FILE)
    (tmp_path / "b.owners").touch()
    with pytest.raises(BadInput, match=r"cannot be written \(File exists\)"):
        Ledger(tmp_path / "b")
    with Ledger(tmp_path / "c") as ledger:
        ledger._file.run("PRAGMA query_only = ON")
        with pytest.raises(BadInput, match="attempt to write a readonly database"):
            ledger.write([reserve(1)])


def test_answers_travel_as_parquet(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH", 7)
    mine = [entry(n, answer=json.dumps({"http": 200, "body": str(n)})) for n in range(20)]
    ledger.add(mine)
    assert export_entries(ledger, tmp_path / "a.parquet") == 20
    assert pq.read_schema(tmp_path / "a.parquet").equals(ENTRY)
    with pytest.raises(BadInput, match="is not overwritten"):
        export_entries(ledger, tmp_path / "a.parquet")
    with Ledger(tmp_path / "other") as other:
        other.add([entry(3, answer='"earlier"')])
        assert import_entries(other, tmp_path / "a.parquet") == (19, 1)
        assert import_entries(other, tmp_path / "a.parquet") == (0, 20)
        found = other.find([one.key for one in mine])
        assert other.spent(LIFETIME) == Totals()
    assert found.pop(key(3)).answer == '"earlier"'
    assert found == {one.key: one for one in mine if one.key != key(3)}
    assert [path.name for path in tmp_path.glob(".*")] == []
    old = pq.read_table(tmp_path / "a.parquet").drop_columns(["form"])  # and with a status of its own
    pq.write_table(old.append_column("status", pa.array(["answered"] * 20)), tmp_path / "old.parquet")
    with Ledger(tmp_path / "third") as third:
        assert import_entries(third, tmp_path / "old.parquet") == (20, 0)


FAULTS = {
    "row 9 has usd=nan, which is no amount": {"usd": float("nan")},
    "row 9 has tokens_in=-1, which is no amount": {"tokens_in": -1},
    "row 9 has an answer that is no JSON": {"answer": "A"},
    "row 9 has no model": {"model": None},
    "key is binary": {"key": b"short"},
}


@pytest.mark.parametrize("complaint", FAULTS)
def test_a_file_with_a_fault_adds_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: str
) -> None:
    monkeypatch.setattr(transfer, "BATCH", 4)
    rows = [{name: getattr(entry(n), name) for name in ENTRY.names} for n in range(10)]
    rows[9] |= FAULTS[complaint]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=complaint):
        import_entries(ledger, tmp_path / "a.parquet")
    assert list(ledger.entries(100)) == []


def test_a_file_of_something_else_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"has no column key; it needs those of zelo.ledger.transfer.ENTRY"):
        import_entries(ledger, tmp_path / "a.parquet")


def test_transfer_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    file = str(tmp_path / "a.parquet")
    assert transfer.main(["export", file]) == 2
    assert "There is no ledger" in capsys.readouterr().err
    with Ledger(tmp_path / "home" / FILE) as ledger:
        ledger.add([entry(1)])
    assert transfer.main(["export", file]) == 0
    assert transfer.main(["import", file]) == 0
    assert "0 answers added" in capsys.readouterr().out
    assert transfer.main(["import", str(tmp_path / "home" / FILE)]) == 2
    assert "cannot be read as parquet" in capsys.readouterr().err
    assert transfer.main(["import", str(tmp_path / "missing")]) == 2
