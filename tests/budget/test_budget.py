"""Money: caps, the ledger, failures and what a run says about them, over real HTTP to a server that misbehaves on demand."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_server import TOKENS_OUT, FakeServer, Seen, closed_port
from paid_judge import Judge, ask, budget, endpoint, new_command, questions

from zelo.budget.plan import lines
from zelo.errors import BadInput, LimitReached, ZeloError
from zelo.ledger.async_ledger import AsyncLedger
from zelo.ledger.ledger import LIFETIME, Ledger
from zelo.ledger.operations import Caps, Entry, Reserve, Settle
from zelo.ledger.place import FILE
from zelo.providers.request import Request
from zelo.records import ANSWERED

FAKES = str(Path(__file__).parents[1] / "fakes")  # of modules that a test's own process imports


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    return tmp_path / "home"


def test_what_is_in_the_ledger_is_never_asked_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer() as server:
        judge = Judge(endpoint(server))
        first, figures = ask(budget(), judge, questions(30))
        assert set(first.status.to_pylist()) == {ANSWERED}
        assert (first.p == 0.25).all()
        assert figures["calls"] == len(server.seen) == 30
        with pytest.raises(BadInput, match="no budget"):
            ask(budget(usd=None), judge, questions(40))
        kept, _ = ask(budget(usd=None, on_limit="continue"), judge, questions(40))  # what the ledger holds
        assert kept.status.to_pylist() == [ANSWERED] * 30 + ["unsent"] * 10
        assert len(server.seen) == 30
        new_command(monkeypatch)
        again, figures = ask(budget(), judge, questions(40))
        assert (figures["from_ledger"], figures["calls"], len(server.seen)) == (30, 10, 40)
        assert "30 of 40 pairs from the ledger, 10 calls to make" in capsys.readouterr().err
        free, figures = ask(budget(usd=None), judge, questions(40))  # nothing is left to pay for
        assert (free.p == again.p).all()
        assert (figures["from_ledger"], figures["calls"], figures["usd"], len(server.seen)) == (40, 0, 0, 40)
        assert free.cost.sum() == pytest.approx(40 * (120 * 10 + 30 * 100) / 1e6), (
            "what an answer cost is known for ever"
        )


def test_pairs_with_the_same_texts_are_one_call() -> None:
    with FakeServer() as server:
        asked = questions(2)
        twice = replace(asked, query_row=np.zeros(4, np.int32), a_row=np.array([0, 1, 0, 1], np.int32))
        twice = replace(twice, b_row=np.array([1, 2, 1, 2], np.int32), repeat=np.zeros(4, np.int16))
        outcomes, _ = ask(budget(), Judge(endpoint(server)), twice)
        assert len(server.seen) == 2
        assert (outcomes.p == 0.25).all()


def test_only_answers_become_preferences_and_only_failures_are_asked_again() -> None:
    kinds = ["ok", "http_400_content_filter", "length", "score_nan", "context_too_long", "empty_content"]
    with FakeServer(
        plan=lambda seen: kinds[int(seen.body["messages"][0]["content"].partition(".")[0][1:]) % 6]
    ) as server:
        judge = Judge(endpoint(server))
        outcomes, figures = ask(budget(), judge, questions(12))
        expected = ["answered", "refused", "truncated", "unparseable", "failed", "unparseable"] * 2
        assert outcomes.status.to_pylist() == expected
        assert np.isnan(outcomes.p).tolist() == [status != ANSWERED for status in expected]
        assert figures["faults"] == {"content_filter": 2, "length": 2, "context_too_long": 2, "empty": 2}
        before = len(server.seen)
        ask(budget(), judge, questions(12))
        assert len(server.seen) == before + 2  # the two that failed


def test_a_cap_stops_or_continues_and_keeps_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as server:
        judge = Judge(endpoint(server))
        with pytest.raises(LimitReached, match=r"budget\.calls: 7 of 7 are spent.*on_limit=continue"):
            ask(budget(usd=None, calls=7), judge, questions(30))
        assert len(server.seen) == 7
        with Ledger(home / FILE) as ledger:
            assert ledger.spent(LIFETIME).calls == 7
        with pytest.raises(LimitReached, match=r"budget\.calls"):
            ask(budget(usd=None, calls=7), judge, questions(30))  # the same command: its jobs share the cap
        new_command(monkeypatch)
        outcomes, figures = ask(budget(usd=None, calls=7, on_limit="continue"), judge, questions(30))
        assert outcomes.status.to_pylist().count(ANSWERED) == 14
        assert outcomes.status.to_pylist().count("unsent") == 16
        assert figures["calls"] == 7
        new_command(monkeypatch)
        with pytest.raises(LimitReached, match=r"budget\.lifetime_usd"):
            ask(budget(lifetime_usd=0.06), judge, questions(30))


def test_a_judge_that_only_fails_is_stopped() -> None:
    with FakeServer(plan=lambda seen: "score_nan") as server:
        with pytest.raises(ZeloError, match=r"judge chat: 41 of its last 41 outcomes were no answers") as raised:
            ask(budget(max_failure_rate=0.2), Judge(endpoint(server)), questions(300))
        assert raised.value.exit_status == 3
        assert len(server.seen) < 41 + 2 * 20


@pytest.mark.parametrize(
    ("kind", "words"),
    [("http_401", "answered 401"), ("http_404", "model=m"), ("redirect", "redirect to"), ("quota", "credit")],
)
def test_what_cannot_succeed_stops_at_the_first_answers(kind: str, words: str) -> None:
    with FakeServer(plan=lambda seen: kind) as server:
        with pytest.raises(ZeloError, match=words):
            ask(budget(), Judge(endpoint(server)), questions(300))
        assert len(server.seen) <= 20  # those that were under way together


def test_timeouts_stay_spent_and_what_failed_is_a_call_without_a_price(home: Path) -> None:
    kinds = {0: "stall", 1: "http_500", 2: "http_429"}
    with FakeServer(plan=lambda seen: kinds.get(seen.number, "ok")) as server:
        outcomes, figures = ask(budget(), Judge(endpoint(server, timeout=0.2, concurrency=1)), questions(3))
        assert set(outcomes.status.to_pylist()) == {ANSWERED}
        assert (figures["calls"], figures["retries"]) == (6, 3)
        with Ledger(home / FILE) as ledger:
            spent = ledger.spent(LIFETIME)
        worst = Request(b"", "", "d0..........\nd1..........", None, False, 0, (0,), TOKENS_OUT, "")
        assert spent.calls == 6, "what failed was sent, too"
        assert spent.open_calls == 0
        answers = 3 * (120 * 10 + 30 * 100) / 1e6
        assert spent.usd == pytest.approx(answers + (worst.tokens_in * 10 + worst.tokens_out * 100) / 1e6)
        assert figures["usd"] == pytest.approx(spent.usd)


def test_a_plan_says_what_is_not_known_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer() as server:
        far = Judge(endpoint(server, base_url="https://example.com/v1", input_price=None, output_price=None))
        (plan,) = budget().plans({"chat": (far, [questions(10)])})
        assert (plan.pairs, plan.calls, plan.usd) == (10, 10, None)
        assert "no price is known for m of fake" in "\n".join(lines([plan]))
        with pytest.raises(BadInput, match="price of m is unknown"):
            ask(budget(), far, questions(10))
        with budget(usd=None, calls=9).open([plan]) as session:
            session.counts["chat"].calls = 3
            session.report()
            assert "$" not in session._note(), "an unknown price is not 0"
        told = capsys.readouterr().err
        assert "3 calls, price unknown" in told
        assert "$" not in told
        here = Judge(endpoint(server, input_price=None, output_price=None))
        ask(budget(usd=None), here, questions(20))  # on this machine: free, and so without a budget
        (plan,) = budget().plans({"chat": (Judge(endpoint(server)), [questions(25)])})
        assert (plan.known, plan.calls) == (20, 5)
        assert plan.tokens_in == pytest.approx(5 * 120, rel=0.02), "what earlier calls measured"
        assert plan.tokens_out == 5 * 30
        assert plan.usd == pytest.approx(5 * (120 * 10 + 30 * 100) / 1e6, rel=0.02)
        with pytest.raises(BadInput, match="one call may cost"):
            ask(budget(usd=1e-6), Judge(endpoint(server)), questions(25))
        assert len(server.seen) == 20


def test_at_a_cap_the_end_comes_at_once_however_slow_the_pace() -> None:
    with FakeServer() as server:
        slow = Judge(endpoint(server, requests_per_minute=60))
        start = time.monotonic()
        with pytest.raises(LimitReached):
            ask(budget(usd=None, calls=2), slow, questions(100))
        assert time.monotonic() - start < 6


def test_nobody_sleeps_through_the_end_of_a_budget() -> None:
    """A retry that waits for its time is woken, also where the run goes on without this judge."""
    with FakeServer(plan=lambda seen: "http_503_html" if seen.number == 0 else "ok") as server:
        judge = Judge(endpoint(server, concurrency=2))
        start = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zelo.providers.retry.random.uniform", lambda low, high: 60.0)
            outcomes, _ = ask(budget(usd=None, calls=3, on_limit="continue"), judge, questions(20))
        assert outcomes.status.to_pylist().count(ANSWERED) == 2  # and the call that failed
        assert time.monotonic() - start < 20


def test_a_cap_of_calls_counts_every_request_that_was_sent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in ten fails, 200 at once, retried: the server, the ledger, the figures and the message say the same number."""
    monkeypatch.setattr("zelo.providers.retry.BACKOFF", 0.001)
    with FakeServer(plan=lambda seen: "http_503_html" if seen.number % 10 == 0 else "ok") as server:
        judge = Judge(endpoint(server, concurrency=200, retries=5))
        caps = budget(calls=200, on_limit="continue")
        outcomes, figures = ask(caps, judge, questions(400))
        with Ledger(home / FILE) as ledger:
            spent = ledger.spent(os.environ["ZELO_COMMAND"])
    assert len(server.seen) == spent.calls == figures["calls"] == 200
    assert figures["limit"].startswith("budget.calls: 200 of 200 are spent")
    failed = sum(seen.kind != "ok" for seen in server.seen)
    assert outcomes.status.to_pylist().count(ANSWERED) == 200 - failed < 200
    assert spent.usd == pytest.approx((200 - failed) * (120 * 10 + 30 * 100) / 1e6), "a 503 costs nothing"
    assert spent.tokens == (200 - failed) * 150


