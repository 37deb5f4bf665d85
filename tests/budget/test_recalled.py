"""What the ledger answers is read once: when it is planned, for the very questions that were planned and no others."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from fake_server import FakeServer, Seen
from paid_judge import Judge, ask, budget, endpoint, questions

from zelo.budget.session import TooManyFailures
from zelo.providers.request import Request
from zelo.records import ANSWERED, Outcomes, Questions


@dataclass
class Counting(Judge):
    """Says for how many questions it has formed requests."""

    built: list[int] = field(default_factory=list)

    def requests(self, questions: Questions) -> Iterator[Request]:
        self.built.append(len(questions))
        return super().requests(questions)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)


def columns(outcomes: Outcomes) -> list[list[object]]:
    found = (outcomes.p, outcomes.weight, outcomes.tokens, outcomes.cost)
    return [
        outcomes.judge.to_pylist(),
        outcomes.status.to_pylist(),
        *(np.nan_to_num(one, nan=-1).tolist() for one in found),
    ]


def test_answers_in_the_ledger_are_read_once_and_go_to_their_own_questions() -> None:
    def kind(seen: Seen) -> str:
        return "score_nan" if seen.body["messages"][0]["content"].startswith("d3.") else "ok"

    with FakeServer(plan=kind) as server:
        judge = Counting(endpoint(server))
        asked, other = questions(30), replace(questions(30, start=1000), queries=questions(1).queries)
        first, _ = ask(budget(), judge, asked)
        judge.built.clear()
        parts = [asked.take(np.arange(20)), asked.take(np.arange(20, 30))]
        plans = budget().plans({"a name": (judge, [*parts, other])})
        assert judge.built == [20, 10, 30]
        assert (plans[0].known, plans[0].calls) == (30, 30)
        with budget().open(plans) as session:
            unlike = session.ask({"a name": (judge, other)})["a name"]  # the same rows of another table
            assert (len(server.seen), unlike.status.to_pylist()) == (60, [ANSWERED] * 30)
            again = [session.ask({"a name": (judge, part)})["a name"] for part in parts]
            assert judge.built == [20, 10, 30, 30], "built when planned, not when asked"
            assert session.figures["a name"]["from_ledger"] == 30
            assert session.live["from_ledger"] == 30
            repeated = session.ask({"a name": (judge, parts[0])})["a name"]  # what was taken is read again
        assert len(server.seen) == 60
        assert judge.built[4:] == [20]
        got = [columns(one) for one in (*again, repeated)]
        assert [a + b for a, b in zip(*got[:2], strict=True)][1:] == columns(first)[1:]
        assert set(got[0][0]) == {"a name"}
        assert got[2] == got[0]


def test_too_many_replies_without_an_answer_stop_it_without_a_second_look() -> None:
    with FakeServer(plan=lambda seen: "score_nan") as server:
        judge = Counting(endpoint(server))
        ask(budget(), judge, questions(30))
        judge.built.clear()
        with pytest.raises(TooManyFailures, match=r"judge chat: 30 of 30 replies from the ledger are no answers"):
            ask(budget(max_failure_rate=0.2), judge, questions(30))
        assert judge.built == [30]
