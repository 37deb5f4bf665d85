"""Vectors of hosted models, over HTTP on loopback: they belong to their texts, or there is no search; no text is paid twice."""

import sqlite3
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from components import component
from embedding_server import AMISS, TOKENS, EmbeddingServer, vector
from paid_judge import budget, new_command

from zelo.datasets.synthetic import Synthetic
from zelo.errors import BadInput, LimitReached, PriceUnknown
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Caps, Granted, Known, Reserve
from zelo.ledger.place import FILE
from zelo.queries.from_text import FromText
from zelo.records import DOCUMENT, QUERY
from zelo.retrievers.bm25 import Bm25
from zelo.retrievers.fusion import Fusion
from zelo.stages.baseline import Baseline
from zelo.stages.make_queries import MakeQueries
from zelo.stages.retrieve import Retrieve
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware

CPU = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "micro_batch": None,
}
KEY = "sk-very-secret-key-0123456789"
QUERIES = ["apple bread", "cheese", "dill egg"]
TEXTS = ["apple", "bread apple corn", "cheese", "dill dill", "egg fig", "cheese egg", "apple"]  # one text twice
PATHS = {
    "api": "/v1/embeddings",
    "api_voyage": "/v1/embeddings",
    "api_jina": "/v1/embeddings",
    "api_cohere": "/v2/embed",
}
# option -> what is said of a query and of a document
SIDES = {
    "api": (None, None, None),
    "api_local": (None, None, None),
    "api_voyage": ("input_type", "query", "document"),
    "api_jina": ("task", "retrieval.query", "retrieval.passage"),
    "api_cohere": ("input_type", "search_query", "search_document"),
}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOME_KEY", KEY)
    new_command(monkeypatch)


@lru_cache
def as_shipped(option: str) -> Any:
    return component(f"retriever/{option}", model="m", api_key_env="SOME_KEY", retries=1)


def api(server: EmbeddingServer, option: str = "api", **changes: Any) -> Any:
    base = f"http://127.0.0.1:{server.port}{'/v2' if option == 'api_cohere' else '/v1'}"
    return replace(as_shipped(option), **{"base_url": base, "texts_per_request": 4} | changes)


def tables(folder: Path, queries: list[str] = QUERIES, texts: list[str] = TEXTS) -> dict[str, Table]:
    folder.mkdir(exist_ok=True)
    asked = pa.table([[f"q{n}" for n in range(len(queries))], queries, ["test"] * len(queries)], schema=QUERY)
    read = pa.table([[f"d{n}" for n in range(len(texts))], [""] * len(texts), texts], schema=DOCUMENT)
    write_parquet(asked, QUERY, folder, "queries")
    write_parquet(read, DOCUMENT, folder, "documents")
    return {"data": Table("load", "", folder, {"name": "letters"})}


def stage(retriever: Any, **changes: Any) -> Retrieve:
    fields = {"inputs": {"data": "load"}, "top_k": 3, "splits": ["test"], "keep_own_document": True, "budget": budget()}
    return Retrieve(retriever=retriever, **fields | changes)


def run(one: Any, folder: Path, **data: Any) -> tuple[Any, list[dict[str, Any]]]:
    """(facts, candidates) of the stage, with its checks."""
    out = folder / f"out{len(list(folder.iterdir()))}"
    out.mkdir()
    one.check()
    facts = one.run(tables(folder / "data", **data), out)
    return facts, Table("retrieve", "", out, {}).read("candidates").to_pylist()


def nearest(query: str, texts: list[str] = TEXTS) -> list[tuple[str, float]]:
    """Ids and cosines of the three best, by the plain definition."""
    left = vector(query) / np.linalg.norm(vector(query))
    cosines = {f"d{n}": float(left @ vector(text) / np.linalg.norm(vector(text))) for n, text in enumerate(texts)}
    return sorted(cosines.items(), key=lambda one: (-round(one[1], 5), one[0]))[:3]


