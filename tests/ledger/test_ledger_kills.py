"""A ledger whose writers are killed: what was written stays, what was in flight is named, nothing is asked twice."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zelo.ledger.ledger import KILLED, LIFETIME, Ledger
from zelo.ledger.place import FILE

KILLS, CALLS = 20, 2000
WRITER = """
import random, sys
from pathlib import Path
from zelo.ledger.ledger import Caps, Entry, Granted, Ledger, Reserve, Settle
from zelo.ledger.place import FILE

def say(word, numbers):
    print(word, *numbers, flush=True)

numbers = list(range(int(sys.argv[2])))
random.shuffle(numbers)
flying = {}
with Ledger(Path(sys.argv[1])) as ledger:
    caps = Caps("command", usd=1e6)
    while numbers or flying:
        wanted = [numbers.pop() for _ in range(min(len(numbers), random.randint(0, 8)))]
        ended = random.sample(sorted(flying), random.randint(0, len(flying)))
        entries = [Entry(n.to_bytes(16, "big"), "p", "m", "judge", 0, f'"{n}"', 1, 1, 0.01, 0.0, 0.0) for n in ended]
        settled = [Settle(flying.pop(n), entry) for n, entry in zip(ended, entries)]
        asked = [Reserve(n.to_bytes(16, "big"), "p", "m", "judge", 0, 5, 0.05, caps) for n in wanted]
        results = ledger.write(settled + asked)[len(settled):]
        say("kept", ended)
        flying |= {n: result.call for n, result in zip(wanted, results) if isinstance(result, Granted)}
        say("sent", [n for n, result in zip(wanted, results) if isinstance(result, Granted)])
print("end")
"""


def open_calls(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM call WHERE state = 'open'").fetchone()
    connection.close()
    return count


def run(path: Path, seconds: float) -> tuple[list[int], list[int], bool]:
    """What a writer, killed after its first word and so many seconds, said it had kept and had sent; whether it ended."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(CALLS)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        if seconds:
            time.sleep(seconds)
            child.kill()
        lines += child.stdout.readlines()
    whole = [line.split() for line in lines if line.endswith("\n")]
    kept, sent = ([int(n) for word, *numbers in whole if word == said for n in numbers] for said in ("kept", "sent"))
    return kept, sent, whole[-1] == ["end"]


@pytest.mark.long
def test_kills_lose_no_answer(tmp_path: Path) -> None:
    path, chance = tmp_path / FILE, random.Random(4)
    kept: set[int] = set()
    named = 0
    for _ in range(KILLS):
        now_kept, now_sent, _ = run(path, chance.uniform(0.001, 0.1))
        assert not kept & set(now_sent), "an answer that was kept was asked for again"
        kept |= set(now_kept)
        flying = open_calls(path)
        with Ledger(path) as ledger:
            lost = ledger.abandoned()
            assert len(lost) == flying
            assert all((call.why, call.usd) == (KILLED, 0.05) for call in lost)
            named += flying
            there = ledger.find([n.to_bytes(16, "big") for n in range(CALLS)])
            assert kept <= {int.from_bytes(key, "big") for key in there}
            assert all(entry.answer == f'"{int.from_bytes(key, "big")}"' for key, entry in there.items())
            kept = {int.from_bytes(key, "big") for key in there}
            total = ledger.spent(LIFETIME)
            assert (total.calls, total.open_calls) == (len(kept) + named, 0)
            assert total.usd == pytest.approx(0.01 * len(kept) + 0.05 * named)
    assert len(kept) > 0
    assert named > KILLS
    _, last, ended = run(path, 0)
    assert ended
    assert sorted(last) == sorted(set(range(CALLS)) - kept)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
