"""The decision judge: what it asks in either form, what it makes of each answer, what it refuses; over real HTTP on loopback."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chat_questions import COUNT, asked
from decision_server import FIELDS, FORMS, KINDS, WORSE, DecisionServer, questions_of, state_of
from fake_server import BODIES, ERRORS
from paid_judge import ask, budget, new_command

from zelo.budget.budget import Budget
from zelo.budget.plan import lines
from zelo.errors import BadInput, ZeloError
from zelo.judges.decision import Decision, Decisions
from zelo.judges.replay_ledger import ReplayLedger
from zelo.protocols import PaidJudge, StateJudge, TruncatingJudge
from zelo.providers.anthropic import Messages
from zelo.providers.client import body
from zelo.providers.request import Reply
from zelo.records import ANSWERED, REFUSED, STATUSES, UNPARSEABLE, Outcomes, Questions

EVERY = [(0, a, b) for a, b in itertools.combinations(range(5), 2)]


def decision(**changes: Any) -> Decision:
    return Decision(**(FIELDS | changes))


def requests(judge: Decision, questions: Questions) -> list[Decisions]:
    found = [request for request in judge.requests(questions) if isinstance(request, Decisions)]
    assert sorted(row for request in found for row in request.rows) == list(range(len(questions)))
    return found


def sent(judge: Decision, request: Decisions) -> dict[str, Any]:
    return json.loads(body(judge.endpoint, request))


def statuses(outcomes: Outcomes) -> list[str]:
    return outcomes.status.to_pylist()


@pytest.mark.parametrize("form", FORMS)
def test_many_pairs_are_asked_about_one_state(form: str) -> None:
    judge = decision(api=FORMS[form], instruction="Only official sources count.", extra_body={"user": "me"})
    assert isinstance(judge, PaidJudge)
    assert isinstance(judge, StateJudge)
    assert isinstance(judge, TruncatingJudge)
    (request,) = requests(judge, asked(EVERY))
    content = sent(judge, request)
    state, questions = state_of(content), questions_of(content)
    assert (state["query"], state["relevance"]) == ("the first query", "Only official sources count.")
    texts = ["body of 0.", "title 1\nbody of 1.", "body of 2.", "title 3\nbody of 3.", "body of 4."]
    assert sorted(state["documents"].values()) == sorted(texts)
    assert list(state["documents"]) == [f"document_{n}" for n in range(1, 6)]
    assert len(questions) == len(EVERY)
    for row, number in zip(request.rows, request.asked, strict=True):
        first, second = questions[f"pair_{number + 1}"]
        assert (state["documents"][first], state["documents"][second]) == tuple(texts[n] for n in EVERY[row][1:])
        assert request.questions[number].instructions == f"Which is better, {first} or {second}?"
    assert content["user"] == "me"
    assert request.tokens_in > len(json.dumps(content, ensure_ascii=False)) / 2
    assert "relevance" not in state_of(sent(decision(), requests(decision(), asked(EVERY))[0]))


def test_the_order_in_a_state_is_drawn_and_that_of_the_options_is_as_shown() -> None:
    def places(query: int) -> list[str]:
        (request,) = requests(decision(), asked([(query, a, b) for _, a, b in EVERY]))
        return list(request.state["documents"].values())

    assert places(0) != places(1), "drawn from the query, too"
    assert places(0) == places(0)
    judge = decision()
    (one,), (other,) = (requests(judge, asked([(0, a, b)])) for a, b in ((1, 2), (2, 1)))
    assert list(one.state["documents"].values()) == list(other.state["documents"].values())[::-1]
    both = requests(judge, asked([*EVERY, *((q, b, a) for q, a, b in EVERY)]))
    assert len(both) == 2
    first, second = (list(request.state["documents"].values()) for request in both)
    assert first == second[::-1]


def test_neither_rows_nor_company_change_a_request() -> None:
    judge, rng = decision(pairs_per_state=4), np.random.default_rng(0)
    rows = [(q, a, b) for q in range(2) for a, b in itertools.combinations(range(COUNT), 2)]
    keys = {request.key for request in requests(judge, asked(rows))}
    assert keys == {request.key for request in requests(judge, asked([rows[n] for n in rng.permutation(len(rows))]))}
    assert {request.key for request in requests(judge, asked([row for row in rows if row[0]]))} < keys
    assert all(len(request.questions) <= 4 for request in requests(judge, asked(rows)))
    alone = judge.one_pair()
    assert (judge.asked_whole, alone.asked_whole) == (True, False)
    assert [request.rows for request in sorted(requests(alone, asked(EVERY)), key=lambda one: one.rows)] == [
        (n,) for n in range(len(EVERY))
    ]
    assert requests(alone, asked(EVERY[3:4]))[0].key == requests(judge, asked(EVERY[3:4]))[0].key
    assert requests(judge, asked([])) == []


def test_a_state_holds_no_more_than_fits() -> None:
    judge = decision(document_tokens=16, state_tokens=32)
    rows = [(0, a, COUNT - 1) for a in range(COUNT - 1)]  # the last one is cut
    found = requests(judge, asked(rows))
    assert len(found) > 1
    for request in found:
        assert sum(-(-len(text) // 4) for text in request.state["documents"].values()) <= 32
        assert max(map(len, request.state["documents"].values())) == 64
    assert judge.cut(asked(rows)) == 1


def test_what_decides_an_answer_decides_its_key_and_nothing_else_does() -> None:
    def key(repeat: int = 0, **changes: Any) -> bytes:
        return requests(decision(**changes), asked(EVERY, repeat=repeat))[0].key

    plain = key()
    more: list[dict[str, Any]] = [
        {"model": "other"},
        {"provider": "else"},
        {"task": "Other words."},
        {"question": "{second} or {first}?"},
        {"instruction": "Only official sources count."},
        {"api": FORMS["openai"]},
        {"extra_body": {"user": "me"}},
        {"repeat": 1},
    ]
    assert len({plain, *(key(**changes) for changes in more)}) == 1 + len(more)
    outside: dict[str, Any] = {"base_url": "http://localhost:1/v1", "api_key_env": "ELSE", "input_price": 1.0}
    outside |= {"prices": replace(FIELDS["prices"], models={}), "concurrency": 1, "requests_per_minute": 1}
    outside |= {"tokens_per_minute": 1, "timeout": 1.0, "retries": 0}
    assert set(outside) == Decision.OUTSIDE_IDENTITY
    outside |= {"name": "another", "api": replace(FORMS["system_one"], path="/decisions"), "pairs_per_state": 99}
    for name, value in outside.items():
        assert key(**{name: value}) == plain, name


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, zelo_home: Any, tmp_path: Any) -> None:
    """A ledger of its own, and a command."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path))
    new_command(monkeypatch)


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize("form", FORMS)
def test_probabilities_become_preferences_and_are_paid_once(form: str) -> None:
    rows = [*EVERY, *((q, b, a) for q, a, b in EVERY), (1, 2, 0)]
    with DecisionServer(plan=lambda _: "ok") as server:
        judge = decision(api=FORMS[form], base_url=server.base_url, input_price=1000.0)
        outcomes, figures = ask(budget(), judge, asked(rows))
        texts = [asked(rows).texts_a(), asked(rows).texts_b()]
        expected = [1 - WORSE if a < b else WORSE for a, b in zip(*texts, strict=True)]
        assert outcomes.p.tolist() == pytest.approx(expected)
        assert set(statuses(outcomes)) == {ANSWERED}
        assert outcomes.weight.tolist() == [1.0] * len(rows)
        assert (figures["calls"], len(server.seen)) == (3, 3)
        assert figures["usd"] == pytest.approx(3 * 500 * 1000 / 1e6)
        assert outcomes.tokens.sum() == 1500
        again, figures = ask(budget(), judge, asked(rows))
        assert (figures["calls"], len(server.seen), figures["from_ledger"]) == (0, 3, len(rows))
        assert again.p.tolist() == outcomes.p.tolist()
    replayed = ReplayLedger(of=judge, path=None).compare(asked(rows))
    assert replayed.p.tolist() == outcomes.p.tolist()


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_question_amiss_is_a_status_of_its_own(form: str, kind: str) -> None:
    if (form, kind) == ("system_one", "twice"):
        return
    with DecisionServer(plan=lambda _: f"{kind}:3") as server:
        judge = decision(api=FORMS[form], base_url=server.base_url)
        outcomes, figures = ask(budget(), judge, asked(EVERY))
        (request,) = requests(judge, asked(EVERY))
        amiss = request.rows[request.asked.index(2)]
        status = REFUSED if kind == "refusal" else UNPARSEABLE
        assert statuses(outcomes) == [status if row == amiss else ANSWERED for row in range(len(EVERY))]
        assert np.isnan(outcomes.p[amiss])
        assert figures["unread"][0]["pairs"] == 1
        if kind == "other_options":
            assert figures["unread"][0]["why"] == "the answer is about other options than the question"
            assert "answered A, B" in figures["unread"][0]["first"]
        # It is read again from the ledger, and asked for again where the user says so.
        server.plan = lambda _: "ok"
        again, _ = ask(budget(), judge, asked(EVERY))
        assert (statuses(again), len(server.seen)) == (statuses(outcomes), 1)
    replayed = ReplayLedger(of=judge, path=None).compare(asked(EVERY))
    assert replayed.status.to_pylist() == statuses(outcomes)