def test_what_reached_nobody_is_no_call(home: Path) -> None:
    with closed_port() as base_url:
        judge = Judge(replace(endpoint(FakeServer(), retries=1), base_url=base_url))
        outcomes, figures = ask(budget(calls=3), judge, questions(5))
    assert (set(outcomes.status.to_pylist()), figures["calls"]) == ({"failed"}, 0)
    with Ledger(home / FILE) as ledger:
        assert ledger.spent(LIFETIME).calls == 0


def test_the_cap_of_one_judge_stops_no_other() -> None:
    with FakeServer() as server:
        paid = Judge(endpoint(server, model="dear"), "paid")
        free = Judge(endpoint(server, input_price=None, output_price=None, concurrency=2), "free")
        for caps, bought in ((budget(usd=0.05, on_limit="continue"), 1), (budget(usd=None, on_limit="continue"), 0)):
            start = 1000 * bought
            asked = {"paid": (paid, questions(60, start)), "free": (free, questions(60, start))}
            plans = caps.plans({name: (judge, [of]) for name, (judge, of) in asked.items()})
            with caps.open(plans) as session:
                outcomes = session.ask(asked)
            assert outcomes["free"].status.to_pylist() == [ANSWERED] * 60
            answered = outcomes["paid"].status.to_pylist().count(ANSWERED)
            assert (answered > 0) == bool(bought)
            assert outcomes["paid"].status.to_pylist().count("unsent") == 60 - answered > 0