@pytest.mark.parametrize("option", SIDES)
def test_vectors_belong_to_their_texts_in_every_form(option: str, tmp_path: Path) -> None:
    key, *values = SIDES[option]
    with EmbeddingServer() as server:
        one = api(server, option, query_prefix="find: " * (option == "api_local"))
        facts, found = run(stage(one), tmp_path)
        assert {seen.path for seen in server.seen} == {PATHS.get(option, "/v1/embeddings")}
        told = sorted({str(seen.body.get(key)) for seen in server.seen}) if key else []
        assert told == sorted(values if key else [])
        assert {seen.key for seen in server.seen} == {KEY}
        sent = [text for seen in server.seen for text in seen.body.get("texts", seen.body.get("input", []))]
    prefix = "find: " * (option == "api_local")
    texts = [*QUERIES, *{*TEXTS}] if key else {prefix + query for query in QUERIES} | {*TEXTS}
    assert sorted(sent) == sorted(texts), "each text once, and cheese on both sides where these differ"
    for number, query in enumerate(QUERIES):
        rows = [(row["doc_id"], row["score"]) for row in found if row["query_id"] == f"q{number}"]
        expected = nearest(prefix + query)
        assert [score for _, score in rows] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert facts["asked"][one.name]["calls"] == len(server.seen)
    with sqlite3.connect(tmp_path / "home" / FILE) as ledger:
        rows = ledger.execute("SELECT kind, provider, tokens_in FROM entry").fetchall()
    assert {row[:2] for row in rows} == {("embed", one.provider)}
    assert sum(row[2] for row in rows) == TOKENS * len(server.seen), "each text has its share of a call's tokens"
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_text_is_paid_for_once_whatever_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddingServer() as server:
        one = api(server, texts_per_request=2, concurrency=1, input_price=1.0)
        (plan,) = stage(one).plan(tables(tmp_path / "data"))
        assert (plan.pairs, plan.known, plan.calls) == (8, 0, 5), "cheese and apple stand there twice"
        assert (plan.unit, plan.key) == ("texts", "retriever")
        assert not server.seen
        with pytest.raises(LimitReached, match=r"budget\.calls: 2 of 2 are spent"):
            run(stage(one, budget=budget(calls=2)), tmp_path)
        assert len(server.seen) == 2
        new_command(monkeypatch)
        (plan,) = stage(one).plan(tables(tmp_path / "data"))
        assert (plan.known, plan.calls) == (3, 3)
        run(stage(one), tmp_path)
        more = [*TEXTS, "grape"]
        run(stage(one), tmp_path, texts=more)
        sent = [text for seen in server.seen for text in seen.body["input"]]
        assert len(sent) == len(set(sent)), "a text more is one text more"
        with Ledger(tmp_path / "home" / FILE) as ledger:
            keys = tuple(entry.key for batch in ledger.entries(10) for entry in batch)
            wanted = Reserve(b"a batch of texts", "openai", "m", "embed", 0, 1, 0.0, Caps("command"), parts=keys)
            assert ledger.write([wanted]) == [Known()], "another process has got them meanwhile"
            assert isinstance(ledger.write([replace(wanted, parts=(*keys, b"new"))])[0], Granted)
        far = replace(one, base_url="https://far.example.org/v1", input_price=None, model="x")
        with pytest.raises(PriceUnknown, match=r"Set retriever\.input_price \(dollars per million tokens\), or"):
            run(stage(far, budget=budget(usd=1.0)), tmp_path)


def test_a_reply_with_a_fault_is_no_vector(tmp_path: Path) -> None:
    faults = {
        **dict.fromkeys(("fewer", "more"), "another number of vectors than of texts"),
        "twice": "a text has two vectors",
        "no_index": "a vector has no index",
        "nan": "a vector is empty, or has what is no number",
        "zeros": "a vector has zeros only",
        "short": "vectors of one reply differ",
    }
    assert faults.keys() == AMISS.keys()
    with EmbeddingServer() as server:
        for kind, words in faults.items():
            server.plan = lambda _, kind=kind: kind
            with pytest.raises(LimitReached, match=rf"8 of 8 texts have no vector: 8 unparseable.* {words}") as caught:
                run(stage(api(server, model=kind, texts_per_request=3)), tmp_path)
            assert "\n" not in str(caught.value)
        with Ledger(tmp_path / "home" / FILE) as ledger:
            assert not list(ledger.entries(10)), "what could not be read is asked again"
            assert ledger.spent("lifetime").calls == len(server.seen)
        server.plan = lambda _: "http_500"
        with pytest.raises(LimitReached, match="texts have no vector: 8 failed"):
            run(stage(api(server, model="down")), tmp_path)
        server.plan = lambda _: "http_401"
        with pytest.raises(BadInput, match="Check the key in SOME_KEY") as caught:
            run(stage(api(server, model="locked")), tmp_path)
        assert KEY not in str(caught.value)
        server.plan = lambda _: "ok"
        run(stage(api(server, model="changed")), tmp_path)
        server.narrow = True
        with pytest.raises(BadInput, match=r"gives vectors of 13 numbers, and of 26: another model answers"):
            run(stage(api(server, model="changed")), tmp_path, texts=[*TEXTS, "grape"])


