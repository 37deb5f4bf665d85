"""The contract of the dataset family, once for each yaml; bad input, line by line; and the documentation of this Python."""

import importlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from paid_judge import budget

from zelo.datasets import pydocs
from zelo.datasets.auto import Auto
from zelo.datasets.beir import Beir
from zelo.datasets.judgements import at_home, read_named
from zelo.datasets.layout import split_queries
from zelo.datasets.pydocs import Pydocs
from zelo.datasets.synthetic import Synthetic
from zelo.domains import with_domain
from zelo.errors import BadInput, ZeloError
from zelo.protocols import Dataset
from zelo.records import DEV, DOCUMENT, QREL, QUERY, SPLITS, TEST, TRAIN, Corpus
from zelo.retrievers.run import Run
from zelo.stages.labels import Labels
from zelo.stages.load import Load, without_leaks
from zelo.stages.load_test_set import LoadTestSet
from zelo.stages.retrieve import Retrieve
from zelo.stages.train_labels import TrainLabels
from zelo.store.table import Table

CONF = Path(__file__).parents[2] / "conf" / "dataset"
COMPLETE = {(3, 11, 7), (3, 12, 1), (3, 13, 0)}  # CPython versions that are known to document every judged id

HEADER = "query-id\tcorpus-id\tscore\n"
CORPUS = [{"_id": f"d{n}", "title": f"title {n}", "text": f"text {n}"} for n in range(4)]
QUERIES = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(24)]