def test_room_that_a_killed_run_held_does_not_keep_another_waiting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = """
import os, sys, time
from pathlib import Path
from zelo.ledger.ledger import Caps, Ledger, Reserve
from zelo.ledger.place import FILE
ledger = Ledger(Path(sys.argv[1]))
ledger.write([Reserve(b"k" * 16, "p", "m", "judge", 0, 10, 0.5, Caps("other"))])
print("held", flush=True)
time.sleep(60)
"""
    home.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", holder, str(home / FILE)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    threading.Timer(1.0, process.kill).start()
    with FakeServer() as server, pytest.raises(LimitReached, match=r"budget\.lifetime_usd"):
        ask(budget(usd=None, lifetime_usd=0.502), Judge(endpoint(server)), questions(10))


def test_answers_that_have_come_are_written_when_the_loop_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while the ledger is slow, and while another process has it locked."""
    home.mkdir(parents=True)
    monkeypatch.setattr("zelo.ledger.async_ledger.PAUSE", 0.1)
    with Ledger(home / FILE, patience=0.2) as ledger:
        caps = Caps("c")
        keys = [bytes([n]) * 16 for n in range(3)]
        calls = ledger.write([Reserve(key, "p", "m", "judge", 0, 1, 0.0, caps) for key in keys])
        entries = [Entry(key, "p", "m", "judge", 0, "{}", 1, 1, 0.0, 0.0, 0.0) for key in keys]

        def slow(*_: object) -> dict[bytes, Entry]:
            time.sleep(0.3)
            return {}

        async def work() -> None:
            async with AsyncLedger(ledger) as journal:
                looking = asyncio.create_task(journal.run(slow))
                settling = [
                    asyncio.create_task(journal.do(Settle(call.call, entry)))  # pyright: ignore
                    for call, entry in zip(calls, entries, strict=True)
                ]
                unsent = asyncio.create_task(journal.do(Reserve(b"z" * 16, "p", "m", "judge", 0, 1, 0.0, caps)))
                await asyncio.sleep(0.1)
                for task in (looking, unsent, *settling):
                    task.cancel()
                await asyncio.sleep(0)

        blocker = sqlite3.connect(home / FILE, isolation_level=None, check_same_thread=False)
        blocker.execute("BEGIN IMMEDIATE")
        threading.Timer(0.8, blocker.rollback).start()
        asyncio.run(work())
        assert set(ledger.find(keys)) == set(keys)
        assert ledger.spent("c").open_calls == 0


@pytest.mark.long
def test_no_cap_is_passed_in_a_hundred_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random caps, latencies, failures and sizes, up to 200 calls at once; what is left over is less than one call's worst."""
    draw = random.Random(7)
    kinds = ["ok"] * 12 + ["http_500", "http_429", "reset", "no_choices", "score_nan", "length", "no_usage"]
    with FakeServer() as server:
        for number in range(100):
            new_command(monkeypatch)
            server.plan = lambda seen: draw.choice(kinds)
            server.latency = lambda seen: draw.random() * 0.02
            asked = questions(draw.randrange(20, 300), 1000 * number, draw.randrange(60, 400))
            judge = Judge(endpoint(server, concurrency=draw.choice([1, 7, 50, 200]), retries=2))
            worst = max(judge.endpoint.usd(one.tokens_in, one.tokens_out) for one in judge.requests(asked))
            cap = worst * draw.uniform(1, len(asked))
            monkeypatch.setattr("zelo.providers.retry.BACKOFF", 0.001)
            stopped = None
            try:
                ask(budget(usd=cap), judge, asked)
            except LimitReached as error:
                stopped = error
            with Ledger(home / FILE) as ledger:
                spent = ledger.spent(os.environ["ZELO_COMMAND"])
            assert spent.open_calls == 0
            assert spent.usd <= cap
            assert stopped is None or cap - spent.usd < worst, (number, stopped)


