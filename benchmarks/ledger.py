"""How fast the ledger answers whether a question was paid for, against one plain SELECT a key, in one process, interleaved.

Run: python benchmarks/ledger.py [--entries 200000] [--keys 100000] [--rounds 3]. Answers are about 1 kB of JSON; nine keys in ten
are in the ledger, in random order. Ratios are from the medians over the rounds; memory is the growth of the resident set over
a pass. The second table is the price of durability: calls reserved and settled, so many in one transaction.
"""

import argparse
import json
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Caps, Entry, Granted, Reserve, Settle
from zelo.ledger.place import FILE

COLUMNS = "key, provider, model, kind, repeat, answer, tokens_in, tokens_out, usd, made, seconds, prompt_bytes"
BATCH = 2000  # keys that the caller holds at a time
LETTERS = "abcdefghijklmnopqrstuvwxyz      "


def key(n: int) -> bytes:
    return n.to_bytes(8, "big") + random.Random(n).randbytes(8)


@cache
def answer(n: int) -> str:
    thoughts = "".join(random.Random(n).choices(LETTERS, k=900))
    return json.dumps({"text": json.dumps({"thoughts": [thoughts], "score": 0.4}), "finish": "stop", "logprobs": []})


def entry(n: int) -> Entry:
    usage = {"tokens_in": 900, "tokens_out": 230, "usd": 7e-4, "made": 1.7e9, "seconds": 3.2, "prompt_bytes": 3600}
    return Entry(key(n), "openai", "gpt-4.1-mini", "judge", 0, answer(n % 997), **usage)


def fill(ledger: Ledger, entries: int) -> None:
    numbers = list(range(entries))
    random.Random(0).shuffle(numbers)  # keys are hashes: they come in no order
    for start in range(0, entries, 20_000):
        ledger.add(map(entry, numbers[start : start + 20_000]))


def resident() -> float:
    """MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def batches(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))


def by_ledger(ledger: Ledger, keys: list[bytes]) -> int:
    return sum(len(ledger.find(batch)) for batch in batches(keys))


def one_by_one(connection: sqlite3.Connection, keys: list[bytes]) -> int:
    count = 0
    for batch in batches(keys):
        found = {}
        for wanted in batch:
            row = connection.execute(f"SELECT {COLUMNS} FROM entry WHERE key = ?", (wanted,)).fetchone()
            if row:
                found[wanted] = Entry(*row)
        count += len(found)
    return count


def look_up(path: Path, entries: int, count: int, rounds: int) -> None:
    chance = random.Random(1)
    times: dict[str, list[float]] = {"ledger": [], "SELECT a key": []}
    with Ledger(path) as ledger, sqlite3.connect(path) as connection:
        for turn in range(rounds):
            keys = [key(chance.randrange(entries * 10 // 9)) for _ in range(count)]
            before, start = resident(), time.perf_counter()
            found = by_ledger(ledger, keys)
            middle = time.perf_counter()
            grown = resident() - before
            assert found
            assert one_by_one(connection, keys) == found
            end = time.perf_counter()
            times["ledger"].append(middle - start)
            times["SELECT a key"].append(end - middle)
            print(
                f"  round {turn}: {found:,} of {count:,} found, resident set grown by {grown:.1f} MB to {resident():.0f} MB"
            )
    base = median(times["ledger"])
    for name, spent in times.items():
        each = median(spent)
        print(f"  {name:<14} {each:6.2f} s for {count:,} keys {count / each:10,.0f} keys/s {each / base:6.2f} x")


def write(path: Path, calls: int) -> None:
    caps, number = Caps("benchmark", usd=1e6), 10**9
    with Ledger(path) as ledger:
        for group in (1, 10, 100):
            new = [entry(number + n) for n in range(calls * group // 100)]
            number += len(new)
            start, cpu = time.perf_counter(), time.process_time()
            for first in range(0, len(new), group):
                ended = new[first : first + group]
                wanted = [Reserve(one.key, one.provider, one.model, one.kind, 0, 5000, 0.01, caps) for one in ended]
                calls_open = [grant.call for grant in ledger.write(wanted) if isinstance(grant, Granted)]
                ledger.write([Settle(call, one) for call, one in zip(calls_open, ended, strict=True)])
            spent, cpu = time.perf_counter() - start, time.process_time() - cpu
            print(f"  {group:4d} at once {len(new) / spent:8,.0f} calls/s {cpu / len(new) * 1e6:6.0f} us of CPU a call")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        start = time.perf_counter()
        with Ledger(path) as ledger:
            fill(ledger, given.entries)
        size = path.stat().st_size / 1e6
        print(f"\n{given.entries:,} entries, {size:,.0f} MB, written in {time.perf_counter() - start:.0f} s")
        look_up(path, given.entries, given.keys, given.rounds)
        print("\nreserved, settled and on disk")
        write(path, 10_000)


if __name__ == "__main__":
    main()