@pytest.mark.usefixtures("at")
def test_what_is_refused_can_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with DecisionServer(plan=lambda seen: "ok" if seen.number else "refusal:1") as server:
        judge = decision(base_url=server.base_url)
        ask(budget(), judge, asked(EVERY))
        new_command(monkeypatch)
        monkeypatch.setenv("ZELO_COMMAND", "the next one")
        outcomes, _ = ask(budget(ask_again=["refused"]), judge, asked(EVERY))
        assert set(statuses(outcomes)) == {ANSWERED}
        assert len(server.seen) == 2


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize("form", FORMS)
def test_other_faults_are_no_preference(form: str) -> None:
    def after(kind: str, model: str) -> tuple[set[str], dict[str, Any]]:
        judge = decision(api=FORMS[form], base_url=server.base_url, model=model, retries=0)
        outcomes, figures = ask(budget(usd=None), judge, asked(EVERY[:3]))
        return set(statuses(outcomes)), figures

    with DecisionServer() as server:
        for kind in ("no_answers", "renamed", "http_500", "context_too_long", *BODIES):
            server.plan = lambda _, kind=kind: kind
            found, figures = after(kind, f"model {kind}")
            assert ANSWERED not in found, (kind, found)
            assert figures["unread"] if kind == "renamed" else figures["faults"], kind
        server.plan = lambda _: "no_usage"
        found, figures = after("no_usage", "silent")
        assert found == {ANSWERED}
        assert figures["tokens"] > 0, "what is not counted is taken at its most"
        server.plan = lambda _: "http_400"
        with pytest.raises(
            BadInput, match=r"what is sent follows from judge\.model, judge\.task.*judge\.pairs_per_state"
        ):
            after("http_400", "never")
    assert "http_400" in ERRORS


