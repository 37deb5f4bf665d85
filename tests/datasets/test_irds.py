"""data=irds:ID: what ir_datasets has of an id is read, kept in the store, and each fault is one line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ir_datasets
import pytest
import yaml
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericQrel, GenericQuery

from zelo.datasets.auto import Auto
from zelo.errors import BadInput
from zelo.records import DEV, TEST, TRAIN

CONF = yaml.safe_load((Path(__file__).parents[2] / "conf/dataset/auto.yaml").read_text())


class Titled(NamedTuple):
    doc_id: str
    title: str
    body: str

    def default_text(self) -> str:
        """As most documents of the package say it."""
        return f"{self.title} {self.body}"


class Code(NamedTuple):
    """As of the few collections without a default text."""

    doc_id: str
    code: str
    png: bytes


class Topic(NamedTuple):
    query_id: str
    title: str
    description: str

    def default_text(self) -> str:
        return self.title


class Docs(BaseDocs):
    def __init__(self, *documents: Titled | Code) -> None:
        self.documents = documents
        self.read = 0

    def docs_iter(self) -> Iterator[Titled | Code]:
        """The documents one after the other."""
        self.read += 1
        yield from self.documents

    def docs_cls(self) -> type:
        return type(self.documents[0])


class Queries(BaseQueries):
    def __init__(self, *ids: str, record: type = GenericQuery) -> None:
        self.ids, self.record = ids, record

    def queries_iter(self) -> Iterator[Any]:
        more = ["at length"] * (self.record is Topic)
        yield from (self.record(name, f"query {name}", *more) for name in self.ids)

    def queries_cls(self) -> type:
        return self.record


class Qrels(BaseQrels):
    def __init__(self, *judged: tuple[str, str, int]) -> None:
        self.judged = judged

    def qrels_iter(self) -> Iterator[GenericQrel]:
        yield from (GenericQrel(*row) for row in self.judged)


class Offline(BaseDocs):
    def docs_iter(self) -> Iterator[Titled]:
        raise ConnectionError("HTTPSConnectionPool(host='public.ukp')\nMax retries exceeded")


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docs:
    """Ids that begin with `law`, as the package registers its own; an empty store."""
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ir_datasets.registry, "_registered", dict(ir_datasets.registry._registered))
    docs = Docs(Titled("d1", "one", "first"), Titled("d2", "", "second"), Titled("d3", "third", ""))
    every = ("d1", 1), ("d2", 0)
    ids: dict[str, list[Any]] = {
        "law": [docs],  # queries by split below, as of antique or msmarco-passage
        "law/train": [docs, Queries("t1", "t2"), Qrels(*(("t1", *row) for row in every))],
        "law/dev": [docs, Queries("v1"), Qrels(*(("v1", *row) for row in every))],
        "law/test": [docs, Queries("e1"), Qrels(*(("e1", *row) for row in every))],
        "whole": [docs, Queries("t1", "t2", "e1"), Qrels(("t1", "d1", 1), ("e1", "d1", 1))],  # as of mr-tydi
        "whole/train": [docs, Queries("t1", "t2"), Qrels(("t1", "d1", 1))],
        "whole/test": [docs, Queries("e1"), Qrels(("e1", "d1", 1))],
        "topics": [Queries("e1", "e2", record=Topic)],
        "code": [Docs(Code("c1", "def one(): ...", b""), Code("c2", "def two(): ...", b""))],
        "far": [Offline()],
    }
    for name, parts in ids.items():
        ir_datasets.registry.register(name, Dataset(*parts))
    return docs


def auto(path: str | None, **fields: Any) -> Auto:
    config = CONF | {"path": path} | fields
    return Auto(**{key: value for key, value in config.items() if key != "_target_"})


def splits(dataset: Auto) -> dict[str, str]:
    queries = dataset.load().queries
    return dict(zip(queries["query_id"].to_pylist(), queries["split"].to_pylist(), strict=True))


def judged(dataset: Auto) -> list[tuple[str, str, int]]:
    corpus = dataset.load()
    rows, _ = dataset.judgements(corpus.queries, corpus.documents)
    return [(row["query_id"], row["doc_id"], row["relevance"]) for row in rows.to_pylist()]


def test_an_id_names_a_split_and_one_above_it_all_of_them(docs: Docs) -> None:
    dataset = auto("irds:law/test")
    corpus = dataset.load()
    assert [tuple(row.values()) for row in corpus.documents.to_pylist()] == [
        ("d1", "one", "first"), ("d2", "", "second"), ("d3", "third", ""),
    ]  # fmt: skip
    assert (corpus.name, splits(dataset)) == ("law/test", {"e1": TEST})
    assert corpus.notes[0] == "irds:law: 3 documents; irds:law/test: 1 query; judgements: irds:law/test"
    assert judged(dataset) == [("e1", "d1", 1), ("e1", "d2", 0)]
    assert not dataset.has_train_queries()

    law = auto("irds:law")
    assert splits(law) == {"t1": TRAIN, "t2": TRAIN, "v1": DEV, "e1": TEST}
    assert {row[0] for row in judged(law)} == {"v1", "e1"}
    assert set(law.train_qrels(law.load().queries, corpus.documents)[0]["query_id"].to_pylist()) == {"t1"}
    assert law.content()["documents"] == dataset.content()["documents"]
    assert law.content() != dataset.content()
    assert docs.read == 1  # kept in the store, for all ids that share them


def test_queries_and_judgements_may_have_ids_of_their_own(docs: Docs) -> None:
    whole = auto("irds:whole")
    assert splits(whole) == {"t1": TRAIN, "t2": DEV, "e1": TEST}  # a dev query is made by hash, as in a folder
    assert {row[0] for row in judged(whole)} == {"e1"}
    places = ["irds:law/dev", "irds:whole"]
    parts = auto(None, documents="irds:law", queries=places, qrels=["irds:law/dev", "irds:whole/test"])
    assert splits(parts) == {"v1": DEV, "t1": TRAIN, "t2": TRAIN, "e1": TEST}
    assert {row[0] for row in judged(parts)} == {"v1", "e1"}
    assert parts.load().name == "law"


def test_fields_that_are_no_default_text_are_named_as_columns(docs: Docs) -> None:
    of = {"documents": "irds:code", "queries": "irds:topics"}
    assert auto(None, **of).load().queries["text"].to_pylist() == ["query e1", "query e2"]
    corpus = auto(None, **of, columns=CONF["columns"] | {"query": "description"}).load()
    assert corpus.queries["text"].to_pylist() == ["at length", "at length"]
    assert corpus.documents["text"].to_pylist() == ["def one(): ...", "def two(): ..."]
    assert "irds:code: 2 documents (text is 'code')" in corpus.notes[0]


# fields -> words of the one line
BAD: list[tuple[dict[str, str | None], list[str]]] = [
    ({"path": "irds:law/tst"}, ["irds:law/tst: ir_datasets", "no such id; did you mean law/test"]),
    ({"path": "irds:"}, ["no such id", "https://ir-datasets.com"]),
    ({"path": "ir:law/test"}, ["dataset.path=ir:law/test", "no prefix ir:", "irds:ID one of ir_datasets"]),
    ({"path": "law/test"}, ["law/test does not exist", "irds:law/test one of ir_datasets"]),
    ({"path": "irds:topics"}, ["dataset.path=irds:topics: no documents were found"]),
    ({"path": "irds:law", "queries": "irds:far"}, ["irds:far: ir_datasets has no queries of this id"]),
    ({"path": "irds:law", "qrels": "irds:topics"}, ["irds:topics: ir_datasets has no qrels of this id"]),
    (
        {"path": "irds:far"},
        ["irds:far: ir_datasets cannot read the documents (ConnectionError: HTTPS", "check the network"],
    ),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_each_fault_is_one_line(fields: dict[str, Any], words: list[str], docs: Docs) -> None:
    with pytest.raises(BadInput) as caught:
        auto(**fields).load()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(BadInput, match=r"irds:beir/scifact needs the package ir_datasets.*pip install 'zelo\[irds\]'"):
        auto("irds:beir/scifact").content()
