"""Hosted rerankers of every form, over HTTP: scores belong to their documents, or there are none; nothing is paid twice."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from components import component
from fake_server import FakeServer
from paid_judge import ask, budget, new_command
from rerank_server import AMISS, USAGE, RerankServer, shared

from zelo.errors import BadInput, LimitReached
from zelo.ledger.place import FILE
from zelo.providers.rerank import OVERHEAD
from zelo.records import DOCUMENT, QUERY, Questions

KEY = "sk-very-secret-key-0123456789"
QUERIES = ["red green", "blue"]
TEXTS = ["red", "a green and red thing", "blue sky", "nothing at all", "green"]
# option -> (path, keys of the body)
FORMS = {
    "cohere": ("/v2/rerank", {"model", "query", "documents", "top_n"}),
    "jina": ("/v1/rerank", {"model", "query", "documents", "top_n", "return_documents"}),
    "vllm": ("/v1/rerank", {"model", "query", "documents", "top_n"}),
    "voyage": ("/v1/rerank", {"model", "query", "documents", "top_k", "return_documents"}),
    "zeroentropy": ("/v1/models/rerank", {"model", "query", "documents", "top_n"}),
    "infinity": ("/rerank", {"model", "query", "documents", "top_n", "return_documents"}),
    "tei": ("/rerank", {"query", "texts", "truncate", "raw_scores"}),
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOME_KEY", KEY)
    new_command(monkeypatch)


def hosted(option: str, server: FakeServer, **changes: Any) -> Any:
    path = FORMS[option][0].removesuffix("/rerank").removesuffix("/models")
    fields = {"base_url": f"http://127.0.0.1:{server.port}{path}", "model": "m", "api_key_env": None, "retries": 1}
    return component(f"scorer/{option}", **fields | changes)


def pairs(queries: list[str] = QUERIES, texts: list[str] = TEXTS) -> Questions:
    """Every text for every query, the later query first."""
    names = [f"q{n}" for n in range(len(queries))]
    table = pa.table([names, queries, ["test"] * len(queries)], schema=QUERY)
    documents = pa.table([[f"d{n}" for n in range(len(texts))], [""] * len(texts), texts], schema=DOCUMENT)
    query, document = np.divmod(np.arange(len(queries) * len(texts), dtype=np.int32)[::-1], len(texts))
    return Questions(table, documents, query, document, document, np.zeros(len(query), np.int16))


@pytest.mark.parametrize("option", FORMS)
def test_scores_belong_to_their_documents_in_every_form(option: str, tmp_path: Path) -> None:
    asked = pairs()
    with RerankServer() as server:
        scorer = hosted(option, server, api_key_env="SOME_KEY", documents_per_request=3)
        outcomes, figures = ask(budget(), scorer, asked)
        assert [seen.path for seen in server.seen] == [FORMS[option][0]] * 4, "two queries in parts of 3 and 2"
        assert {frozenset(seen.body) for seen in server.seen} == {frozenset(FORMS[option][1])}
        assert {seen.key for seen in server.seen} == {KEY}
        again, _ = ask(budget(), scorer, asked)
        assert len(server.seen) == 4, "what the ledger has is not asked again"
    expected = [shared(*one) for one in zip(asked.query_texts(), asked.texts_a(), strict=True)]
    assert outcomes.p == pytest.approx(expected)
    assert again.p.tolist() == outcomes.p.tolist()
    assert figures["calls"] == 4
    with sqlite3.connect(tmp_path / "home" / FILE) as ledger:
        rows = ledger.execute("SELECT kind, provider, tokens_in FROM entry").fetchall()
    assert [row[:2] for row in rows] == [("rerank", option)] * 4
    if option in ("cohere", "tei"):  # which say nothing of tokens
        assert all(row[2] > USAGE["total_tokens"] or row[2] > OVERHEAD for row in rows)
    else:
        assert {row[2] for row in rows} == {USAGE["total_tokens"]}
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())


@pytest.mark.parametrize("option", ["cohere", "tei"])
def test_a_reply_with_a_fault_is_no_score(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {
        "missing": "a document has no result",
        "nothing": "a document has no result",
        "twice": "a document has two results",
        **dict.fromkeys(("one_more", "index_negative", "index_words"), "an index that is no document's"),
        **dict.fromkeys(("nan", "infinite", "null", "words"), "a score is no number"),
    }
    assert faults.keys() == AMISS.keys()
    with RerankServer() as server:
        for number, (kind, words) in enumerate(faults.items()):
            server.plan = lambda _, kind=kind: kind
            outcomes, figures = ask(budget(), hosted(option, server, model=f"m{number}"), pairs())
            assert np.isnan(outcomes.p).all(), kind
            assert set(outcomes.status.to_pylist()) == {"unparseable"}
            assert words in figures["unread"][0]["why"], kind
        calls = len(server.seen)
        server.plan = lambda _: "ok"
        kept, _ = ask(budget(), hosted(option, server, model="m0"), pairs())
        assert np.isnan(kept.p).all(), "the reply was paid for and is read again"
        assert len(server.seen) == calls
        new_command(monkeypatch)
        better, _ = ask(budget(ask_again=["unparseable"]), hosted(option, server, model="m0"), pairs())
        assert not np.isnan(better.p).any()


def test_faults_of_the_network_are_tried_again_and_never_scores() -> None:
    kinds = ["http_429", "http_500", "bad_json", "no_results", "html_in_200", "error_in_200"]
    with RerankServer() as server:
        for number, kind in enumerate(kinds):
            first = len(server.seen)
            server.plan = lambda seen, kind=kind, first=first: kind if seen.number == first else "ok"
            outcomes, figures = ask(budget(), hosted("voyage", server, model=f"m{number}"), pairs(QUERIES[:1]))
            assert figures["retries"] == 1, kind
            assert not np.isnan(outcomes.p).any()
        server.plan = lambda _: "http_500"
        outcomes, _ = ask(budget(), hosted("voyage", server, model="down"), pairs())
        assert set(outcomes.status.to_pylist()) == {"failed"}
        server.plan = lambda _: "http_401"
        with pytest.raises(BadInput, match=r"reranker voyage: .* answered 401 .*Check the key in SOME_KEY") as caught:
            ask(budget(), hosted("voyage", server, model="locked", api_key_env="SOME_KEY"), pairs())
        assert KEY not in str(caught.value)


def test_a_search_and_a_token_have_their_price() -> None:
    with RerankServer() as server:
        by_search = hosted("cohere", server, search_price=2.0)
        (plan,) = budget().plans({"cohere": (by_search, [pairs()])})
        assert (plan.calls, plan.usd, plan.most_usd) == (2, pytest.approx(0.004), pytest.approx(0.004))
        _, figures = ask(budget(usd=0.004), by_search, pairs())
        assert figures["usd"] == pytest.approx(0.004)
        assert not figures["faults"], "who bills searches need not count tokens"
        long = pairs(["red"], ["green " * 700] * 100)  # 4,200 bytes, 1,050 tokens or so: three parts each
        (plan,) = budget().plans({"cohere": (hosted("cohere", server, search_price=2.0), [long])})
        assert plan.usd == pytest.approx(3 * 0.002)
        assert plan.most_usd == pytest.approx(9 * 0.002)
        by_token = hosted("voyage", server, input_price=0.05)
        _, figures = ask(budget(), by_token, pairs())
        assert figures["usd"] == pytest.approx(2 * USAGE["total_tokens"] * 0.05e-6)
        with pytest.raises(LimitReached, match=r"budget.usd: .*\$0.002"):
            ask(budget(usd=0.003), hosted("cohere", server, search_price=2.0, model="other"), pairs())
        with pytest.raises(BadInput, match="reranker cohere costs money and there is no budget"):
            ask(budget(usd=None), hosted("cohere", server, search_price=2.0, model="third"), pairs())
        far = hosted("cohere", server, base_url="https://example.com/v2", model="fourth")
        with pytest.raises(BadInput, match=r"input_price \(dollars per million tokens\) or judge.search_price"):
            ask(budget(usd=1.0), far, pairs())


def test_the_same_documents_are_the_same_request_wherever_they_stand() -> None:
    with RerankServer() as server:
        scorer, asked = hosted("jina", server), pairs()
        keys = {request.key for request in scorer.requests(asked)}
        turned = asked.take(np.arange(len(asked))[::-1])
        assert {request.key for request in scorer.requests(turned)} == keys
        assert {
            request.key for request in hosted("jina", server, base_url="https://x.example/v1").requests(asked)
        } == keys
        for change in ({"model": "other"}, {"document_tokens": 16}, {"extra_body": {"truncate": 1}}):
            texts = [*TEXTS, "word " * 40]
            before = {request.key for request in scorer.requests(pairs(texts=texts))}
            assert not before & {
                request.key for request in hosted("jina", server, **change).requests(pairs(texts=texts))
            }


@pytest.mark.parametrize(
    ("option", "changes", "words"),
    [
        ("cohere", {"model": ""}, "reranker cohere: model is empty"),
        ("cohere", {"input_price": 1.0, "search_price": 1.0}, "billed by one of them"),
        ("cohere", {"search_price": -1.0}, "US dollars per thousand searches"),
        ("voyage", {"extra_body": {"top_k": 3}}, r"extra_body.top_k: the reranker fills this key itself"),
        ("cohere", {"documents_per_request": 0}, "documents_per_request=0 is too small"),
        ("cohere", {"api_key_env": KEY}, "api_key_env is not the name of an environment variable"),
        ("tei", {"base_url": "localhost:8080"}, "is no address"),
        ("cohere", {"api_key_env": "NOT_THERE"}, "reranker cohere: the environment variable NOT_THERE.*is not set"),
    ],
)
def test_bad_input(option: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){words}") as caught:  # noqa: PT012 (most are refused when it is made)
        scorer = component(f"scorer/{option}", **{"model": "m"} | changes)
        budget().check(scorer.endpoint)
    assert KEY not in str(caught.value)