@pytest.mark.usefixtures("at")
def test_an_endpoint_with_other_options_ends_the_run_after_its_first_replies() -> None:
    rows = [(q, a, b) for q in range(2) for a, b in itertools.combinations(range(COUNT), 2)]
    with DecisionServer(plan=lambda _: "other_options") as server:
        judge = decision(base_url=server.base_url, concurrency=1, pairs_per_state=18)
        with pytest.raises(ZeloError, match="about other options than the question; the first such answer: asked for"):
            ask(budget(max_failure_rate=0.2), judge, asked(rows))
        assert len(server.seen) < 4, "of 4; a question that fails counts by itself"


@pytest.mark.usefixtures("at")
def test_the_plan_has_a_price_for_each_pair_and_nothing_for_answers() -> None:
    judge = decision(base_url="https://api.example.org/v1")
    (plan,) = Budget.plans(budget(), {"decision": (judge, [asked(EVERY)])})
    assert (plan.calls, plan.pairs, plan.most_out, plan.price) == (1, len(EVERY), 0, "known")
    size = requests(judge, asked(EVERY))[0].tokens_in
    assert plan.worst_call == pytest.approx(size * 2.0 / 1e6)
    assert plan.usd is not None
    assert plan.usd == plan.most_usd == pytest.approx(round(size / 4) * 2.0 / 1e6)
    words = " ".join(" ".join(lines([plan])).split())
    assert f"nothing is billed for answers; {len(EVERY)}.0 pairs a call, ${plan.usd / len(EVERY):.2g} a pair." in words
    (one,) = Budget.plans(budget(), {"decision": (judge.one_pair(), [asked(EVERY)])})
    assert one.calls == len(EVERY)
    assert one.tokens_in > 1.5 * plan.tokens_in
    with pytest.raises(BadInput, match="costs money and there is no budget"):
        ask(budget(usd=None), judge, asked(EVERY))