def write(folder: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """A small folder in BEIR layout, with these files in place of its own; None takes one away."""
    lines = {name: "".join(json.dumps(r) + "\n" for r in rs) for name, rs in (("corpus", CORPUS), ("queries", QUERIES))}
    default = {
        "corpus.jsonl": lines["corpus"],
        "queries.jsonl": lines["queries"],
        "qrels/test.tsv": HEADER + "q0\td0\t1\nq1\td3\t0\n",
        "qrels/dev.tsv": HEADER + "q2\td1\t2\n",
    }
    for name, content in {**default, **files}.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def beir(folder: Path | str, **fields: Any) -> Beir:
    """The dataset of a folder, every field but these as in the yaml."""
    config = yaml.safe_load((CONF / "beir.yaml").read_text(encoding="utf-8")) | {"path": str(folder)} | fields
    return Beir(**{key: value for key, value in config.items() if key != "_target_"})


def load(folder: Path, train_on_dev: bool = False) -> Corpus:
    return beir(folder, train_on_dev=train_on_dev).load()


def judged(dataset: Dataset, corpus: Corpus) -> tuple[pa.Table, tuple[str, ...]]:
    """Judgements and notes, as the stages `load` and `labels` get at them."""
    return dataset.judgements(corpus.queries, corpus.documents.drop_columns(["title", "text"]))


def labels(folder: Path, train_on_dev: bool = False) -> tuple[pa.Table, tuple[str, ...]]:
    dataset = beir(folder, train_on_dev=train_on_dev)
    return judged(dataset, dataset.load())


def splits_of(corpus: Corpus) -> dict[str, str]:
    return dict(zip(corpus.queries["query_id"].to_pylist(), corpus.queries["split"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def documentation() -> Corpus:
    return Pydocs().load()


# --- The contract ---


@pytest.mark.parametrize("option", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_contract(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documentation: Corpus):
    config = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    module, name = config.pop("_target_").rsplit(".", 1)
    if "path" in config:
        config["path"] = str(write(tmp_path / "data", {}))
    if "parts" in config:
        config["parts"] = {name: beir(write(tmp_path / name, {})) for name in ("law", "code")}
    dataset = getattr(importlib.import_module(module), name)(**config)
    assert {key: getattr(dataset, key) for key in config} == config
    corpus = documentation if option == "pydocs" else dataset.load()
    qrels, _ = judged(dataset, corpus)

    assert corpus.queries.schema.equals(with_domain(QUERY, corpus.queries))
    assert corpus.documents.schema.equals(with_domain(DOCUMENT, corpus.documents))
    assert qrels.schema.equals(QREL)
    queries, documents = corpus.queries["query_id"].to_pylist(), corpus.documents["doc_id"].to_pylist()
    assert len(set(queries)) == len(queries) > 0
    assert len(set(documents)) == len(documents) > 0
    assert set(splits_of(corpus).values()) <= set(SPLITS)
    assert {TRAIN, DEV} <= set(splits_of(corpus).values())
    assert set(qrels["doc_id"].to_pylist()) <= set(documents)
    assert set(zip(*qrels.select([0, 3]).to_pydict().values(), strict=True)) <= set(splits_of(corpus).items())
    assert TRAIN not in qrels["split"].to_pylist()
    for table in (corpus.queries, corpus.documents, qrels):
        assert all(column.null_count == 0 for column in table.columns)

    # Again, from another place where modules of the standard library seem to be replaced.
    content = dataset.content(), dataset.qrels_content()
    (tmp_path / "json.py").write_text("raise SystemExit('this is not the json you know')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert dataset.load() == corpus
    assert (dataset.content(), dataset.qrels_content()) == content


def test_content_is_of_what_is_read_and_not_of_the_path(tmp_path: Path):
    folder = write(tmp_path / "a", {})
    one = contents(folder)
    shutil.copytree(folder, tmp_path / "b")
    (tmp_path / "b/qrels/train.tsv").write_text("never read")
    assert contents(tmp_path / "b") == one
    for name in ("corpus.jsonl", "queries.jsonl"):
        path = tmp_path / "b" / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert contents(tmp_path / "b")[0] != one[0], name
        path.write_bytes(before)
    before = contents(tmp_path / "b", train_on_dev=True)
    (tmp_path / "b/qrels/dev.tsv").write_text("not read either")
    assert contents(tmp_path / "b", train_on_dev=True) == before


def contents(folder: Path, train_on_dev: bool = False) -> tuple[dict[str, str], str]:
    dataset = beir(folder, train_on_dev=train_on_dev)
    return dataset.content(), dataset.qrels_content()


@pytest.mark.parametrize(
    ("file", "rows", "splits_may_change"),
    [
        ("test", "q0\td0\t2\nq1\td3\t0\n", False),  # another label
        ("test", "q0\td0\t1\nq0\td1\t1\nq1\td3\t0\n", False),  # one more for a query that is named already
        ("dev", "q2\td2\t2\n", False),  # another document
        ("test", "q0\td0\t1\n", True),  # q1 is no test query any more
        ("dev", "q2\td1\t2\nq3\td1\t2\n", True),  # q3 becomes a dev query
    ],
)
def test_labels_are_no_part_of_content_but_the_queries_named_are(
    file: str, rows: str, splits_may_change: bool, tmp_path: Path
):
    content, qrels_content = contents(write(tmp_path / "a", {}))
    changed, qrels_changed = contents(write(tmp_path / "b", {f"qrels/{file}.tsv": HEADER + rows}))
    assert qrels_changed != qrels_content
    assert (changed != content) == splits_may_change


# --- Splits ---


def test_split_rule(tmp_path: Path):
    said = {"q0": "train", "q1": "dev", "q2": "test", "q3": "validation", "q4": "test", "q5": "train"}
    queries = [query | ({"split": said[query["_id"]]} if query["_id"] in said else {}) for query in QUERIES]
    files = {
        "queries.jsonl": "".join(json.dumps(query) + "\n" for query in queries),
        "qrels/dev.tsv": HEADER + "q2\td1\t2\nq0\td2\t1\n",  # q0 is a test query: test files go first
        "qrels/test-hard.tsv": HEADER + "q5\td1\t1\n",
    }
    folder = write(tmp_path, files)
    splits = splits_of(load(folder))
    assert {name: splits[name] for name in ("q0", "q1", "q2", "q3", "q4", "q5", "q6")} == {
        "q0": TEST,
        "q1": TEST,
        "q2": DEV,
        "q3": DEV,
        "q4": TEST,
        "q5": TEST,
        "q6": TRAIN,
    }
    qrels, notes = labels(folder)
    assert qrels.to_pydict() == {
        "query_id": ["q2", "q5", "q0", "q1"],
        "doc_id": ["d1", "d1", "d0", "d3"],
        "relevance": [2, 1, 1, 0],
        "split": [DEV, TEST, TEST, TEST],
    }
    assert notes == ("1 of 5 judgements, in dev files but of test queries, were left out",)


def test_a_tenth_of_train_becomes_dev_whatever_the_order(tmp_path: Path):
    corpus = load(write(tmp_path / "a", {"qrels/dev.tsv": None}))
    splits = splits_of(corpus)
    assert [list(splits.values()).count(split) for split in SPLITS] == [20, 2, 2]
    assert "no dev queries are given: 2 train queries" in corpus.notes[0]
    assert DEV not in labels(tmp_path / "a")[0]["split"].to_pylist()
    turned = corpus.queries.set_column(2, "split", [[None] * 24]).take(list(range(24))[::-1])
    again, made = split_queries(turned, read_named([(tmp_path / "a/qrels/test.tsv", TEST)]))
    assert (again, made) == (list(splits.values())[::-1], 2)


def test_without_qrels_there_are_queries_all_the_same(tmp_path: Path):
    folder = write(tmp_path, {"qrels/dev.tsv": None, "qrels/test.tsv": None})
    assert labels(folder)[0].num_rows == 0
    assert set(splits_of(load(folder)).values()) == {TRAIN, DEV}


def test_train_labels_are_never_read(tmp_path: Path):
    garbage = b"\xff\xfe not\x00 qrels"
    clean = write(tmp_path / "clean/same", {})
    dirty = write(tmp_path / "dirty/same", {"qrels/train.tsv": garbage})
    assert (load(dirty), labels(dirty)) == (load(clean), labels(clean))
    both = write(tmp_path / "both", {"qrels/train.tsv": garbage, "qrels/dev.tsv": garbage})
    corpus = load(both, train_on_dev=True)
    assert splits_of(corpus) == splits_of(load(write(tmp_path / "none", {"qrels/dev.tsv": None})))
    assert set(labels(both, train_on_dev=True)[0]["split"].to_pylist()) == {TEST}


@pytest.mark.parametrize("inside", [False, True])
def test_a_query_keeps_its_domain(inside: bool, tmp_path: Path):
    said = [{"domain": "law"}, {"domain": " "}, {}, {"domain": 7}]
    lines = [
        {"_id": f"q{n}", "text": f"query {n}"} | ({"metadata": said[n % 4]} if inside else said[n % 4])
        for n in range(24)
    ]
    folder = write(tmp_path, {"queries.jsonl": "".join(json.dumps(line) + "\n" for line in lines)})
    queries = load(folder).queries
    assert queries["domain"].to_pylist() == ["law", None, None, "7"] * 6
    assert splits_of(load(folder))["q0"] == TEST
    fields = yaml.safe_load((CONF / "auto.yaml").read_text(encoding="utf-8")) | {"path": str(folder)}
    assert Auto(**{key: value for key, value in fields.items() if key != "_target_"}).load().queries == queries


def test_layouts_that_differ_a_little_are_read(tmp_path: Path):
    files = {
        "corpus.jsonl": b'\xef\xbb\xbf{"_id": 7, "text": "no title"}\r\n\r\n{"_id": "d1", "title": null, "text": "  "}\r\n',
        "qrels/test.tsv": "q0 0 7 1\nq0 0 7 1\nq1 Q0 d1 -1\n",  # four columns, as in TREC; a repeat says nothing new
        "qrels/dev.tsv": None,
    }
    corpus = load(write(tmp_path, files))
    assert corpus.documents.to_pydict() == {"doc_id": ["7", "d1"], "title": ["", ""], "text": ["no title", "  "]}
    assert labels(tmp_path)[0]["relevance"].to_pylist() == [1, -1]
    assert corpus.notes[0] == "1 of 2 documents have neither title nor text, the first at corpus.jsonl:3"


def test_a_header_and_grades_in_other_words(tmp_path: Path):
    """BEIR's three columns and TREC's four in any file; a byte order mark, CRLF, spaces at the end; 1.0 is 1."""
    wordings = {
        "beir": "query_id\tdoc_id\tlabel\nq0\td0\t1\nq1\td3\t0\n",
        "words": "query id\tdocument id\trelevance\nq0\td0\t1.0\nq1\td3\t0.\n",
        "trec": "qid iter docno rel\nq0 0 d0 1\nq1 Q0 d3 0\n",
        "other": "Frage Dokument Note\nq0 d0 1\nq1 d3 0\n",
        "none": "q0\td0\t1\nq1\td3\t0\n",
        "windows": "\ufeff\r\nqid\tdocid\tscore\r\nq0\td0\t+1 \r\n\r\nq1\td3\t0\t\r\n",
    }
    for name, text in wordings.items():
        folder = write(tmp_path / name, {"qrels/test.tsv": text, "qrels/dev.tsv": None})
        table = labels(folder)[0].to_pydict()
        assert table == {
            "query_id": ["q0", "q1"],
            "doc_id": ["d0", "d3"],
            "relevance": [1, 0],
            "split": [TEST, TEST],
        }, name


# --- Labels that are not read ---

ROWS = "q0\td0\t1\nq1\td3\t0\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("qrels/test.txt", HEADER + ROWS, "call it test.tsv"),
        ("qrels/test.TSV", ROWS, "call it test.tsv"),
        ("qrels/qrels.tsv", ROWS, "test.tsv or dev.tsv"),
        ("qrels/dev.qrels", "q0 0 d0 1\n", "call it dev.tsv"),
        ("qrels/robust.trec", "q0 0 d0 1\n", "test.tsv or dev.tsv"),
        ("qrels/sub/test.tsv", ROWS, "call it test.tsv"),
        ("qrels/train.txt", ROWS, "call it train.tsv"),
        ("qrels/test.csv", "query-id,corpus-id,score\nq0,d0,1\n", "call it test.tsv"),
        ("qrels/validation.jsonl", '{"query-id": "q0"}\n', "call it dev.tsv"),
        ("Qrel/test.tsv", ROWS, "call it test.tsv"),
        ("test.tsv", ROWS, "call it test.tsv"),
        ("judged.txt", "q0 d0 1.0\nq1 d3 0.0\n", "test.tsv or dev.tsv"),
        ("gold.trec", "q0 0 d0 2\n", "test.tsv or dev.tsv"),
        ("qrels.txt", "", "test.tsv or dev.tsv"),
        ("qrels/dev.tsv", HEADER, "holds no judgements"),
        ("qrels/test.tsv", "qid\tdocid\trelevance\n\n", "holds no judgements"),
        ("qrels/test.tsv", "", "holds no judgements"),
    ],
)
def test_labels_that_are_not_read_are_named(name: str, text: str, expected: str, tmp_path: Path):
    """Refused, even where everything is in the store already (`content`); or left alone and counted."""
    folder = write(tmp_path, {name: text})
    for method in (beir(folder).load, beir(folder).content, beir(folder).qrels_content):
        with pytest.raises(BadInput, match=expected) as caught:
            method()
        assert str(folder / name) in str(caught.value)
        assert "dataset.unread_labels=ignore" in str(caught.value)
    ignoring = beir(folder, unread_labels="ignore")
    assert ignoring.load().notes == (f"1 file of judgements is not read (dataset.unread_labels=ignore): {name}",) + (
        ("no dev queries are given: 2 train queries, chosen by hash, serve as such without labels",)
        if name == "qrels/dev.tsv"
        else ()
    )
    assert ignoring.content() != beir(write(tmp_path / "without", {})).content()


def test_empty_train_labels_are_named(tmp_path: Path):
    folder = write(tmp_path, {"qrels/train.tsv": HEADER})
    with pytest.raises(BadInput, match=r"train\.tsv holds no judgements"):
        beir(folder).train_qrels_content()
    assert beir(folder, unread_labels="ignore").train_qrels_content() is None


def test_other_files_are_no_labels(tmp_path: Path):
    """Hidden files, a run, triples, prose, tables and archives lie in a folder without a word."""
    files = {
        "qrels/._test.tsv": b"\0\5\x16\7", "qrels/.DS_Store": b"\0", "qrels/.old/test.tsv": ROWS, "._test.tsv": ROWS,
        "qrels/README.md": "test q0 1\n", "README": "one two 3\nmore words than four are here\n", "notes.txt": "a b\n",
        "qrels/test.trec": "q0 Q0 d0 1 0.5 bm25\n", "bm25.trec": "q0 Q0 d0 1 0.5 bm25\n", "empty.txt": "",
        "triples.tsv": "101\t7187158\t7187159\n", "pairs.tsv": "q0\ta text of 3\t1\n", "x.bin": b"a b 1\n\0",
        "test.jsonl": '{"a": 1}\n', "make_qrels.py": "a = 1\n",
    }  # fmt: skip
    with_them, without = write(tmp_path / "a/same", files), write(tmp_path / "b/same", {})
    assert beir(with_them).content() == beir(without).content()
    assert (load(with_them), labels(with_them)) == (load(without), labels(without))


# --- Ids ---


def test_unknown_ids_are_counted_in_one_message_or_dropped(tmp_path: Path):
    rows = "q0\td0\t1\nq0\td9\t1\nq98\td9\t1\nq98\td1\t0\nq99\td8\t0\n"
    folder = write(tmp_path, {"qrels/test.tsv": HEADER + rows})
    file = folder / "qrels/test.tsv"
    words = (
        f"{file}:3: document 'd9' is not in corpus.jsonl; {file}:4: query 'q98' is not in queries.jsonl; {file}:6: query 'q99'"
        " is not in queries.jsonl; ... (2 query ids and 2 document ids unknown, in 4 of 6 judgements)"
    )
    for fields in ({}, {"unknown_ids": "error"}):
        with pytest.raises(BadInput) as caught:
            beir(folder, **fields).load()
        assert str(caught.value).startswith(words)
        assert "dataset.unknown_ids=drop" in str(caught.value)
    dataset = beir(folder, unknown_ids="drop")
    qrels, notes = judged(dataset, dataset.load())
    assert qrels.to_pydict()["query_id"] == ["q2", "q0"]
    assert notes == (f"judgements of unknown ids are left out: {words}",)


def test_the_column_of_the_id(tmp_path: Path):
    """`id` in the corpus, `_id` in the queries, as in d05 of the cases that went wrong."""
    corpus = "".join(json.dumps({"id" if key == "_id" else key: row[key] for key in row}) + "\n" for row in CORPUS)
    assert beir(write(tmp_path, {"corpus.jsonl": corpus}), id_column="id").load() == load(
        write(tmp_path / "b" / tmp_path.name, {})
    )
    twice = write(tmp_path / "twice", {"corpus.jsonl": corpus + corpus})
    with pytest.raises(BadInput, match=r"corpus\.jsonl:5: id 'd0' is also that of line 1"):
        beir(twice, id_column="id").load()


# --- Leaks ---


def loaded(dataset: Dataset, out: Path) -> tuple[dict[str, Any], Table]:
    """The facts and the table of the stage `load`."""
    out.mkdir(parents=True)
    facts = Load(inputs={}, dataset=dataset, drop_duplicates=False).run({}, out)
    return facts, Table("load", "x", out, {})


def test_a_query_with_the_text_of_one_that_measures_is_used_for_nothing(tmp_path: Path):
    """q5 and q6 are of q0 (test) and q2 (dev); q3 is a dev query with the text of q1 (test)."""
    texts = {
        "q0": "Straße  1",
        "q5": " STRASSE\u00a0１",
        "q2": "caf\u00e9",
        "q6": "Cafe\u0301",
        "q1": "x y",
        "q3": "X\ty",
    }
    queries = "".join(json.dumps(row | {"text": texts.get(row["_id"], row["text"])}) + "\n" for row in QUERIES)
    files = {
        "queries.jsonl": queries,
        "qrels/dev.tsv": "q2\td1\t1\nq3\td1\t1\n",
        "qrels/train.tsv": "q5\td0\t1\nq7\td0\t1\n",
    }
    dataset = beir(write(tmp_path / "data", files))
    facts, table = loaded(dataset, tmp_path / "load")
    splits = splits_of(Corpus(table.read("queries"), table.read("documents")))
    assert {name for name, split in splits.items() if split == "duplicate"} == {"q3", "q5", "q6"}
    assert facts["queries"] == {"train": 18, "dev": 1, "test": 2}
    assert facts["duplicates"] == {"dev": 1, "train": 2}
    assert facts["notes"] == [
        "1 dev query has the text of a test query, left out of dev: q3 = q1",
        "2 train queries have the text of a dev or test query, left out of training: q5 = q0, q6 = q2",
    ]
    for stage, left in ((Labels, ["q2", "q0", "q1"]), (TrainLabels, ["q7"])):
        out = tmp_path / stage.__name__
        out.mkdir()
        facts = stage(inputs={}, dataset=dataset).run({"data": table}, out)
        assert Table("labels", "x", out, {}).read("qrels")["query_id"].to_pylist() == left
        assert "of duplicate queries, were left out" in facts["notes"][0]


def test_a_run_file_may_name_a_query_that_is_left_out(tmp_path: Path):
    """q5 has the text of q0, a test query: it has no candidates, and the run file that names it is no error."""
    queries = "".join(json.dumps(row | ({"text": "query 0"} if row["_id"] == "q5" else {})) + "\n" for row in QUERIES)
    _, table = loaded(beir(write(tmp_path / "data", {"queries.jsonl": queries})), tmp_path / "load")
    run = [f"q{n} Q0 d{d} {d} {9 - d} x\n" for n in range(24) for d in range(3)]
    (tmp_path / "run.trec").write_text("".join(run), encoding="utf-8")
    (tmp_path / "out").mkdir()
    nobody: Any = None
    retriever = Run(path=str(tmp_path / "run.trec"), otherwise=nobody)
    Retrieve(
        inputs={}, retriever=retriever, top_k=3, splits=list(SPLITS), keep_own_document=False, budget=budget()
    ).run({"data": table}, tmp_path / "out")
    found = Table("retrieve", "x", tmp_path / "out", {}).read("candidates")["query_id"].to_pylist()
    assert set(found) == {f"q{n}" for n in range(24)} - {"q5"}


def test_a_dataset_of_ones_own_leaks_nothing_either(tmp_path: Path):
    """Its labels of a dev query that is no longer one are left out, too; without other queries it is refused."""

    class Own:
        def __init__(self, *rows: tuple[str, str, str]) -> None:
            self.queries = pa.table([list(column) for column in zip(*rows, strict=True)], schema=QUERY)

        def load(self) -> Corpus:
            return Corpus(self.queries, pa.table([["d0", "d1"], ["", ""], ["a", "b"]], schema=DOCUMENT))

        def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
            return pa.table([["q1", "q2"], ["d0", "d0"], [1, 1], [DEV, TEST]], schema=QREL), ()

    rows = [("q0", "a", TRAIN), ("q1", "b", DEV), ("q2", "B", TEST), ("q3", "c", DEV)]
    own: Any = Own(*rows)
    _, table = loaded(own, tmp_path / "a")
    (tmp_path / "b").mkdir()
    facts = Labels(inputs={}, dataset=own).run({"data": table}, tmp_path / "b")
    assert facts == {"rows": 1, "notes": ["1 of 2 judgements are of duplicate queries and left out"]}
    for number, bad in enumerate(([*rows[:3]], [("q0", "b", TRAIN), *rows[1:]])):
        refused: Any = Own(*bad)
        with pytest.raises(
            BadInput, match=r"no (dev|train) queries that could be used: each of the 1 has the text of a"
        ):
            loaded(refused, tmp_path / f"bad{number}")


def test_dev_made_by_hash_is_large_enough_and_has_no_text_of_test(tmp_path: Path):
    def made(train: int) -> int:
        rows = [(f"q{n}", f"text {n}", None) for n in range(train)] + [(f"t{n}", f"TEXT {n}", TEST) for n in range(2)]
        queries = pa.table([list(column) for column in zip(*rows, strict=True)], schema=QUERY)
        splits, count = split_queries(queries, read_named([]))
        assert splits.count(DEV) == count
        assert set(splits[:2]) == {TRAIN}  # they have the text of test queries
        return count

    assert [made(n + 2) for n in (10, 199, 200, 499, 510, 1000)] == [1, 19, 50, 50, 51, 100]


def test_nothing_leaks_in_what_comes_with_zelo(documentation: Corpus):
    for corpus in (documentation, Synthetic(queries=100, documents=9).load()):
        splits, found = without_leaks(corpus.queries)
        assert splits == corpus.queries["split"].to_pylist()
        assert not any(found.values())


# --- Bad input ---

Q, D = '{"_id": "q0", "text": "a query"}\n', '{"_id": "d0", "text": "a text"}\n'
BAD = {
    "no corpus": ({"corpus.jsonl": None}, ["no corpus.jsonl", "queries.jsonl"]),
    "judgements of no queries": ({"queries.jsonl": None}, ["test.tsv:2", "query 'q0'", "queries.jsonl"]),
    "empty corpus": ({"corpus.jsonl": "\n"}, ["corpus.jsonl", "no documents"]),
    "no queries": ({"queries.jsonl": ""}, ["queries.jsonl", "no queries"]),
    "equal documents": ({"corpus.jsonl": D + "\n" + D}, ["corpus.jsonl:3", "line 1", "'d0'"]),
    "equal queries": ({"queries.jsonl": Q + Q}, ["queries.jsonl:2", "line 1", "'q0'"]),
    "not JSON": ({"corpus.jsonl": D + '{"_id": "d1", text}\n'}, ["corpus.jsonl:2", "not JSON", "one JSON object"]),
    "cut short": ({"corpus.jsonl": D + '{"_id": "d1", "te'}, ["corpus.jsonl:2", "not JSON"]),
    "a list": ({"corpus.jsonl": "[1]\n"}, ["corpus.jsonl:1", "list"]),
    "not UTF-8": ({"corpus.jsonl": D.encode() + b'{"_id": "\xff"}\n'}, ["corpus.jsonl:2", "UTF-8"]),
    "half a pair": ({"corpus.jsonl": '{"_id": "d0", "text": "\\ud800"}\n'}, ["corpus.jsonl:1", "surrogate"]),
    "no id": ({"corpus.jsonl": D + '{"text": "x"}\n'}, ["corpus.jsonl:2", "no _id"]),
    "blank id": ({"queries.jsonl": '{"_id": "", "text": "x"}\n'}, ["queries.jsonl:1", "empty"]),
    "id of two words": (
        {"queries.jsonl": '{"_id": "a b", "text": "x"}\n'},
        ["queries.jsonl:1", "'a b'", "white space"],
    ),
    "id": (
        {"corpus.jsonl": '{"id": "d1", "text": "x"}\n'},
        ["corpus.jsonl:1", "no _id", "'id'", "dataset.id_column=id"],
    ),
    "no text": ({"corpus.jsonl": D + '{"_id": "d1", "title": "x"}\n'}, ["corpus.jsonl:2", "no text"]),
    "text is a number": ({"corpus.jsonl": '{"_id": "d1", "text": 5}\n'}, ["corpus.jsonl:1", "text is a int", "string"]),
    "query without text": (
        {"queries.jsonl": Q + '{"_id": "q9", "text": " "}\n'},
        ["queries.jsonl:2", "'q9'", "no text"],
    ),
    "domain is a list": ({"queries.jsonl": Q[:-2] + ', "metadata": {"domain": ["x"]}}'}, ["queries.jsonl:1", "domain"]),
    "unknown split": ({"queries.jsonl": Q[:-2] + ', "split": "x"}'}, ["queries.jsonl:1", "'x'", "train, dev, test"]),
    "unknown document": ({"qrels/test.tsv": HEADER + "q0\td0\t1\nq0\td9\t1\n"}, ["test.tsv:3", "document 'd9'"]),
    "unknown query": ({"qrels/dev.tsv": HEADER + "q99\td0\t1\n"}, ["dev.tsv:2", "query 'q99'", "queries.jsonl"]),
    "grade in words": ({"qrels/test.tsv": HEADER + "q0\td0\tgood\n"}, ["test.tsv:2", "'good'", "integer"]),
    "half a grade": ({"qrels/test.tsv": HEADER + "q0\td0\t0.5\n"}, ["test.tsv:2", "'0.5'", "integer"]),
    "two columns": ({"qrels/test.tsv": HEADER + "q0\td0\n"}, ["test.tsv:2", "2 columns"]),
    "judged twice": ({"qrels/test.tsv": HEADER + "q0\td0\t1\nq0\td0\t0\n"}, ["test.tsv:3", "test.tsv:2", "keep one"]),
    "one row, no header": ({"qrels/dev.tsv": "q2\td1\tgood\nq3\td1\t1\n"}, ["dev.tsv:1", "'good'", "'q2' is an id"]),
    "beyond int32": ({"qrels/test.tsv": HEADER + "q0\td0\t1\nq0\td1\t99999999999\n"}, ["test.tsv:3", "99999999999"]),
    "not a number": ({"qrels/test.tsv": HEADER + "q0\td0\tnan\n"}, ["test.tsv:2", "'nan'"]),
    "another order": ({"qrels/test.tsv": "corpus-id\tquery-id\tscore\nd0\tq0\t1\n"}, ["test.tsv:1", "the order"]),
    "grade before": ({"qrels/test.tsv": "qid\trelevance\tdocid\nq0\t1\td0\n"}, ["test.tsv:1", "'relevance'"]),
    "no such split": ({"qrels/all.tsv": HEADER}, ["all.tsv", "not read", "test.tsv or dev.tsv", "unread_labels"]),
    "one train query": ({"queries.jsonl": Q, "qrels/dev.tsv": None, "qrels/test.tsv": None}, ["one train query"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_file_line_and_fix(case: str, tmp_path: Path):
    files, expected = BAD[case]
    with pytest.raises(BadInput) as caught:
        labels(write(tmp_path, files))
    message = str(caught.value)
    assert str(tmp_path) in message
    for words in expected:
        assert words in message
    assert "\n" not in message


def test_bad_paths(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, words in (("gone", "does not exist"), ("file", "is not a folder"), ("empty", "it holds nothing")):
        dataset = beir(tmp_path / name)
        for method in (dataset.load, dataset.content, dataset.qrels_content):
            with pytest.raises(BadInput, match=words):
                method()
    for field, value in (
        ("path", ""), ("path", None), ("path", "~nobody-of-this-name/x"), ("train_on_dev", "no"), ("id_column", ""),
        ("unread_labels", "warn"), ("unknown_ids", "ignore"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=rf"dataset\.{field}="):
            beir("x", **{field: value}).load()


def test_a_test_set_is_the_test_split_and_without_one_every_query(tmp_path: Path):
    for name, files, splits, rows, said in (
        ("both", {}, {"test": 2, "unused": 22}, 2, "the test split is graded, 2 queries; 21 train and 1 dev"),
        ("none", {"qrels/test.tsv": None}, {"test": 24}, 0, "no judgements name test queries: all 24 queries"),
    ):
        dataset, out = beir(write(tmp_path / name, files)), tmp_path / f"{name}-out"
        out.mkdir()
        facts = LoadTestSet(inputs={}, dataset=dataset, drop_duplicates=True).run({}, out)
        data = Table("load", "", out, facts)
        assert Counter(data.read("queries")["split"].to_pylist()) == splits
        assert facts["queries"] == {"test": splits["test"]}
        assert any(note.startswith(said) for note in facts["notes"]), facts["notes"]
        assert Labels(inputs={}, dataset=dataset).run({"data": data}, out)["rows"] == rows


def test_judgements_of_queries_that_are_not_used_are_counted() -> None:
    qrels = pa.table([["a", "b", "c"], ["d", "d", "d"], [1, 1, 1], ["test", "dev", "dev"]], names=QREL.names)
    queries = pa.table([["a", "b"], ["x", "y"], ["test", "test"]], names=QUERY.names)
    own, notes = at_home(qrels, queries)
    assert own["query_id"].to_pylist() == ["a"]
    assert notes == ("2 of 3 judgements, in dev files but of other and test queries, were left out",)


def test_a_path_begins_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "x", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert beir("~/x").load().name == "x"


# --- The documentation of this Python ---


def test_pydocs_keeps_the_judged_documents(documentation: Corpus):
    assert [list(splits_of(documentation).values()).count(split) for split in SPLITS] == [829, 60, 150]
    assert 5000 < documentation.documents.num_rows < 6000
    qrels, notes = judged(Pydocs(), documentation)
    lost = 781 - qrels.num_rows
    assert lost == 0 if sys.version_info[:3] in COMPLETE else lost < 16
    assert bool(lost) == bool(notes)


def test_pydocs_documents(documentation: Corpus):
    rows = documentation.documents.to_pydict()
    ids = rows["doc_id"]
    assert ids == sorted(ids)
    title = dict(zip(ids, rows["title"], strict=True))
    text = dict(zip(ids, rows["text"], strict=True))
    assert title["str.split"] == "str.split(sep=None, maxsplit=-1)"  # C code, by inspection
    assert title["textwrap.dedent"] == "textwrap.dedent(text)"  # Python code, from source
    assert title["subprocess.Popen.wait"] == "subprocess.Popen.wait(timeout=None)"  # a method, without self
    assert "concurrent.futures.ThreadPoolExecutor" in text  # lazily loaded by its package
    assert text["topic:for"].startswith('The "for" statement\n****')  # a short topic is whole
    assert text["topic:STRINGMETHODS#str.split"].startswith("str.split(sep=None")  # a long one is cut
    assert "topic:ASSIGNMENT~2" in text
    assert {"json.JSONDecoder", "random.choice"} <= set(ids)
    assert not {"json.decoder.JSONDecoder", "random.Random.choice", "test", "this", "tkinter"} & set(ids)
    assert all(len(t) >= 20 and t == t.strip("\n") for t in rows["text"])
    assert max(map(len, rows["title"])) <= 200
    assert not any("0x" in t for t in rows["title"])


def test_pydocs_counts_judgements_that_it_drops(documentation: Corpus, monkeypatch: pytest.MonkeyPatch):
    before, _ = judged(Pydocs(), documentation)
    gone = set(before["doc_id"].to_pylist()[:3])

    def without(path: Path) -> None:
        rows = documentation.documents.to_pylist()
        kept = [row | {"_id": row["doc_id"]} for row in rows if row["doc_id"] not in gone]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")

    monkeypatch.setattr(pydocs, "write_documents", without)
    corpus = Pydocs().load()
    qrels, notes = judged(Pydocs(), corpus)
    kept = [row for row in before.to_pylist() if row["doc_id"] not in gone]
    assert qrels.to_pylist() == kept
    count = documentation.documents.num_rows - corpus.documents.num_rows
    assert len(notes) == 1
    assert notes[0].startswith(f"{781 - len(kept)} of 781 judgements were dropped")
    assert count == len(gone)
    assert corpus.queries == documentation.queries


def test_pydocs_content_is_of_this_python(monkeypatch: pytest.MonkeyPatch):
    before = Pydocs().content()
    monkeypatch.setattr(sys, "version", "3.99")
    assert Pydocs().content() != before


def test_a_python_that_cannot_be_read_is_an_error(tmp_path: Path):
    for python in (str(tmp_path / "python"), "/bin/false"):
        with pytest.raises(ZeloError, match="documentation of"):
            pydocs.write_documents(tmp_path / "corpus.jsonl", python)