KILLED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from paid_judge import Judge, ask, endpoint, questions, budget
from fake_server import FakeServer
ask(budget(), Judge(endpoint(FakeServer(port=int(sys.argv[2])), concurrency=50)), questions(2000))
"""


@pytest.mark.long
def test_nothing_that_was_answered_is_asked_again_after_twenty_kills(home: Path) -> None:
    """2,000 calls, killed at random moments until they are done: what the ledger holds is never sent again."""
    draw = random.Random(3)
    answered: set[str] = set()
    lost = 0

    def text(seen: Seen) -> str:
        return "score: 0.50"

    with FakeServer(latency=0.02, text=text) as server:
        command = [
            sys.executable,
            "-c",
            KILLED,
            FAKES,
            str(server.port),
        ]
        for kill in range(21):
            start = len(server.seen)
            process = subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, env=os.environ | {"ZELO_COMMAND": str(kill)}
            )
            if kill < 20:
                target = start + draw.randrange(1, 120)
                while len(server.seen) < target and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(draw.uniform(0, 0.03))
                process.kill()
            said = process.communicate(timeout=300)[1]
            sent = [seen.body["messages"][0]["content"] for seen in server.seen[start:]]
            assert len(set(sent)) == len(sent), "one call per question"
            assert not answered & set(sent), "an answer that was on disk was asked for again"
            if "in flight when a run was killed" in said:
                lost += int(said.partition("ledger: ")[2].split()[0])
            with Ledger(home / FILE) as ledger:
                entries = [entry for batch in ledger.entries(500) for entry in batch]
                lost += len(ledger.abandoned())
            by_key = {request.key: request.user for request in Judge(endpoint(server)).requests(questions(2000))}
            answered = {by_key[entry.key] for entry in entries}
            assert kill < 20 or process.returncode == 0, said
    assert len(answered) == 2000
    # A reservation may be on disk before its call is sent: it counts as lost all the same.
    assert len(server.seen) - 2000 <= lost <= 20 * 50, "every call that left no answer is counted and named"
    assert len(server.seen) > 2000, "the kills came too late to matter"
