"""A reply is kept as it came: what it means is decided at each reading, and what stays without an answer can be asked again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, score_text
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from older_ledger import make_older
from paid_judge import Judge, ask, budget, endpoint, new_command, questions

from zelo.budget.session import TooManyFailures
from zelo.errors import BadInput
from zelo.judges import answer
from zelo.ledger.codec import reply_of
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Entry
from zelo.ledger.place import FILE
from zelo.ledger.transfer import export_entries, import_entries
from zelo.pipeline.run import Result, assemble, run_stages
from zelo.places import config_folder
from zelo.providers.anthropic import Messages
from zelo.providers.openai import ChatCompletions
from zelo.providers.request import Provider, Request
from zelo.providers.secrets import HIDDEN, redacted
from zelo.records import ANSWERED, FAILED, REFUSED, TRUNCATED, UNPARSEABLE
from zelo.reporting.notes import notes
from zelo.store.store import Store
from zelo.tracking.run_folder import RunFolder

Run = Callable[..., Result]


@pytest.fixture
def run(tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Each call is a command of its own, in one store."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    small = ["pipeline=annotate", "dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "graph.degree=4"]
    small += ["top_k=6", "known_items.items=0", "judge=chat", "judge.model=m", "judge.api_key_env=null"]

    def go(server: FakeServer, *overrides: str) -> Result:
        new_command(monkeypatch)
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("config", [*small, f"judge.base_url={server.base_url}", *overrides])
        *_, (result, _) = run_stages(assemble(config), Store.default())
        return result

    return go


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    return tmp_path / "home"


def test_a_repaired_endpoint_is_asked_again_only_with_ask_again(run: Run, tmp_path: Path) -> None:
    kind = "no_logprobs"
    verdict = ["judge.mode=verdict", "until=judge"]
    with FakeServer(plan=lambda seen: kind) as server:
        first = run(server, *verdict, "max_failure_rate=1").tables["judge"]
        pairs = len(server.seen)
        assert first.partial
        assert first.manifest["status"][UNPARSEABLE] == pairs > 0
        kind = "ok"
        second = run(server, *verdict, "max_failure_rate=1")
        assert second.tables["judge"].partial
        assert second.tables["judge"].content == first.content
        assert "ask_again=[unparseable] sends them again" in "\n".join(notes(second))
        folder = RunFolder(tmp_path / "run", "", 0, "zelo", [])
        folder.write_manifest(second, {})
        assert folder.manifest["stages"]["judge"]["missing"] == {"chat": {UNPARSEABLE: pairs}}
        with pytest.raises(
            TooManyFailures, match=r"from the ledger are no answers.*ask_again=\[unparseable\]"
        ) as raised:
            run(server, *verdict)
        assert raised.value.exit_status == 3
        assert len(server.seen) == pairs, "nothing was sent for what the ledger has"
        whole = run(server, *verdict, "ask_again=[unparseable,refused]").tables["judge"]
        assert not whole.partial
        assert whole.manifest["status"][ANSWERED] == pairs
        assert len(server.seen) == 2 * pairs
        assert run(server, *verdict, "ask_again=[unparseable]").facts["judge"]["status"] == "cached"


def test_a_better_reader_profits_from_what_was_paid_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = answer.score

    def better(text: str, tag: str | None) -> float | None:
        return read(text.removeprefix("By my count: "), tag)

    with FakeServer(text=lambda seen: "By my count: " + score_text(seen)) as server:
        options = ["judge.structured=true", "until=judge", "max_failure_rate=1"]
        assert run(server, *options).tables["judge"].manifest["status"][ANSWERED] == 0
        sent = len(server.seen)
        monkeypatch.setattr(answer, "score", better)
        table = run(server, *options).tables["judge"]
        assert (table.partial, table.manifest["status"][ANSWERED], len(server.seen)) == (False, sent, sent)


def test_what_follows_a_partial_table_is_reused_until_that_changes(run: Run) -> None:
    plan = {"kind": "refusal_in_prose"}
    with FakeServer(plan=lambda seen: plan["kind"] if seen.number % 16 == 5 else "ok") as server:
        first = run(server, "until=target")
        assert [first.tables[name].partial for name in ("judge", "rate", "target")] == [True] * 3
        sent = len(server.seen)
        again = run(server, "until=target")
        assert len(server.seen) == sent
        assert [again.facts[name]["status"] for name in ("judge", "rate", "target")] == ["partial", "cached", "cached"]
        plan["kind"] = "ok"
        whole = run(server, "until=target", "ask_again=[refused]")
        assert [whole.facts[name]["status"] for name in ("judge", "rate", "target")] == ["computed"] * 3
        assert 0 < len(server.seen) - sent < sent / 10


def test_once_in_a_command_under_the_cap_and_what_is_not_asked_stays_read(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = "score_nan"
    with FakeServer(plan=lambda seen: kind) as server:
        judge = Judge(endpoint(server))
        ask(budget(), judge, questions(10))
        assert len(server.seen) == 10
        ask(budget(ask_again=[UNPARSEABLE]), judge, questions(10))
        assert len(server.seen) == 10, "this command has paid for them"
        new_command(monkeypatch)
        again = budget(ask_again=[UNPARSEABLE], calls=4, on_limit="continue")
        (plan,) = again.plans({"chat": (judge, [questions(12)])})
        assert (plan.known, plan.calls) == (0, 12)
        kind = "ok"
        outcomes, figures = ask(again, judge, questions(10))
        assert (len(server.seen), figures["calls"]) == (14, 4)
        assert sorted(outcomes.status.to_pylist()) == [ANSWERED] * 4 + [UNPARSEABLE] * 6
        kind = "http_500"
        new_command(monkeypatch)
        monkeypatch.setattr("zelo.providers.retry.BACKOFF", 0.001)
        outcomes, _ = ask(budget(ask_again=[UNPARSEABLE]), judge, questions(10))
        assert sorted(outcomes.status.to_pylist()) == [ANSWERED] * 4 + [UNPARSEABLE] * 6, "the former reply stands"
        with pytest.raises(BadInput, match="no budget"):
            ask(budget(ask_again=[UNPARSEABLE], usd=None), judge, questions(10))


def test_a_status_that_no_reply_has_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'unsent' is no status.*ask_again=\[unparseable,refused\]"):
        budget(ask_again=["unsent"])


OLDER: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"status": ANSWERED, "error": "", "text": "score: 0.50", "finish": "stop"}, ANSWERED),
    "cut": ({"status": TRUNCATED, "error": "length", "text": "so", "finish": "length"}, TRUNCATED),
    "filter": ({"status": REFUSED, "error": "content_filter", "text": "", "finish": ""}, REFUSED),
    "empty": ({"status": UNPARSEABLE, "error": "empty", "text": "", "finish": "stop"}, UNPARSEABLE),
}


@pytest.mark.parametrize("api", [ChatCompletions(), Messages()], ids=["openai", "anthropic"])
@pytest.mark.parametrize("case", OLDER)
def test_what_an_earlier_version_kept_is_read_by_todays_reader(api: Provider, case: str) -> None:
    kept, status = OLDER[case]
    kept = kept | {"logprobs": [["B", -1.6], ["A", -0.2]]}
    with FakeServer() as server:
        at = endpoint(server, api=api)
    entry = Entry(b"k" * 16, "fake", "m", "judge", 0, json.dumps(kept), 120, 30, 0.5, 1.0, 2.0)
    reply = reply_of(at, Request(b"k" * 16, "", "?", None, False, 0, (0,), 30, ""), entry)
    assert (reply.status, reply.text) == (status, kept["text"])
    assert reply.logprobs == ((("B", -1.6), ("A", -0.2)) if api == ChatCompletions() else ())
    assert (reply.tokens_in, reply.tokens_out, reply.usd, reply.seconds) == (120, 30, 0.5, 2.0)


def test_a_ledger_of_version_2_answers_and_what_it_could_not_read_is_read_anew(home: Path) -> None:
    with FakeServer() as server:
        judge = Judge(endpoint(server))
        ask(budget(), judge, questions(3))
        with Ledger(home / FILE) as ledger:
            kept = {"status": ANSWERED, "error": "", "text": "score: 0.50", "finish": "stop", "logprobs": []}
            ledger._file.run("UPDATE entry SET answer = ?", (json.dumps(kept),))
        make_older(home / FILE, 2, UNPARSEABLE)  # the status that it had is believed no more
        outcomes, _ = ask(budget(), judge, questions(3))
        assert outcomes.status.to_pylist() == [ANSWERED] * 3
        assert len(server.seen) == 3


def test_a_raw_reply_goes_from_ledger_to_ledger(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(plan=lambda seen: "length" if seen.number == 0 else "ok") as server:
        judge = Judge(endpoint(server, concurrency=1))
        mine, _ = ask(budget(), judge, questions(3))
        with Ledger(home / FILE) as ledger:
            export_entries(ledger, tmp_path / "a.parquet")
        monkeypatch.setenv("ZELO_HOME", str(tmp_path / "other"))
        with Ledger(tmp_path / "other" / FILE) as other:
            import_entries(other, tmp_path / "a.parquet")
        theirs, _ = ask(budget(usd=None), judge, questions(3))
        assert theirs.status.to_pylist() == mine.status.to_pylist() == [TRUNCATED, ANSWERED, ANSWERED]
        ask(budget(ask_again=[TRUNCATED]), judge, questions(3))
        assert len(server.seen) == 4, "what was imported was paid for by another command"


@pytest.mark.parametrize("body", ['{"a": "x KEY"}', '{"a": "\\u0073KEY_TAIL"}'])
def test_no_key_stands_in_what_is_kept(body: str) -> None:
    key = 'sk-"12345678'
    written = json.dumps(key)[1:-1]
    raw = body.replace("\\u0073KEY_TAIL", "\\u0073" + written[1:]).replace("KEY", written)
    kept = redacted(200, raw.encode(), key)
    assert HIDDEN in kept
    assert "12345678" not in kept
    assert json.loads(kept)["a"].endswith(HIDDEN)
    assert redacted(200, raw.encode(), None) == raw
    assert "12345678" not in redacted(400, b'{"error": "sk-12345678 or 12345678"}', key)


def test_what_failed_is_not_kept(home: Path) -> None:
    with FakeServer(plan=lambda seen: "context_too_long") as server:
        outcomes, _ = ask(budget(), Judge(endpoint(server)), questions(2))
    assert outcomes.status.to_pylist() == [FAILED] * 2
    with Ledger(home / FILE) as ledger:
        assert list(ledger.entries(10)) == []
        assert ledger.spent("lifetime").calls == 2