def test_it_is_a_member_of_a_fusion_and_a_baseline(tmp_path: Path) -> None:
    bm25 = Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None)
    with EmbeddingServer() as server:
        one = api(server)
        fused = stage(Fusion(members={"bm25": bm25, "far": one}, depth=5, constant=60))
        assert not fused.cheap
        assert list(fused.paid) == ["far"]
        (plan,) = fused.plan(tables(tmp_path / "data"))
        assert plan.key == "retriever.members.far"
        facts, found = run(fused, tmp_path)
        assert facts["notes"][0].startswith("embedding far: ")
        assert found[0]["doc_id"] == "d1"
        calls = len(server.seen)
        out = tmp_path / "scored"
        out.mkdir()
        (tmp_path / "first").mkdir()
        first = pa.Table.from_pylist(
            [
                {"query_id": "q0", "doc_id": "d5", "rank": 0, "score": 2.0},
                {"query_id": "q0", "doc_id": "d1", "rank": 1, "score": 1.0},
            ]
        )
        write_parquet(first, first.schema, tmp_path / "first", "candidates")
        fields = {"inputs": {}, "splits": ["test"], "top_k": 2, "keep_own_document": True, "budget": budget()}
        baseline = Baseline(scorer=replace(one, model="other"), hardware=Hardware(**CPU), **fields)
        given = tables(tmp_path / "data") | {"candidates": Table("retrieve", "", tmp_path / "first", {})}
        (plan,) = baseline.plan(given)
        assert (plan.pairs, plan.calls, plan.key) == (3, 2, "scorer"), "of a baseline only what it scores"
        baseline.run(given, out)
        scores = {row["doc_id"]: row["score"] for row in Table("baseline", "", out, {}).read("scored").to_pylist()}
        expected = dict(nearest(QUERIES[0]))["d1"]
        assert scores["d1"] == pytest.approx(expected, abs=1e-6)
        assert scores["d5"] < scores["d1"]
        assert len(server.seen) == calls + 2
        data = tables(tmp_path / "data")["data"]
        with pytest.raises(BadInput, match=r"3 or more of 3 texts have no vector in the ledger"):
            replace(one, model="unasked").search(data.read("queries"), data.read("documents"), 2)


def test_made_queries_are_searched_with_it(tmp_path: Path) -> None:
    texts = [f"Here is what {letter}{letter}a and {letter}o are like in {letter}." for letter in "abcdef"]
    maker = FromText(most=4, mix=False, top_k=1, per_document=1, seed=0)
    with EmbeddingServer() as server:
        fields = {"inputs": {}, "dataset": Synthetic(queries=1, documents=2), "budget": budget()}
        one = MakeQueries(maker=maker, retriever=api(server, "api_voyage"), **fields)
        assert (one.cheap, list(one.paid)) == (False, ["voyage"])
        data = tables(tmp_path / "data", [], texts)
        (plan,) = one.plan(data)
        assert (plan.pairs, plan.calls) == (6, 2), "how many queries will be searched is not known yet"
        (tmp_path / "out").mkdir()
        facts = one.run(data, tmp_path / "out")
    sent = [(seen.body["input_type"], text) for seen in server.seen for text in seen.body["input"]]
    assert sorted(text for side, text in sent if side == "document") == texts
    assert facts["made_queries"]["queries"] == 4
    assert facts["notes"][2].startswith("embedding voyage: ")


def test_what_cannot_be_asked_is_one_line() -> None:
    with EmbeddingServer() as server:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"model": "???"}, "model is empty"),
            ({"texts_per_request": 0}, "texts_per_request=0 is too small"),
            ({"tokens_per_request": 9}, "tokens_per_request=9 has no room"),
            ({"extra_body": {"input": []}}, r"extra_body\.input: the retriever fills"),
        ]
        for changes, said in wrong:
            with pytest.raises(BadInput, match=said):
                api(server, **changes)
        with pytest.raises(BadInput, match=r"api\.side=input_type, api\.query=None"):
            replace(as_shipped("api").api, side="input_type")
