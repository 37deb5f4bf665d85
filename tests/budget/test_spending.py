"""What a plan, a run and its end say about calls and money: the same numbers throughout, and the cause where something stops."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import TOKENS_OUT, FakeServer, closed_port
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from paid_judge import Judge, ask, budget, endpoint, questions

from zelo.budget.plan import Plan, lines
from zelo.budget.session import TooManyFailures
from zelo.errors import BadInput, LimitReached
from zelo.executors.local import Local
from zelo.judges.chat import Chat
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Entry, Settle
from zelo.ledger.place import FILE
from zelo.pipeline import plan
from zelo.pipeline.run import Result, Step, assemble, run_stages
from zelo.places import config_folder
from zelo.progress import watched_by
from zelo.reporting import terminal
from zelo.reporting.notes import notes
from zelo.store.store import Store
from zelo.tracking.run_folder import RunFolder

SPENT = ("usd", "calls", "tokens")
CHAT = ["judge=chat", "judge.model=m", "judge.api_key_env=null", "judge.input_price=10", "judge.output_price=100"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    return tmp_path / "home"


def entries(form: str, tokens_out: int, start: int) -> list[Entry]:
    """Ten answers to 400 bytes each."""
    keys = [bytes([start + n]) * 16 for n in range(10)]
    return [Entry(key, "fake", "m", "judge", 0, "{}", 100, tokens_out, 0.0, 0.0, 1.0, 400, form) for key in keys]


def test_tokens_out_are_measured_on_requests_alike_and_never_above_what_may_come(home: Path) -> None:
    home.mkdir()
    with FakeServer() as server, Ledger(home / FILE) as ledger:
        ledger.add(entries("short", 1, 0))

        def planned(form: str) -> Plan:
            return budget().plans({"chat": (Judge(endpoint(server), form=form), [questions(20)])})[0]

        short, long = planned("short"), planned("long")
        assert (short.tokens_out, short.measured_out) == (20, True)
        assert (long.tokens_out, long.measured_out) == (20 * TOKENS_OUT, False)
        assert short.most_out == long.most_out == 20 * TOKENS_OUT
        assert long.tokens_in == short.tokens_in, "the tokenizer is the model's"
        ledger.add(entries("long", 10 * TOKENS_OUT, 100))
        assert planned("long").tokens_out == 20 * TOKENS_OUT
        assert planned("short") == short


def test_what_is_free_or_not_known_is_not_a_sum() -> None:
    with FakeServer() as server:
        free = Judge(endpoint(server, input_price=None, output_price=None))
        far = Judge(endpoint(server, base_url="https://example.com/v1", input_price=None, output_price=None))
        paid = Judge(endpoint(server))

        def total(*judges: Judge) -> str:
            plans = budget().plans({str(n): (judge, [questions(5)]) for n, judge in enumerate(judges)})
            return lines(plans)[len(judges) + 1]

        assert re.search(r" free +\S+ s$", total(free, free))
        assert "price unknown" in total(free, far)
        assert re.search(r" \$0.0\d +\$0.0\d +", total(free, paid))
        assert re.search(r"\$0.0\d and more +\$0.0\d and more ", total(far, paid))


def test_a_listwise_plan_says_where_it_hardly_saves() -> None:
    with FakeServer() as server:
        (plan,) = budget().plans({"chat": (Judge(endpoint(server)), [questions(5)])})
    poor, rich = (replace(plan, pairs=500, calls=calls, window=10) for calls in (286, 20))
    assert "a call answers 1.7 pairs, and a full window of 10 documents has 45" in "\n".join(lines([poor]))
    assert "graph=complete and top_k=10" in "\n".join(lines([poor]))
    assert "window" not in "\n".join(lines([rich, plan]))


def test_a_pair_with_known_texts_is_counted_once_from_plan_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zelo.budget.session.LOOKED_UP", 1)  # so that the twin is met after the answer, too
    with FakeServer() as server:
        asked, n = questions(30), 30
        twice = replace(asked, query_row=np.zeros(2 * n, np.int32), repeat=np.zeros(2 * n, np.int16))
        twice = replace(twice, a_row=np.tile(asked.a_row, 2), b_row=np.tile(asked.b_row, 2))
        judge = Judge(endpoint(server, concurrency=1))
        (plan,) = budget().plans({"chat": (judge, [twice])})
        assert (plan.pairs, plan.calls, plan.tokens_out) == (2 * n, n, n * TOKENS_OUT)
        live: list[tuple[int, dict[str, float]]] = []  # what a logger gets, at the end at least
        with watched_by(lambda done, spent: live.append((done, dict(spent)))):
            outcomes, figures = ask(budget(), judge, twice)
            assert (figures["calls"], figures["from_ledger"], len(server.seen)) == (n, 0, n)
            assert outcomes.cost.sum() == pytest.approx(figures["usd"])
            assert (live[-1][0], live[-1][1]["answers_per_second"] > 0) == (2 * n, True)
            assert live[-1][1].items() >= {"failed": 0, **{key: figures[key] for key in SPENT}}.items()
            _, figures = ask(budget(), judge, twice)
        assert (figures["calls"], figures["from_ledger"]) == (0, 2 * n)
        assert [live[-1][1][key] for key in ("usd", "calls", "from_ledger")] == [0, 0, 2 * n]


@pytest.mark.parametrize("caps", [{"usd": float("inf")}, {"usd": float("nan")}, {"tokens": 0}])
def test_a_cap_that_is_none_is_refused(caps: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=rf"budget\.{next(iter(caps))}="):
        budget(**caps)


def test_the_cap_that_one_call_may_pass_is_named() -> None:
    with FakeServer() as server, pytest.raises(BadInput, match=r"budget\.lifetime_usd is 1e-06"):
        ask(budget(usd=5.0, lifetime_usd=1e-6), Judge(endpoint(server)), questions(3))


def test_where_nothing_listens_it_asks_for_the_server_and_soon() -> None:
    with closed_port() as base_url:
        judge = Judge(replace(endpoint(FakeServer(), retries=50), base_url=base_url))
        with pytest.raises(TooManyFailures, match=f"Nothing listens at {base_url}: is a server running"):
            ask(budget(max_failure_rate=0.2), judge, questions(30))


@pytest.mark.parametrize(("kind", "words"), [("length", "raise max_tokens"), ("score_nan", "pipeline=audit")])
def test_too_many_failures_name_a_fix_that_fits(kind: str, words: str) -> None:
    with FakeServer(plan=lambda seen: kind) as server, pytest.raises(TooManyFailures, match=words):
        ask(budget(max_failure_rate=0.2), Judge(endpoint(server)), questions(30))


def test_what_could_not_be_written_is_not_said_to_be_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle, left = Ledger._settle, [10]

    def full(self: Ledger, ended: Settle) -> Entry:
        left[0] -= 1
        if left[0] < 0:
            raise LimitReached("No space left")
        return settle(self, ended)

    monkeypatch.setattr("zelo.ledger.async_ledger.PAUSE", 0.0)
    monkeypatch.setattr(Ledger, "_settle", full)
    with FakeServer(latency=0.01) as server, pytest.raises(LimitReached, match="No space left"):
        ask(budget(), Judge(endpoint(server)), questions(60))
    said = capsys.readouterr().err
    assert "every answer is in the ledger" not in said
    with Ledger(home / FILE) as ledger:
        lost = len(ledger.abandoned())
    assert lost > 0
    assert f"; {lost} more calls were under way or could not be written down" in said


Assemble = Callable[..., list[Step]]


@pytest.fixture
def assembled(tiny_beir: Path) -> Assemble:
    small = ["pipeline=annotate", "dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "graph.degree=4"]
    small += ["top_k=6", "until=judge"]

    def steps(*overrides: str) -> list[Step]:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return assemble(compose("config", [*small, *overrides]))

    return steps


def run(steps: list[Step]) -> Result:
    *_, (result, _) = run_stages(steps, Store.default())
    return result


def test_a_cap_is_named_wherever_it_matters_and_the_next_run_counts_on(
    assembled: Assemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeServer() as server:
        at = [*CHAT, f"judge.base_url={server.base_url}"]
        result = run(assembled(*at, "budget.calls=10", "on_limit=continue"))
        status = result.tables["judge"].manifest["status"]
        pairs = status["answered"] + status["unsent"]
        limit = "budget.calls: 10 of 10 are spent"
        assert status["answered"] >= 10
        assert limit in "\n".join(notes(result))
        folder = RunFolder(tmp_path / "run", "", 0, "zelo", [])
        folder.write_manifest(result, {})
        missing = folder.manifest["stages"]["judge"]["missing"]["chat"]
        assert (missing["unsent"], missing["limit"][: len(limit)]) == (status["unsent"], limit)

        replayed = assembled("judge=replay_ledger", "judge.of.model=other")
        assert f"judge: chat {pairs} unsent" in notes(run(replayed))
        none = run(assembled(*at, "on_limit=continue"))
        assert "the rest was not sent: no budget was set" in "\n".join(notes(none))

        monkeypatch.delenv("ZELO_COMMAND", raising=False)
        capsys.readouterr()
        whole = run(assembled(*at, "budget.calls=1000"))
        known, calls = re.search(
            rf"judge chat: (\d+) of {pairs} pairs from the ledger, (\d+) calls to make", capsys.readouterr().err
        ).groups()  # pyright: ignore[reportOptionalMemberAccess]
        assert int(known) == status["answered"]
        assert f"{pairs} answered; {known} pairs from the ledger, {calls} calls" in "\n".join(notes(whole))
        assert len(server.seen) == 10 + int(calls)

        built, requests = [], Chat.requests
        monkeypatch.setattr(Chat, "requests", lambda self, asked: built.append(len(asked)) or requests(self, asked))
        shutil.rmtree(whole.tables["judge"].path)
        again = run(assembled(*at, "budget.calls=1000"))
        reasons = len(again.tables["judge"].read("widest"))
        assert built == [pairs, reasons], "each question is built once where the ledger has its answer"
        assert again.tables["judge"].read("outcomes").equals(whole.tables["judge"].read("outcomes"))
        assert len(server.seen) == 10 + int(calls)


def test_a_plan_says_what_was_run_for_it(assembled: Assemble, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.default()
    for ran in (["load", "retrieve"], []):
        steps = assembled(*CHAT, "judge.base_url=http://127.0.0.1:9/v1")
        capsys.readouterr()
        missing = terminal.print_plan(steps, store, Local(workers=8), plan.units(steps, store), {})
        said = [line for line in capsys.readouterr().out.splitlines() if "in 8 processes" in line]
        unknown = "Units of at most 512 queries, in 8 processes: retrieve ?. ?: known when the stages above have run."
        assert said == [unknown] * bool(ran)  # a paid judge is asked here
        priced = dict(plan.priced(steps, store))
        capsys.readouterr()
        terminal.print_plan_end(steps, store, missing, list(priced.values()), {})
        said = capsys.readouterr().out.strip()
        first = f"Run for the plan, which depends on it: {', '.join(ran)}" if ran else "Nothing was run"
        assert said == f"{first}; nothing was sent."
    terminal.print_plan_end(steps, store, missing, list(priced.values()) * 2, {"calibrate": ["judge", "rate"]})
    said = capsys.readouterr().out
    assert re.search(r"All stages: \d+ calls, \$\d\S+ expected, at most \$\d", said)
    assert "calibrate: asks more, under the same caps." in said
    assert "have run: judge, rate. Run until=rate first" in " ".join(said.split())
