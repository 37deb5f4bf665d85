"""A model that orders windows of candidates, over HTTP: what is good climbs, and only an order that is one changes anything."""

import dataclasses
import functools
import json
import re
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from commands import command
from components import component
from fake_server import FakeServer, Seen
from paid_judge import budget, new_command

from zelo.errors import BadInput, LimitReached, PriceUnknown
from zelo.ledger.place import FILE
from zelo.providers.anthropic import Messages
from zelo.providers.request import Reply
from zelo.records import ANSWERED, DOCUMENT, QUERY, UNPARSEABLE, Questions
from zelo.sliding_windows import Ordered, order
from zelo.stages.baseline import Baseline


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    new_command(monkeypatch)


@functools.cache
def _built() -> Any:
    fields = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": None, "retries": 0}
    return component("scorer/listwise", **fields, window=4, step=2, input_price=1.0, output_price=1.0)


def listwise(**changes: Any) -> Any:
    return dataclasses.replace(_built(), **changes)


def candidates(*lists: list[int]) -> Questions:
    """A query a list, whose documents say how good they are, in this order."""
    texts = [f"worth {worth:03} for {query}" for query, worths in enumerate(lists) for worth in worths]
    queries = pa.table([[f"q{n}" for n in range(len(lists))], ["?"] * len(lists), ["test"] * len(lists)], schema=QUERY)
    documents = pa.table([[f"d{n}" for n in range(len(texts))], [""] * len(texts), texts], schema=DOCUMENT)
    rows = np.arange(len(texts), dtype=np.int32)
    query = np.repeat(np.arange(len(lists), dtype=np.int32), [len(one) for one in lists])
    return Questions(queries, documents, query, rows, rows, np.zeros(len(rows), np.int16))


def worths(seen: Seen) -> list[int]:
    """Of the documents that a prompt shows, in its order."""
    return [int(found) for found in re.findall(r"worth (\d+)", seen.body["messages"][-1]["content"])]


def answered(seen: Seen, labels: list[int]) -> str:
    """An order in the form that the prompt asks for."""
    if "response_format" in seen.body:
        return json.dumps({"order": labels})
    tag = re.findall(r"^(order-\w+): \[LABEL\]", seen.body["messages"][-1]["content"], re.MULTILINE)[-1]
    return f"{tag}: " + " > ".join(f"[{label}]" for label in labels)


def honest(seen: Seen) -> str:
    shown = worths(seen)
    return answered(seen, [int(n) + 1 for n in np.argsort([-worth for worth in shown], kind="stable")])


def rerank(scorer: Any, asked: Questions, **caps: Any) -> tuple[Ordered, dict[str, Any]]:
    bank = budget(**caps)
    with bank.open(bank.plans({scorer.name: (scorer, [asked])})) as session:
        found = order(scorer, asked, lambda some: session.ask({scorer.name: (scorer, some)})[scorer.name])
        return found, session.figures[scorer.name]


@pytest.mark.parametrize(
    ("size", "window", "step", "expected"),
    [
        (0, 4, 2, []),
        (1, 4, 2, []),
        (2, 4, 2, [(0, 2)]),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(1, 5), (0, 3)]),
        (9, 4, 3, [(5, 9), (2, 6), (0, 3)]),
        (100, 20, 10, [(low, low + 20) for low in range(80, -1, -10)]),
    ],
)
def test_windows_go_from_the_last_candidate_to_the_first(
    size: int, window: int, step: int, expected: list[tuple[int, int]]
) -> None:
    found = listwise(window=window, step=step).windows(size)
    assert [(one.start, one.stop) for one in found] == expected


# An order in both forms, and the places of three documents; None: no answer.
ORDERS: list[tuple[str, str, tuple[int, ...] | None]] = [
    ("[2] > [1] > [3]", "[2, 1, 3]", (2, 3, 1)),
    ("2>1 > [3]", "[2,1,3]", (2, 3, 1)),
    ("[3]", "[3]", (0, -1, 3)),  # 1 and 2 stand behind, as they stood
    ("[2] > [2] > [1]", "[2, 2, 1]", None),
    ("[4] > [1] > [2]", "[4, 1, 2]", None),
    ("[0] > [1]", "[0, 1]", None),
    ("", "[]", None),
    ("[2] > [1] > [3] is best", '["2", 1, 3]', None),
    ("[2], [1], [3]", "[2.0, 1, 3]", None),
    ("[2] > [1] >", "[true]", None),
]


@pytest.mark.parametrize("form", [True, False])
def test_an_order_is_read_without_guessing(form: bool) -> None:
    scorer = listwise(structured=form)
    (request,) = scorer.requests(candidates([1, 2, 3]))
    for tagged, structured, places in ORDERS:
        text = f'{{"order": {structured}}}' if form else f"Well.\n{request.tag}: {tagged}"
        reading = scorer.read(request, Reply(ANSWERED, text=text))
        assert (reading.status, reading.p) == ((ANSWERED, places) if places else (UNPARSEABLE, ())), text
        assert bool(reading.why) == (places is None)
    assert scorer.read(request, Reply(ANSWERED, text="[2] > [1] > [3]")).status == UNPARSEABLE, "without the tag"


