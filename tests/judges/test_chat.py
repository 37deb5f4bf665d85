"""The judge that asks a language model: what it asks, what it makes of the answer, what it refuses. No network."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from chat_questions import COUNT, DOCUMENTS, FIELDS, MESSAGES, QUERIES, asked

from zelo.budget.price import Prices
from zelo.errors import BadInput
from zelo.judges.chat import Asked, Chat
from zelo.judges.windows import windows
from zelo.providers.anthropic import Messages
from zelo.providers.client import body, read
from zelo.providers.request import Endpoint, Reply, Request
from zelo.records import CRITERIA, Questions


def chat(**changes: Any) -> Chat:
    return Chat(**(FIELDS | changes))


def said(text: str = "", **more: Any) -> Reply:
    return Reply(status="answered", text=text, finish="stop", **more)


def test_a_pair_is_asked_in_the_order_in_which_it_is_shown() -> None:
    judge = chat()
    first, swapped, repeated = (
        next(judge.requests(questions))
        for questions in (asked([(0, 1, 2)]), asked([(0, 2, 1)]), asked([(0, 1, 2)], repeat=1))
    )
    assert first.user.index("title 1\nbody of 1.") < first.user.index("body of 2.")
    assert swapped.user.index("title 1\nbody of 1.") > swapped.user.index("body of 2.")
    assert "the first query" in first.user
    assert len({first.key, swapped.key, repeated.key}) == 3
    assert (first.user, first.rows, repeated.repeat) == (repeated.user, (0,), 1)
    assert first.schema is not None
    assert list(first.schema["properties"]) == ["thoughts", "score"]
    assert not first.logprobs
    assert first.tokens_out == 512


def test_what_decides_an_answer_decides_its_key_and_nothing_else_does() -> None:
    def key(**changes: Any) -> bytes:
        return next(chat(**changes).requests(asked([(0, 1, 2)]))).key

    plain = key()
    more: list[dict[str, Any]] = [
        {"model": "other"},
        {"provider": "else"},
        {"temperature": 1.0},
        {"max_tokens": 99},
        {"seed": 1},
        {"reasoning_effort": "low"},
        {"instruction": "Only official sources count."},
        {"structured": False},
        {"mode": "verdict"},
        {"mode": "verdict", "top_logprobs": 5},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ]
    assert len({plain, *(key(**changes) for changes in more)}) == 1 + len(more)
    outside = {
        "base_url": "http://localhost:1/v1",
        "api_key_env": None,
        "prices": Prices(date="2026-11-25", source="", models={}),
        "input_price": 1.0,
        "output_price": 1.0,
        "concurrency": 1,
        "requests_per_minute": 1,
        "tokens_per_minute": 1,
        "timeout": 1.0,
        "retries": 0,
        "token_limit_key": "max_completion_tokens",
    }
    assert set(outside) == Chat.OUTSIDE_IDENTITY
    for name, value in outside.items():
        assert key(**{name: value}) == plain, name


def test_answers_paid_for_before_a_field_existed_keep_their_keys() -> None:
    """The keys and forms of July 2026, when there was no extra_body, top_logprobs, verdict_mass or token_limit_key."""
    pinned: dict[tuple[str, str], dict[str, Any]] = {
        ("c2b9d1ec5d6b4853a24c0743455e8b80", "ec16e82f"): {},
        ("49f3a588bf82cd2bf8e02e6adc51081c", "394c2bd4"): {"mode": "verdict"},
        ("085f08753dab4d63fa82560ff4818b3d", "ef04a1c4"): {"mode": "listwise"},
        ("47efa251e3a81acdb9b609232d1576d5", "37c45867"): {"reasoning_effort": "low", "temperature": None},
        ("88cc4c2da04af3bf534e1deea48b85fc", "96255703"): MESSAGES,
    }
    for (key, form), changes in pinned.items():
        for more in ({}, {"verdict_mass": 0.1}, {"token_limit_key": "max_tokens"}):
            request = next(chat(**changes, **more).requests(asked([(0, 1, 2)])))
            assert (request.key.hex(), request.form) == (key, form), changes


def test_further_keys_of_a_request() -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 1}
    for mode in ("score", "verdict", "listwise"):
        judge = chat(mode=mode, extra_body=thinking, top_logprobs=5, token_limit_key="max_completion_tokens")
        sent = json.loads(body(judge.endpoint, next(judge.requests(asked([(0, 1, 2)])))))
        assert thinking.items() <= sent.items()
        assert sent["max_completion_tokens"] == (1 if mode == "verdict" else 512)
        assert "max_tokens" not in sent
        assert sent.get("top_logprobs") == (5 if mode == "verdict" else None)
        assert "extra_body" not in sent
    judge = chat(**MESSAGES, extra_body={"thinking": {"type": "disabled"}})
    sent = json.loads(body(judge.endpoint, next(judge.requests(asked([(0, 1, 2)])))))
    assert sent["thinking"] == {"type": "disabled"}


def test_what_decides_the_length_of_an_answer_decides_its_form_and_nothing_else_does() -> None:
    def form(**changes: Any) -> str:
        return next(chat(**changes).requests(asked([(0, 1, 2)]))).form

    plain = form()
    apart: list[dict[str, Any]] = [{"max_tokens": 99}, {"reasoning_effort": "low"}, {"temperature": 1.0}]
    apart += [{"structured": False}, {"mode": "verdict"}, {"mode": "listwise"}]
    assert len({plain, *(form(**changes) for changes in apart)}) == 1 + len(apart)
    assert {form(seed=1), form(concurrency=1), next(chat().requests(asked([(1, 3, 4)], repeat=1))).form} == {plain}
    assert next(chat().requests(asked([(0, 1, 2)], across=[1]))).form != plain


def test_keys_do_not_depend_on_the_company_of_a_question() -> None:
    rows = [
        (q, a, b) for q in range(2) for a, b in itertools.permutations(range(COUNT), 2)
    ] * 3  # more than are joined at once
    judge = chat(structured=False)
    requests = list(judge.requests(asked(rows)))
    assert [request.rows for request in requests] == [(n,) for n in range(len(rows))]
    assert len({request.key for request in requests}) == len(rows) // 3
    some = [300, 7, 200]
    again = judge.requests(asked([rows[n] for n in some]))
    assert [request.key for request in again] == [requests[n].key for n in some]
    lazy = judge.requests(asked(rows))
    assert next(lazy).key == requests[0].key
    assert list(judge.requests(asked([]))) == []


@pytest.mark.parametrize("structured", [True, False])
def test_a_score_becomes_a_preference_for_the_document_shown_first(structured: bool) -> None:
    judge = chat(structured=structured)
    request = next(judge.requests(asked([(0, 1, 2)])))
    assert isinstance(request, Asked)
    assert (request.schema is not None) == structured

    def read(value: object, judge: Chat = judge) -> tuple[str, tuple[float, ...], float]:
        text = json.dumps({"thoughts": ["x"], "score": value}) if structured else f"x\n{request.tag}: {value}"
        reading = judge.read(request, said(text))
        return reading.status, reading.p, reading.weight

    assert read(-1) == ("answered", (1.0,), 1.0)
    assert read(0.5) == ("answered", (0.25,), 1.0)
    assert read(0) == ("answered", (0.5,), 1.0)
    assert read(0.1, chat(structured=structured, preference="ternary"))[1] == (0.5,)
    assert read(0.1, chat(structured=structured, preference="sign"))[1] == (0.0,)
    assert read(2) == ("unparseable", (), 1.0)
    for text, status in {"I'm sorry, but I can't.": "refused", "A is better": "unparseable", "": "unparseable"}.items():
        assert judge.read(request, said(text)).status == status
    for status in ("refused", "truncated", "unparseable", "failed", "unsent"):
        reading = judge.read(request, Reply(status=status, text='{"score": 0.5}'))
        assert (reading.status, reading.p) == (status, ())


def test_a_verdict_is_one_token() -> None:
    judge = chat(mode="verdict")
    request = next(judge.requests(asked([(0, 1, 2)])))
    assert (request.schema, request.logprobs, request.tokens_out) == (None, True, 1)
    assert judge.endpoint.parameters["max_tokens"] == 1
    reading = judge.read(request, said("A", logprobs=(("A", math.log(0.6)), ("B", math.log(0.2)))))
    assert reading.p == pytest.approx((0.75,))
    none = judge.read(request, said("A"))  # no log-probabilities, no preference
    assert (none.status, none.shown) == ("unparseable", "A")
    assert none.why.startswith("no log-probabilities came back: set judge.mode=score")
    noise = (("So", -0.58), ("Got", -0.83), ("A", -13.1), ("B", -13.8))
    below = judge.read(request, said("So", logprobs=noise))
    assert (below.status, below.p) == ("unparseable", ())
    assert 'began with "So" (56 %), "Got" (44 %); A and B together 0.0003' in below.shown
    assert "verdict_mass=0.5" in below.why
    assert chat(mode="verdict", verdict_mass=0.0).read(request, said("So", logprobs=noise)).p == pytest.approx(
        (0.668,), abs=1e-3
    )


@pytest.mark.parametrize(
    ("changes", "content", "finish", "p"),
    [
        ({}, '{"thoughts": ["x"], "score": -0.5}', "stop", (0.75,)),
        ({"mode": "verdict"}, "A", "length", (0.75,)),  # one token is all that was asked for
        ({}, '{"thoughts": ["x"], "score": -0.', "length", ()),
        (MESSAGES, "x\nTAG: -0.5", "end_turn", (0.75,)),
        (MESSAGES, "x\nTAG: -0.5", "max_tokens", ()),
    ],
)
def test_over_the_wire(changes: dict[str, Any], content: str, finish: str, p: tuple[float, ...]) -> None:
    judge = chat(**changes)
    request = next(judge.requests(asked([(0, 1, 2)])))
    assert isinstance(request, Asked)
    sent = json.loads(body(judge.endpoint, request))
    assert sent["max_tokens"] == (1 if judge.mode == "verdict" else 512)
    assert ("response_format" in sent) == (judge.structured and judge.mode == "score")
    text = content.replace("TAG", request.tag)
    if judge.api == Messages():
        usage = {"input_tokens": 9, "output_tokens": 9}
        raw = {"content": [{"type": "text", "text": text}], "stop_reason": finish, "usage": usage}
    else:
        top = [{"token": token, "logprob": math.log(value)} for token, value in (("A", 0.6), ("B", 0.2))]
        choice = {
            "message": {"content": text},
            "finish_reason": finish,
            "logprobs": {"content": [top[0] | {"top_logprobs": top}]},
        }
        raw = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}
    reply = read(judge.endpoint, request, 200, {}, json.dumps(raw).encode(), "secret")
    assert isinstance(reply, Reply)
    reading = judge.read(request, reply)
    assert reading.p == pytest.approx(p)
    assert reading.status == ("answered" if p else "truncated")


def test_two_queries_each_with_its_document() -> None:
    judge = chat()
    request = next(judge.requests(asked([(0, 1, 2)], across=[1])))
    places = [request.user.index(text) for text in ("the first query", "body of 1.", "the second query", "body of 2.")]
    assert places == sorted(places)
    assert judge.read(request, said('{"score": -0.5}')).p == (0.75,)
    for mode in ("verdict", "listwise"):
        with pytest.raises(BadInput, match=f"mode={mode} compares within one query"):
            chat(mode=mode).requests(asked([(0, 1, 2)], across=[1]))


def rubric(rows: list[tuple[int, int, int]], repeat: int = 0) -> Questions:
    """rows: (query, document, criterion)."""
    alone = asked([(query, document, document) for query, document, _ in rows], repeat)
    return replace(alone, criterion=np.array([criterion for *_, criterion in rows], np.int16))


def test_a_document_alone_is_asked_about_once_for_all_criteria() -> None:
    judge = chat()
    rows = [(q, d, c) for c in range(CRITERIA) for d in range(COUNT) for q in (1, 0)]
    requests = list(judge.requests(rubric(rows)))
    assert sorted(row for request in requests for row in request.rows) == list(range(len(rows)))
    assert len({request.key for request in requests}) == len(requests) == 2 * COUNT
    for request in requests:
        assert len({rows[row][:2] for row in request.rows}) == 1
        q, d, _ = rows[request.rows[0]]
        assert f"the {('first', 'second')[q]} query\n</query-" in request.user
        assert [n for n in range(COUNT - 1) if f"body of {n}." in request.user] == [d][: d < COUNT - 1]
        assert request.user.count("long ") == (0 if d < COUNT - 1 else 64 * 4 // 5)
        assert request.schema is not None
        assert list(request.schema["properties"]) == ["thoughts", "scores"]
        assert list(request.schema["properties"]["scores"]["properties"]) == ["1", "2", "3", "4", "5"]

        # Whichever criteria are wanted, in whatever order and company: it is the same question, and paid for once.
        some = [(q, d, 4), (1 - q, d, 0), (q, d, 1)]
        again = {request.rows: request for request in judge.requests(rubric(some))}
        assert again[0, 2].key == request.key
        reading = judge.read(again[0, 2], said('{"scores": {"1": 1, "2": 0.75, "3": 0.5, "4": 0.25, "5": 0}}'))
        assert (reading.status, reading.p, reading.weight) == ("answered", (0.0, 0.75), 1.0)

    swapped = rubric(rows).flipped(np.ones(len(rows), bool))
    assert [request.key for request in judge.requests(swapped)] == [request.key for request in requests]
    assert next(judge.requests(rubric(rows, repeat=1))).key not in {request.key for request in requests}
    assert list(judge.requests(rubric([]))) == []
    many = rubric([(n % 2, n % COUNT, c) for n in range(2 * COUNT) for c in (0, 3)] * 40)
    many = replace(many, repeat=(np.arange(len(many)) // (4 * COUNT)).astype(np.int16))  # more than are joined at once
    assert [len(request.rows) for request in judge.requests(many)] == [2] * (len(many) // 2)
    assert np.array_equal(many.take(np.array([1])).criterion, [3])  # type: ignore[arg-type]
    for mode in ("verdict", "listwise"):
        with pytest.raises(BadInput, match=f"mode={mode} compares documents and has no rubric; use mode=score"):
            chat(mode=mode).requests(rubric(rows))


@pytest.mark.parametrize("structured", [True, False])
def test_what_a_document_meets_is_read_as_it_stands_or_not_at_all(structured: bool) -> None:
    judge = chat(structured=structured, preference="sign")  # a rule about scores; these are no scores
    request = next(judge.requests(rubric([(0, 1, c) for c in range(CRITERIA)])))
    assert isinstance(request, Asked)

    def read(scores: object) -> tuple[str, tuple[float, ...]]:
        line = json.dumps({"thoughts": ["x"], "scores": scores} if structured else scores)
        reading = judge.read(request, said(line if structured else f"x\n{request.tag}: {line}"))
        return reading.status, reading.p

    good = {"1": 1, "2": 0.9, "3": 0.5, "4": 0.45, "5": 0}
    assert read(good) == ("answered", (1.0, 0.9, 0.5, 0.45, 0.0))
    assert read(dict(reversed(good.items()))) == read(good)  # by label, not by place
    for bad in (
        {"1": 1, "2": 1, "3": 0, "4": 0},  # four is not five
        good | {"6": 0},
        good | {"5": 1.01},
        good | {"5": -0.1},
        good | {"5": None},
        good | {"5": True},
        good | {"5": "0 or so"},
        good | {"5": math.nan},
        [1, 1, 0, 0, 0],
        0.5,
    ):
        assert read(bad) == ("unparseable", ()), bad
    twice = '{"1": 1, "1": 0, "2": 0, "3": 0, "4": 0, "5": 0}'
    twice = f'{{"scores": {twice}}}' if structured else f"{request.tag}: {twice}"
    replies = {
        "I'm sorry, but I can't.": "refused",
        twice: "unparseable",
        '{"score": 0.5}': "unparseable",
        "": "unparseable",
    }
    for text, status in replies.items():
        reading = judge.read(request, said(text))
        assert (reading.status, reading.p) == (status, ())
    for status in ("refused", "truncated", "unparseable", "failed", "unsent"):
        reading = judge.read(request, Reply(status=status, text=json.dumps({"scores": good})))
        assert (reading.status, reading.p) == (status, ())


def pairs_of(*documents: int, query: int = 0) -> list[tuple[int, int, int]]:
    return [(query, a, b) for a, b in itertools.combinations(documents, 2)]


def relevance(request: Request, of: Callable[[str], float]) -> str:
    """The answer of a model that gives each document of a window what `of` says of its text."""
    shown = [part.split("\n</document-")[0] for part in request.user.split("<document-")[1:]]
    return json.dumps({"thoughts": [], "scores": {part.split("-")[0]: of(part) for part in shown}})


def test_a_window_answers_its_pairs_and_weighs_as_one_comparison_less_than_it_has_documents() -> None:
    judge = chat(mode="listwise", window=5)
    rows = [*pairs_of(0, 1, 2, 3), (1, 5, 4)]
    rows = [(q, b, a) if n % 2 else (q, a, b) for n, (q, a, b) in enumerate(rows)]
    requests = list(judge.requests(asked(rows)))
    assert sorted(len(request.rows) for request in requests) == [1, 6]

    def of(text: str) -> float:
        return next(n for n in range(COUNT) if f"body of {n}." in text) / 10

    for request in requests:
        reading = judge.read(request, said(relevance(request, of)))
        width = 4 if len(request.rows) == 6 else 2
        assert reading.weight == 2 / width
        for row, p in zip(request.rows, reading.p, strict=True):
            assert p == pytest.approx((1 + rows[row][1] / 10 - rows[row][2] / 10) / 2)
        assert judge.read(request, said('{"scores": {"1": 1}}')).status == "unparseable"
        assert request.schema is not None
        assert list(request.schema["properties"]["scores"]["properties"]) == [str(n + 1) for n in range(width)]


def test_windows_do_not_depend_on_the_order_of_rows() -> None:
    judge = chat(mode="listwise", structured=False)
    rows = pairs_of(*range(COUNT)) + pairs_of(2, 3, 4, query=1)

    def asks(order: list[int]) -> dict[bytes, set[tuple[int, int, int]]]:
        requests = judge.requests(asked([rows[n] for n in order]))
        return {request.key: {rows[order[row]] for row in request.rows} for request in requests}

    straight = list(range(len(rows)))
    once = asks(straight)
    assert asks(np.random.default_rng(0).permutation(len(rows)).tolist()) == once
    assert sorted(row for part in once.values() for row in part) == sorted(rows)


def test_a_pair_in_both_orders_is_shown_in_both() -> None:
    judge = chat(mode="listwise")
    rows = pairs_of(0, 1, 2)
    both = list(judge.requests(asked(rows + [(q, b, a) for q, a, b in rows])))
    assert len(both) == 2
    places = [[request.user.index(f"body of {n}.") for n in (0, 1, 2)] for request in both]
    assert np.argsort(places[0]).tolist() == np.argsort(places[1]).tolist()[::-1]
    assert sorted(row for request in both for row in request.rows) == list(range(6))
    for request in both:
        assert isinstance(request, Asked)
        assert all(first < second for first, second in request.pairs)  # here the first document is above the second


def test_windows_are_few_and_cover_each_pair_once() -> None:
    rng = np.random.default_rng(0)
    for n, share, most in ((12, 1.0, 5), (20, 0.4, 6), (15, 0.1, 3), (6, 1.0, 2)):
        pairs = [pair for pair in itertools.permutations(range(n), 2) if rng.random() < share]
        asked = {frozenset(pair) for pair in pairs}
        answered = []
        for shown, labels in windows(*zip(*pairs, strict=True), most):  # type: ignore[arg-type]
            assert 2 <= len(shown) <= most
            assert all(frozenset(pair) in asked for pair in itertools.combinations(shown, 2))
            assert {label for pair in labels.values() for label in pair} == set(range(1, len(shown) + 1))
            for number, (first, second) in labels.items():
                assert pairs[number] == (shown[first - 1], shown[second - 1])
            answered += labels
        assert sorted(answered) == list(range(len(pairs)))
    complete = list(windows(*zip(*itertools.combinations(range(20), 2), strict=True), 10))  # type: ignore[arg-type]
    assert len(complete) <= 10


def test_long_documents_are_cut_at_a_character_and_counted() -> None:
    judge = chat()
    assert judge.cut(asked([(0, 1, 2)])) == 0
    assert judge.cut(asked([(0, 8, 2), (1, 2, 8)])) == 1
    request = next(judge.requests(asked([(0, 8, 2)])))
    assert request.user.count("long ") == 64 * 4 // 5
    window = next(chat(mode="listwise").requests(asked([(0, 8, 2)])))
    assert window.user.count("long ") == 64 * 4 // 5
    wide = DOCUMENTS.slice(0, 2).set_column(2, "text", pa.array(["x" + "\u20ac" * 100, "ok"]))
    questions = Questions(QUERIES, wide, *np.array([[0], [0], [1]], np.int32), repeat=np.zeros(1, np.int16))
    assert next(judge.requests(questions)).user.count("\u20ac") == (64 * 4 - 1) // 3
    assert judge.cut(questions) == 1


def test_prices_come_from_the_fields_then_the_table_and_are_never_guessed() -> None:
    assert chat().endpoint.price == (2e-6, 8e-6)
    assert chat(input_price=0.0).endpoint.price == (0.0, 8e-6)
    assert chat(model="known-2026-01-01").endpoint.price is None
    assert chat(model="unknown", input_price=1.0).endpoint.price is None
    assert chat(model="unknown", base_url="http://127.0.0.1:8000/v1").endpoint.price == (0.0, 0.0)
    for bad, words in (
        ({"input": -1, "output": 1}, "input=-1"),
        ({"input": math.nan, "output": 1}, "input=nan"),
        ({"input": "2", "output": 1}, "input=2"),
        ({"input": 1}, "needs input and output"),
        ({"input": 1, "output": 1, "cached": 1}, "nothing else"),
    ):
        with pytest.raises(BadInput, match=f"mine.*{words}"):
            Prices(date="2026-11-25", source="", models={"mine": bad})  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="date='yesterday'"):
        Prices(date="yesterday", source="", models={})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "pointwise"}, "mode='pointwise'.*score, verdict, listwise"),
        ({"preference": "hard"}, "preference='hard'.*soft, ternary, sign"),
        ({"api": "responses"}, "api='responses'"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": 2.5}, "temperature=2.5 is not from 0 to 2"),
        ({**MESSAGES, "temperature": 1.5}, "temperature=1.5 is not from 0 to 1"),
        ({"api_key_env": "my-key"}, "api_key_env is not the name"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"verdict_mass": 1.0}, "verdict_mass=1.0"),
        ({"top_logprobs": 21}, "top_logprobs=21"),
        ({"token_limit_key": "limit"}, "token_limit_key='limit'.*max_completion_tokens"),
        ({"extra_body": {"messages": []}}, "extra_body.messages: set judge.prompt instead"),
        ({"extra_body": {"model": "x"}}, "extra_body.model: set judge.model instead"),
        ({"extra_body": {"stream": True}}, "extra_body.stream: one whole answer"),
        ({"extra_body": {"temperature": 1}}, "extra_body.temperature: set judge.temperature instead"),
        ({"extra_body": {"a": [{"api_key": "secret"}]}}, "extra_body.a.0.api_key looks like a key"),
        ({"extra_body": {"user": "sk-secret-0123456789"}}, "extra_body.user looks like a key"),
        (
            {"base_url": "https://api.example.org/v1?api-version=1&api-key=secret"},
            r"in its query string \(api-key=\.\.\.\)",
        ),
        ({"base_url": "https://api.example.org/v1?sig=secret"}, "in its query string"),
        ({"base_url": "https://api.example.org/v1#secret"}, "must end before the #"),
        ({"window": 1}, "window=1"),
        ({"document_tokens": 3}, "document_tokens=3"),
        ({"instruction": None}, "instruction=None"),
        ({"model": " "}, "model is empty"),
        ({"model": "???"}, "model is empty"),
        ({"provider": ""}, "provider is empty"),
        ({"base_url": ""}, "base_url is empty"),
        ({"base_url": "api.example.org"}, "is no address"),
        ({"base_url": "https://user:secret@api.example.org/v1"}, "user or password"),
        ({"input_price": -1.0}, "input_price=-1.0"),
        ({"prompt": "pairwise"}, "no prompt 'pairwise'"),
        ({"prompt": "pairwise_verdict"}, r"lacks the section \[structured\]"),
        ({"prompt": "listwise"}, r"has the field \{documents\}"),
        ({"mode": "verdict", "prompt": "pairwise_thinking"}, r"longer answer in \[structured\]"),
        ({"mode": "listwise", "prompt": "pairwise_thinking"}, r"has the field \{document_a\}"),
        ({"cross_prompt": "pairwise_thinking"}, r"has the field \{query\}"),
        ({"rubric_prompt": "listwise"}, r"has the field \{documents\}"),
        ({"rubric_prompt": "rubric"}, "no prompt 'rubric'"),
        ({**MESSAGES, "mode": "verdict"}, "log-probabilities"),
        ({"api": Messages()}, "structured=true"),
        ({**MESSAGES, "seed": 1}, "seed=1"),
        ({**MESSAGES, "reasoning_effort": "low"}, "reasoning_effort=low"),
    ],
)
def test_bad_input(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=f"(?s)judge chat: .*{words}") as caught:
        chat(**changes)
    assert "secret" not in str(caught.value)


def test_the_words_of_a_prompt_are_identity_its_path_is_not(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("[user]\n{query} {document_a} {document_b}\n[structured]\nJSON\n")
    (tmp_path / "same.txt").write_text("A remark.\n[user]\n{query} {document_a} {document_b}\n\n[structured]\nJSON\n")
    mine, same = (chat(prompt=str(tmp_path / f"{name}.txt")).content() for name in ("mine", "same"))
    assert mine == same != chat().content()
    assert chat(prompt="pairwise_thinking").content() == chat().content()
    assert chat(mode="verdict").content() == chat(mode="verdict", cross_prompt="anything", rubric_prompt="").content()
    (tmp_path / "alone.txt").write_text("[user]\n{query} {document}\n[structured]\nJSON\n")
    own = chat(rubric_prompt=str(tmp_path / "alone.txt"))
    assert own.content().keys() == chat().content().keys() == {"prompt", "cross_prompt", "rubric_prompt"}
    assert own.content() != chat().content()
    keys = [
        {next(judge.requests(of)).key for judge in (own, chat())} for of in (asked([(0, 1, 2)]), rubric([(0, 1, 2)]))
    ]
    assert [len(key) for key in keys] == [1, 2]  # what was paid for by pairs stays theirs


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("anthropic", {"claude-sonnet-5-5"}),
        ("frontier", {"gpt-6.1-sol", "gemini-3.8-flash", "claude-sonnet-5-5"}),
        (
            "open_models",
            {
                "Qwen/Qwen3-30B-A3B-Instruct-2507",
                "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
                "google/gemma-3-27b-it",
            },
        ),
    ],
)
def test_the_options_that_come_with_it(option: str, names: set[str], component: Callable[..., Any]) -> None:
    judge = component(f"judge/{option}")
    members = list(judge.members.values()) if hasattr(judge, "members") else [judge]
    assert {member.model for member in members} == names
    for member in members:
        endpoint = member.endpoint
        assert isinstance(endpoint, Endpoint)
        assert endpoint.price is not None, f"{member.model} has no price"
        assert endpoint.local == (option == "open_models")
        request = next(member.requests(asked([(0, 1, 2)])))
        assert member.read(request, Reply(status="failed")).status == "failed"
    assert component("judge/chat", model="gpt-4.1-2025-04-14").endpoint.price == (2e-6, 8e-6)