def test_sums_that_rounding_explains_are_read() -> None:
    (request,) = requests(decision(), asked([(0, 1, 2)]))
    (a, _), (b, _) = request.questions[0].options

    def read(first: Any, second: Any) -> tuple[str, tuple[float, ...]]:
        text = json.dumps({"pair_1": {b: second, a: first}})
        reading = decision().read(request, Reply(ANSWERED, text=text))
        return reading.of_rows(1)[0].status, reading.of_rows(1)[0].p

    assert read(0.67, 0.34) == (ANSWERED, (pytest.approx(0.67 / 1.01),))
    assert read(0, 1) == (ANSWERED, (0.0,))
    assert {read(*pair)[0] for pair in ((0.6, 0.45), (0.4, 0.4), (True, False), (None, 1.0))} == {UNPARSEABLE}
    assert set(STATUSES) >= {ANSWERED, REFUSED, UNPARSEABLE}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api": Messages()}, "no form of decision endpoints"),
        ({"model": "???"}, r"set judge\.model"),
        ({"question": "Which is better?"}, r"must name \{first\} once"),
        ({"question": "{first} or {second} or {first}?"}, r"must name \{first\} once"),
        ({"instruction": None}, "write '' for none"),
        ({"pairs_per_state": 0}, "pairs_per_state=0 is too small; set it to 1"),
        ({"document_tokens": 8}, "document_tokens=8 is too small"),
        ({"state_tokens": 127}, "no room for two documents of document_tokens=64; set it to 128"),
        ({"extra_body": {"state": {}}}, r"extra_body\.state: the judge fills"),
        ({"api": FORMS["openai"], "extra_body": {"input": ""}}, r"extra_body\.input: the judge fills"),
        ({"base_url": "here"}, "is no address"),
        ({"input_price": -1.0}, "below 0"),
    ],
)
def test_what_could_not_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        decision(**changes)


def test_other_questions_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadInput, match="of one query, not of two"):
        decision().requests(asked([(0, 1, 2)], across=[1]))
    rubric = replace(asked([(0, 1, 1)]), criterion=np.zeros(1, np.int16))
    with pytest.raises(BadInput, match="has no rubric"):
        decision().requests(rubric)
    with pytest.raises(BadInput, match="no path behind base_url"):
        replace(FORMS["system_one"], path="systemone")