@pytest.mark.parametrize("structured", [True, False])
def test_what_is_good_climbs_and_nothing_is_paid_twice(
    structured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = candidates([3, 1, 4, 2, 5, 0, 8, 6, 7], [2, 1], [5])
    with FakeServer(text=honest) as server:
        scorer = listwise(base_url=server.base_url, structured=structured)
        found, figures = rerank(scorer, asked)
        # By hand: 0 8 6 7 -> 8 7 6 0; 2 5 8 7 -> 8 7 5 2; 1 4 8 7 -> 8 7 4 1; 3 8 7 -> 8 7 3, and the rest as they were left.
        texts = asked.texts_a()
        ranked = [int(texts[row][6:9]) for row in np.argsort(-found.score[:9])]
        assert ranked == [8, 7, 3, 4, 1, 5, 2, 6, 0]
        assert found.score.tolist()[9:] == [1, 0, 0]
        assert (found.windows, found.left.total(), found.unnamed) == (5, 0, 0)
        assert figures["calls"] == len(server.seen) == 5
        new_command(monkeypatch)
        again, figures = rerank(scorer, asked)
        assert (again.score == found.score).all()
        assert figures["calls"] == 0
        assert len(server.seen) == 5
    with sqlite3.connect(tmp_path / "home" / FILE) as ledger:
        assert ledger.execute("SELECT DISTINCT kind FROM entry").fetchall() == [("rerank",)]


def test_a_window_without_an_answer_stays_and_is_counted() -> None:
    asked = candidates([3, 1, 4, 2, 5, 0])

    def half(seen: Seen) -> str:
        """The first prompt gets nothing, the second names two of four."""
        return "I'm sorry, but I can't." if seen.number == 0 else answered(seen, [4, 2])

    with FakeServer(text=half) as server:
        found, figures = rerank(listwise(base_url=server.base_url, structured=False), asked)
        assert [worths(seen) for seen in server.seen] == [[4, 2, 5, 0], [3, 1, 4, 2]]
    assert found.score.tolist() == [3, 4, 2, 5, 1, 0], "2 and 1 in front, 3 and 4 behind them as they stood"
    assert (dict(found.left), found.unnamed) == ({"refused": 1}, 2)
    assert figures["unread"][0]["why"] == "the model declines to answer"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": 4}, "step=4 is not below window=4"),
        ({"window": 1}, "window=1 is too small"),
        ({"model": "???"}, "model is empty"),
        ({"token_limit_key": "limit"}, "token_limit_key='limit' is unknown"),
        ({"api": Messages()}, "structured=true needs JSON schemas"),
        ({"prompt": "listwse"}, "no prompt 'listwse'. Did you mean 'listwise'?"),
        ({"temperature": 3.0}, "temperature=3.0 is not from 0 to 2"),
    ],
)
def test_what_could_not_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)):
        listwise(**changes)


def test_a_listwise_baseline_from_the_command(
    tiny_beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeServer(text=lambda seen: answered(seen, [2, 1])) as server:
        run = ["dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "top_k=5", "until=llm"]
        run += ["+scorer@baselines.llm=listwise", "baselines.llm.model=m", "baselines.llm.api_key_env=null"]
        run += ["baselines.llm.window=4", "baselines.llm.step=2", f"baselines.llm.base_url={server.base_url}"]
        run += ["baselines.llm.input_price=1", "baselines.llm.output_price=1"]
        assert command(*run, "budget.calls=1", "on_limit=continue") == 3
        assert "windows have no order: 1 unsent" in capsys.readouterr().err
        new_command(monkeypatch)
        assert command(*run, "budget.usd=1") == 0
        said = capsys.readouterr().out
        assert f"{len(server.seen):,} windows" in said
        assert "documents that an answer left out stand behind" in said


def test_one_order_is_not_compared_over_several_first_stages() -> None:
    with pytest.raises(BadInput, match="orders one list of candidates"):
        Baseline.check_inputs(SimpleNamespace(scorer=listwise()), {"rest": object()})  # pyright: ignore[reportArgumentType]


def test_a_budget_in_dollars_needs_both_prices() -> None:
    far = listwise(base_url="https://example.com/v1", output_price=None)
    with pytest.raises(PriceUnknown, match=r"Set judge\.input_price and judge\.output_price"):
        rerank(far, candidates([1, 2]))


def test_at_a_cap_nothing_is_guessed() -> None:
    asked = candidates([3, 1, 4, 2, 5, 0, 8, 6, 7])
    with FakeServer(text=honest) as server, pytest.raises(LimitReached, match=r"budget\.calls"):
        rerank(listwise(base_url=server.base_url), asked, calls=2)
    assert len(server.seen) == 2
