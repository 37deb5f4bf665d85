"""dataset=auto: every form of data that is found out, what is said of it, and every fault that is named or repaired."""

import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from made_files import arrow, docx, parquet, pdf, twice, zipped

from zelo import lines
from zelo.datasets import delimited
from zelo.datasets.auto import Auto
from zelo.datasets.beir import Beir
from zelo.errors import BadInput
from zelo.records import DEV, DOCUMENT, QUERY, TEST, TRAIN, Corpus
from zelo.stages.labels import Labels
from zelo.stages.load import Load
from zelo.store.table import Table

CONF = yaml.safe_load((Path(__file__).parents[2] / "conf/dataset/auto.yaml").read_text())
Files = Mapping[str, str | bytes]


def auto(path: Path | str | None, **fields: Any) -> Auto:
    """The dataset at a path, every field but these as in the yaml; columns are added to those of the yaml."""
    columns = CONF["columns"] | fields.pop("columns", {})
    config = CONF | {"path": path and str(path), "columns": columns} | fields
    return Auto(**{key: value for key, value in config.items() if key != "_target_"})


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def at(folder: Path, fields: Mapping[str, Any]) -> Auto:
    """The dataset whose paths are below a folder; without one it is the folder."""
    places = {key: str(folder / fields[key]) for key in ("path", "documents", "queries", "qrels") if key in fields}
    given = {"path": None if "documents" in fields else str(folder)} | dict(fields) | places
    return auto(**given)


def jsonl(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def labels(dataset: Auto) -> tuple[list[tuple[str, str, int, str]], tuple[str, ...]]:
    corpus = dataset.load()
    qrels, notes = dataset.judgements(corpus.queries, corpus.documents.select(["doc_id"]))
    return [tuple(row.values()) for row in qrels.to_pylist()], notes


def test_domains_are_kept_and_left_out(tmp_path: Path) -> None:
    lines = [{"id": n, "query": f"query {n}", "subject": "law" if n % 3 else " "} for n in range(12)]
    write(
        tmp_path,
        {
            "corpus.jsonl": CORPUS,
            "queries.jsonl": jsonl(*lines),
            "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\td1\t1\n",
        },
    )
    corpus = auto(tmp_path, columns={"domain": "subject"}, leave_out="law").load()
    rows = {row["query_id"]: (row["domain"], row["split"]) for row in corpus.queries.to_pylist()}
    assert rows["1"] == ("law", TEST)
    assert {rows[str(n)] for n in (2, 4, 5, 7, 8, 10, 11)} == {("law", "unused")}
    assert {rows[str(n)][0] for n in (0, 3, 6, 9)} == {None}
    assert corpus.notes[-1].startswith("law is left out of training: ")
    assert "domain" not in auto(tmp_path).load().queries.column_names
    with pytest.raises(BadInput, match=r"leave_out=law: no domain has this name; there are none, as no query has one"):
        auto(tmp_path, leave_out="law").load()


# --- Forms ---

DOCS = [("d1", "one", "first text"), ("d2", "", "second text")]
CORPUS = jsonl(*({"_id": d, "title": title, "text": text} for d, title, text in DOCS))
QUERIES = jsonl(*({"_id": f"q{n}", "text": f"query {n}"} for n in range(5)))
BEIR: dict[str, str | bytes] = {
    "corpus.jsonl": CORPUS,
    "queries.jsonl": QUERIES,
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq0\td1\t1\n",
}
DEFAULT = parquet(**{"query-id": ["q0"], "corpus-id": ["d1"], "score": [1.0]})
TABLE = {"ref": ["d1", "d2"], "headline": ["one", None], "body": ["first text", "second text"]}
NAMED = {"columns": {"id": "ref", "title": "headline", "text": "body"}}

# name -> files, fields, words that are said; each has the two documents above
FORMS: dict[str, tuple[Files, dict[str, Any], list[str]]] = {
    "beir": (BEIR, {}, ["corpus.jsonl: 2 documents", "queries.jsonl: 5 queries", "judgements: qrels/test.tsv"]),
    "beir.gz": (
        {
            "corpus.jsonl.gz": gzip.compress(CORPUS.encode()),
            "queries.jsonl.gz": gzip.compress(QUERIES.encode()),
            "qrels/test.tsv.gz": gzip.compress(b"q0\td1\t1\n"),
        },
        {},
        ["corpus.jsonl.gz: 2 documents", "qrels/test.tsv.gz"],
    ),
    "zst": ({"corpus.jsonl.zst": pa.compress(CORPUS.encode(), "zstd", asbytes=True)}, {}, ["corpus.jsonl.zst", "no queries"]),
    "csv": (
        {"x.csv": "ref,headline,body\r\nd1,one,first text\r\nd2,,second text\r\n"},
        {"path": "x.csv", **NAMED},
        ["id is 'ref', title is 'headline', text is 'body'", "no queries; no judgements"],
    ),
    "csv with semicolons": (
        {"x.csv": 'id;title;content\nd1;one;"first text"\nd2;;second text\n'},
        {"path": "x.csv"},
        ["text is 'content'"],
    ),
    "tsv without a header": (
        {"collection.tsv": "d1\tone\tfirst text\nd2\t\tsecond text\n"},
        {},
        ["id is column 1"],
    ),
    "json": ({"all.json": json.dumps([{"id": d, "title": t, "text": x} for d, t, x in DOCS])}, {}, ["all.json"]),
    "json of objects": (
        {"all.json": json.dumps({"data": [{"id": d, "title": t, "paragraphs": [x]} for d, t, x in DOCS]}, indent=1)},
        {"columns": {"text": "paragraphs"}},
        ["text is 'paragraphs'"],
    ),
    "lines in json": ({"all.json": CORPUS}, {}, ["all.json"]),
    "json inside json": (
        {"x.jsonl": jsonl(*({"id": d, "title": t, "text": {"en": x}} for d, t, x in DOCS))},
        {"columns": {"text": "text.en"}},
        ["text is 'text.en'"],
    ),
    "parquet": ({"x.parquet": parquet(**TABLE)}, {"path": "x.parquet", **NAMED}, ["text is 'body'"]),
    "parquet with structs": (
        {"x.parquet": parquet(id=["d1", "d2"], title=["one", ""], c=[{"en": "first text"}, {"en": "second text"}])},
        {"columns": {"text": "c.en"}},
        ["text is 'c.en'"],
    ),
    "layout of MTEB": (
        {
            "README.md": "# About",
            "corpus/test-00000-of-00001.parquet": parquet(_id=["d1", "d2"], title=["one", ""], text=TABLE["body"]),
            "queries/test-00000-of-00001.parquet": parquet(_id=["q0"], text=["query 0"]),
            "default/test-00000-of-00001.parquet": DEFAULT,
            "top_ranked/test-00000-of-00001.parquet": parquet(**{"query-id": ["q0"], "corpus-ids": [["d1"]]}),
        },
        {},
        ["corpus/test-00000-of-00001.parquet: 2 documents", "judgements: default/test"],
    ),
    "datasets saved to disk": (
        {
            "dataset_dict.json": "{}",
            "corpus/dataset_info.json": "{}",
            "corpus/state.json": "{}",
            "corpus/cache-1.arrow": b"",
            "corpus/data-00000-of-00001.arrow": arrow(docid=["d1", "d2"], title=["one", ""], contents=TABLE["body"]),
        },
        {},
        ["id is 'docid', text is 'contents'"],
    ),
    "ms marco": (
        {
            "collection.tsv": "d1\tone\tfirst text\nd2\t\tsecond text\n",
            "queries.train.tsv": "q1\twhat is one\nq2\twhat is \"two\n",
            "queries.dev.small.tsv": "q3\twhat is three\n",
            "qrels.dev.small.tsv": "q3\t0\td1\t1\n",
        },
        {},
        ["2 files (queries.dev.small.tsv, ...): 3 queries", "judgements: qrels.dev.small.tsv"],
    ),
    "trec": (
        {
            "docs.xml": "<DOC>\n<DOCNO> d1 </DOCNO><HEADLINE>one</HEADLINE>\n<TEXT>first <B>text</B></TEXT></DOC>\n"
            "<DOC><DOCNO>d2</DOCNO>\n<TEXT>\nsecond text</TEXT>\n</DOC>\n",
            "topics.301-302": "<top>\n<num> Number: 301\n<title> one\ntwo\n\n<desc> Description: long\n</top>\n"
            '<topic number="302"><query>three</query></topic>\n',
            "qrels.txt": "301 0 d1 1\n",
            "bm25.run": "301 Q0 d1 1 9.5 bm25\n",
        },
        {"columns": {"query": "title"}},
        ["topics.301-302", "query is 'title'", "judgements: qrels.txt"],
    ),
    "exports of ir_datasets": (
        {
            "docs.jsonl": jsonl(*({"doc_id": d, "title": title, "text": text} for d, title, text in DOCS)),
            "queries.tsv": "q0\tquery 0\n",
            "qrels.trec": "q0 0 d1 1\n",
        },
        {},
        ["docs.jsonl: 2 documents", "queries.tsv: 1 query", "judgements: qrels.trec"],
    ),
    "different places": (
        {
            "a/x.csv": "id,title,text\nd1,one,first text\nd2,,second text\n", "b/log.txt": "query 0\nquery 1\nquery 2\n",
            "c/j": "1 d1 1\n",
        },
        {"documents": "a/*.csv", "queries": "b/log.txt", "qrels": "c/j"},
        ["x.csv: 2 documents", "log.txt: 3 queries (ids are row numbers", "judgements: j"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_and_said_in_one_line(form: str, tmp_path: Path):
    files, fields, words = FORMS[form]
    corpus = at(write(tmp_path, files), fields).load()
    assert corpus.documents.schema.equals(DOCUMENT)
    assert corpus.queries.schema.equals(QUERY)
    assert [tuple(" ".join(cell.split()) for cell in row.values()) for row in corpus.documents.to_pylist()] == DOCS
    for word in words:
        assert word in corpus.notes[0]
    assert "\n" not in corpus.notes[0]


def test_queries_and_judgements_of_forms(tmp_path: Path):
    def read(form: str) -> tuple[Auto, list[tuple[str, str, str]]]:
        files, fields, _ = FORMS[form]
        dataset = at(write(tmp_path / form, files), fields)
        return dataset, [tuple(row.values()) for row in dataset.load().queries.to_pylist()]

    marco, queries = read("ms marco")
    assert queries == [("q3", "what is three", DEV), ("q1", "what is one", TRAIN), ("q2", 'what is "two', TRAIN)]
    assert labels(marco)[0] == [("q3", "d1", 1, DEV)]
    trec, queries = read("trec")
    assert queries[0] == ("301", "one two", TEST)
    assert labels(trec)[0] == [("301", "d1", 1, TEST)]
    assert "bm25.run" in trec.load().notes[-1]
    mteb, queries = read("layout of MTEB")
    assert (queries, labels(mteb)[0]) == ([("q0", "query 0", TEST)], [("q0", "d1", 1, TEST)])
    places, queries = read("different places")
    assert queries[0] == ("1", "query 0", TEST)
    assert labels(places)[0] == [("1", "d1", 1, TEST)]


def test_a_beir_folder_is_read_as_by_dataset_beir(tmp_path: Path):
    folder = write(tmp_path, BEIR | {"qrels/train.tsv": "q3\td2\t1\n", "qrels/dev.tsv": "q1\td2\t0\nq1\td1\t2\n"})
    for train_on_dev in (False, True):
        beir = Beir(
            path=str(folder), id_column="_id", train_on_dev=train_on_dev, unread_labels="error", unknown_ids="error"
        )
        dataset = auto(folder, train_on_dev=train_on_dev)
        one, other = beir.load(), dataset.load()
        assert (one.queries, one.documents, one.name) == (other.queries, other.documents, other.name)
        documents = one.documents.select(["doc_id"])
        assert beir.judgements(one.queries, documents) == dataset.judgements(one.queries, documents)
        assert beir.train_qrels(one.queries, documents) == dataset.train_qrels(one.queries, documents)
        assert beir.has_train_queries() == dataset.has_train_queries()
        assert beir.train_qrels_content() == dataset.train_qrels_content()
    assert auto(write(tmp_path / "none", {"corpus.jsonl": CORPUS})).train_qrels_content() is None


def test_a_folder_of_documents(tmp_path: Path):
    files = {
        "intro.md": "---\ntitle: no\n---\n# Hello #\n\nworld\n",
        "a b/under.markdown": "Under\n=====\r\ntext",
        "code.md": "```\n# a comment\n```\n",
        "front.md": "---\ntitle: 'From front'\n---\nbody\n",
        "plain.txt": b"\xef\xbb\xbfplain text",
        ".hidden.md": "# no",
        ".git/x.md": "# no",
        "queries.txt": "what is hello\nwhat is a world\n",
        "package.json": '{"a": 1}',
    }
    corpus = auto(write(tmp_path, files)).load()
    assert [tuple(row.values()) for row in corpus.documents.to_pylist()] == [
        ("a%20b/under.markdown", "Under", "text"),
        ("code.md", "", "```\n# a comment\n```"),
        ("front.md", "From front", "body"),
        ("intro.md", "Hello", "world"),
        ("plain.txt", "", "plain text"),
    ]
    assert corpus.queries["text"].to_pylist() == ["what is hello", "what is a world"]
    words = "4 markdown and 1 text files; ids are paths; titles are first headings; queries.txt: 2 queries"
    assert corpus.notes[0].startswith(f"a folder of {words}")
    assert corpus.notes[1] == "1 other file not read: package.json"
    pattern = auto(tmp_path / "**" / "*.m*").load()
    assert pattern.documents["doc_id"].to_pylist() == ["a%20b/under.markdown", "code.md", "front.md", "intro.md"]


def test_documents_that_need_a_package(tmp_path: Path):
    for package in ("trafilatura", "pypdf", "markitdown"):
        pytest.importorskip(package)
    page = "<html><head><title>Bread</title></head><body><nav>menu</nav><article><p>{}</p></article></body></html>"
    files = {
        "page.html": page.format("Flour, water, salt and time make a bread that is better than most. " * 5),
        "empty.html": "<html><head><title>only a title</title></head></html>",
        "one.pdf": pdf("Hello from a page"),
        "scan.pdf": pdf(""),
        "broken.pdf": b"%PDF-1.4 cut",
        "letter.docx": docx("Dear reader", "this is a letter"),
    }
    corpus = auto(write(tmp_path, files)).load()
    rows = {row["doc_id"]: row for row in corpus.documents.to_pylist()}
    assert list(rows) == ["letter.docx", "one.pdf", "page.html"]
    assert (rows["page.html"]["title"], rows["one.pdf"]["text"]) == ("Bread", "Hello from a page")
    assert rows["page.html"]["text"].startswith("Flour, water")
    assert "menu" not in rows["page.html"]["text"]
    assert rows["letter.docx"]["text"].split("\n\n") == ["Dear reader", "this is a letter"]
    assert corpus.notes[0].startswith("a folder of 3 PDF, 2 HTML and 1 Word files")
    assert "broken.pdf" in corpus.notes[1]
    assert corpus.notes[2:4] == (
        "1 file is HTML without a text and left out: empty.html",
        "1 file is PDF without a text and left out (pictures of pages need OCR): scan.pdf",
    )


# --- Identity ---


def test_content_is_of_what_is_read_and_labels_are_no_part_of_it(tmp_path: Path):
    def contents(name: str, files: Files) -> tuple[dict[str, str], str]:
        dataset = auto(write(tmp_path / name, files))
        return dataset.content(), dataset.qrels_content()

    one = contents("a", BEIR)
    assert contents("b", BEIR | {"LICENSE": "x", "qrels/train.tsv": "not opened"}) == one
    content, qrels = contents("c", BEIR | {"qrels/test.tsv": "q0\td2\t3\n"})  # another label of the same query
    assert (content == one[0], qrels == one[1]) == (True, False)
    assert contents("d", BEIR | {"qrels/test.tsv": "q1\td1\t1\n"})[0] != one[0]
    for name in ("corpus.jsonl", "queries.jsonl"):
        assert contents(f"e{name}", BEIR | {name: str(BEIR[name]) + "\n"})[0] != one[0], name
    text = contents("f", {"a.md": "text"})
    assert contents("g", {"b.md": "text"})[0] != text[0]  # an id is a path


# --- Faults ---

C = "id,text\nd1,one\n"
# name -> files, fields, words of the one line
BAD: dict[str, tuple[Files, dict[str, Any], list[str]]] = {
    "nothing there": ({}, {"path": "gone"}, ["gone does not exist", "a folder or a pattern"]),
    "an empty folder": ({}, {}, ["holds no files"]),
    "no file of the pattern": ({"a.md": "x"}, {"path": "*.rst"}, ["no file has such a name"]),
    "an empty file": ({"x.csv": ""}, {"path": "x.csv"}, ["x.csv is empty"]),
    "an archive": ({"x.zip": zipped({"a.md": "x"})}, {"path": "x.zip"}, ["x.zip is an archive", "unzip x.zip"]),
    "a folder with an archive": ({"x.tar.gz": b"\x1f\x8b"}, {}, ["x.tar.gz is an archive", "tar -xf x.tar.gz"]),
    "no documents": ({"queries.jsonl": QUERIES}, {}, ["no documents", "queries.jsonl", "dataset.documents=PATH"]),
    "no rows": ({"x.csv": "id,text\n"}, {}, ["x.csv holds no documents"]),
    "ids of two documents": ({"x.csv": C + "d2,b\nd1,two\n"}, {}, ["x.csv:4", "'d1'", "x.csv:2", "another text"]),
    "no id": ({"x.csv": C + ",b\n"}, {}, ["x.csv:3: no id", "1 of 2 rows", "dataset.columns.id"]),
    "not JSON": ({"x.jsonl": '{"id": 1, "text": "a"}\n{"id": 2, "te'}, {}, ["x.jsonl:2: not JSON"]),
    "a list": ({"x.jsonl": "[1]\n"}, {}, ["x.jsonl:1: a JSON list"]),
    "no objects": ({"x.json": "[1, 2]"}, {}, ["x.json:1: a JSON int"]),
    "half a pair": ({"x.jsonl": '{"text": "\\ud800"}\n'}, {}, ["x.jsonl:1", "surrogate"]),
    "another encoding": ({"x.csv": C.encode() + b"d2,caf\xe9\n"}, {}, ["x.csv:3: not UTF-8", "iconv"]),
    "wide characters": ({"x.csv": C.encode("utf-16")}, {}, ["x.csv", "iconv -f utf-16"]),
    "a quote that is open": ({"x.csv": C + 'd2,"b\nd3,c\n'}, {}, ["x.csv:3", "opened here and not closed"]),
    "a comma too many": ({"x.csv": C + "d2,b,c\n"}, {}, ["x.csv:3: 3 cells", "has 2"]),
    "a header with a name twice": ({"x.csv": "id,text,text\n1,a,b\n"}, {}, ["x.csv:1: the header has 'text' twice"]),
    "a column twice": ({"x.parquet": twice("id", "text", "text")}, {}, ["x.parquet has the column 'text' twice"]),
    "lines that end with CR": ({"x.csv": C.replace("\n", "\r") + "d2,two\r"}, {}, ["x.csv:1: lines end with CR", "tr "]),
    "a pointer of Git LFS": ({"x.csv": "version https://git-lfs.github.com/spec/v1\nsize 5\n"}, {}, ["x.csv is a pointer"]),
    "a name that is not UTF-8": ({"caf\udce9.md": "x"}, {}, ["caf\\xe9.md: the name of this file", "rename it"]),
    "a workbook": ({"x.xlsx": zipped({"a": "b"})}, {}, ["no documents were found; it holds x.xlsx", "give csv, tsv"]),
    "a huge line": ({"x.jsonl": jsonl({"text": "a"}, {"text": "b" * 2000})}, {}, ["x.jsonl:2", "1,000 bytes or more"]),
    "a huge cell": ({"x.csv": C + 'd2,"' + "b\n" * 900 + '"\n'}, {}, ["x.csv:3", "not closed"]),
    "json inside json": ({"x.jsonl": jsonl({"text": {"en": "a"}})}, {}, ["x.jsonl:1", "dataset.columns.text=text.en"]),
    "a list of objects": ({"x.jsonl": jsonl({"text": [{"a": 1}]})}, {}, ["x.jsonl:1: text is a list", "write a text"]),
    "a null column": ({"x.parquet": parquet(id=["a", "b"], text=[None, None])}, {}, ["x.parquet", "empty in all 2 rows"]),
    "a struct": ({"x.parquet": parquet(text=[{"en": "a"}])}, {}, ["x.parquet: column text", "dataset.columns.text=text.en"]),
    "text for parquet": ({"x.parquet": C}, {}, ["x.parquet is no parquet file", "it begins with 'id,text", ".csv"]),
    "half of a parquet": ({"x.parquet": b"PAR1\xff\xfe\x00"}, {}, ["x.parquet is no parquet file", "copy it again"]),
    "text for arrow": ({"x.arrow": C}, {}, ["x.arrow is no arrow file"]),
    "half of a gz": ({"corpus.jsonl.gz": gzip.compress(CORPUS.encode())[:30]}, {}, ["corpus.jsonl.gz cannot be read"]),
    "no such column": ({"x.csv": "ref,body\n1,a\n"}, {"columns": {"text": "txt"}}, ["text=txt", "it has ref, body"]),
    "no column of texts": ({"x.csv": "ref,foo,bar\n1,a,b\n"}, {}, ["no column is known as the text", "ref, foo, bar"]),
    "an open topic": ({"x.csv": C, "topics.txt": "<top>\n<num> 1\n<title> a\n"}, {}, ["topics.txt:1", "no </top>"]),
    "an unknown split": ({"x.csv": C, "queries.csv": "query,split\na,later\n"}, {}, ["queries.csv:2", "'later'"]),
    "unknown ids": (BEIR | {"qrels/test.tsv": "q0 d9 1\nq9 d1 1\n"}, {}, ["test.tsv:1: document 'd9'", "unknown_ids=drop"]),
    "no positives": (BEIR | {"qrels/test.tsv": "q0 d1 0\nq0 d2 -1\n"}, {}, ["none of the 2 test judgements is above 0"]),
    "no row in a table of judgements": (
        {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.parquet": parquet(query_id=[], doc_id=[], score=[])},
        {},
        ["test.parquet holds no judgements"],
    ),
    "no judgements": (BEIR | {"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"}, {}, ["test.tsv holds no judgements"]),
    "judgements without a label": (
        {"x.csv": C, "q.csv": "query_id,doc_id,score\nq0,d1,\n"}, {"documents": "x.csv", "qrels": "q.csv"},
        ["q.csv:2: score '' is not"],
    ),
    "a grade in words": (BEIR | {"qrels/test.tsv": "q0\td1\t1\nq1\td1\tgood\n"}, {}, ["test.tsv:2", "'good'"]),
    "two grades": (BEIR | {"qrels/test.tsv": "q0\td1\t1\nq0\td1\t2\n"}, {}, ["test.tsv:2", "test.tsv:1", "keep one"]),
    "no right to read": ({"secret.md": "x"}, {}, ["secret.md cannot be read: Permission denied"]),
    "no right to read a table": ({"secret.csv": "x"}, {}, ["secret.csv cannot be read: Permission denied"]),
    "empty files": ({"a.md": "", "b.md": " \n"}, {}, ["no file has a text", "2 files are empty and left out: a.md, b.md"]),
    "a text beside an empty file": ({"a.md": "x", "b.md": ""}, {}, ["has 1 document; at least two", "1 file is empty", "b.md"]),
    "queries without a text": (BEIR | {"queries.jsonl": '{"_id": "q0", "text": " "}\n'}, {}, ["queries.jsonl:1: no query has"]),
    "a missing package": ({"x.pdf": pdf("a")}, {}, ["x.pdf", "pypdf", "pip install 'zelo[documents]'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_each_fault_is_one_line_with_place_and_fix(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files, fields, words = BAD[case]
    whole = Path.open

    def guarded(path: Path, *args: Any, **kwargs: Any) -> Any:
        if "secret" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *args, **kwargs)

    dataset = at(write(tmp_path / "data", files), fields)
    (tmp_path / "data").mkdir(exist_ok=True)
    monkeypatch.setattr(Path, "open", guarded)
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.setattr(lines, "LONGEST", 1000)
    monkeypatch.setattr(delimited, "LONGEST", 1000)
    with pytest.raises(BadInput) as caught:
        loaded(dataset, tmp_path / "out")
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def loaded(dataset: Auto, out: Path) -> list[str]:
    """The notes of the stages that read data."""
    notes = []
    table = Table("load", "x", out / "load", {})
    load = Load(inputs={}, dataset=dataset, drop_duplicates=False)
    for name, stage in (("load", load), ("labels", Labels(inputs={}, dataset=dataset))):
        (out / name).mkdir(parents=True)
        notes += stage.run({"data": table}, out / name)["notes"]
    return notes


# name -> files that are added to BEIR's, what a note says
REPAIRED: dict[str, tuple[Files, list[str]]] = {
    "the same document twice": ({"corpus.jsonl": CORPUS + CORPUS}, ["2 documents given twice", "corpus.jsonl:3"]),
    "documents without text": (
        {"corpus.jsonl": CORPUS + '{"_id": "d3", "text": " "}\n{"_id": "d4", "title": null}\n'},
        ["2 of 4 documents have neither title nor text", "corpus.jsonl:3"],
    ),
    "a query without text": (
        {"queries.jsonl": '{"_id": "q9", "text": null}\n' + QUERIES},
        ["1 query without a text left out", "queries.jsonl:1"],
    ),
    "ids with spaces": (
        {"corpus.jsonl": CORPUS + '{"_id": "a b", "text": "x"}\n'},
        ["1 document id has white space", "%20"],
    ),
    "negative labels": ({"qrels/test.tsv": "q0\td1\t1\nq0\td2\t-2\n"}, ["1 judgement below 0", "not relevant"]),
    "ids of two types": (
        {"corpus.jsonl": CORPUS + '{"_id": 7, "text": "x"}\n', "qrels/test.tsv": "q0\t7\t1\n"},
        ["corpus.jsonl: 3 documents"],
    ),
    "a byte order mark and CRLF": (
        {"corpus.jsonl": "\ufeff" + CORPUS.replace("\n", "\r\n\r\n")},
        ["corpus.jsonl: 2 documents"],
    ),
    "other files": ({"more.bin": b"\0", "runs/x.trec": "q0 Q0 d1 1 1 x\n"}, ["2 other files not read: more.bin"]),
}


@pytest.mark.parametrize("case", REPAIRED)
def test_what_is_repaired_is_counted(case: str, tmp_path: Path):
    files, words = REPAIRED[case]
    notes = "\n".join(loaded(auto(write(tmp_path / "data", BEIR | dict(files))), tmp_path / "out"))
    for word in words:
        assert word in notes


def test_files_in_another_encoding_and_links_are_counted(tmp_path: Path):
    folder = write(tmp_path, {"a.md": "# A\n\ntext", "sub/latin.txt": b"caf\xe9", "wide.txt": "wide".encode("utf-16")})
    (folder / "sub/round").symlink_to(folder)
    corpus = auto(folder).load()
    assert corpus.documents["text"].to_pylist() == ["text", "café", "wide"]
    assert corpus.notes[1:] == (
        "1 file is read as Windows-1252, as UTF-8 does not fit: sub/latin.txt",
        "1 link to a folder not followed",
    )


def test_unknown_ids_are_dropped_where_that_is_asked_for(tmp_path: Path):
    folder = write(tmp_path, BEIR | {"qrels/test.tsv": "q0\td1\t1\nq0\td9\t1\n"})
    rows, notes = labels(auto(folder, unknown_ids="drop"))
    assert rows == [("q0", "d1", 1, TEST)]
    assert "left out" in notes[0]


def test_without_a_path_it_says_what_to_write():
    with pytest.raises(BadInput, match=r"dataset\.path=PATH"):
        auto(None)
    with pytest.raises(BadInput, match=r"dataset\.path=~nobody"):
        auto(Path("~nobody-of-this-name/x")).load()


def test_what_zelo_writes_is_no_data(tmp_path: Path):
    folder = write(tmp_path, {"a.md": "one", "b.md": "two", "multirun/zelo/now/more.md": "no", "home/load/x.md": "no"})
    for name in ("locks", "uses"):
        (folder / "home" / name).mkdir()
    corpus = auto(folder).load()
    assert corpus.documents["doc_id"].to_pylist() == ["a.md", "b.md"]
    assert "2 folders that zelo wrote not read: home, multirun" in corpus.notes


def test_queries_may_be_missing(tmp_path: Path):
    """Documents alone, or queries that are all judged: the stage make_queries asks for just that."""
    documents = auto(write(tmp_path / "a", {"a.md": "# A\nx", "b.md": "# B\ny"}))
    corpus = documents.load()
    assert (len(corpus.documents), len(corpus.queries)) == (2, 0)
    assert not documents.has_train_queries()
    judged = auto(write(tmp_path / "b", BEIR | {"queries.jsonl": '{"_id": "q0", "text": "a"}\n'}))
    assert splits_of(judged.load()) == [TEST]
    assert not judged.has_train_queries()
    beir = auto(write(tmp_path / "c", BEIR))
    assert TRAIN in splits_of(beir.load())
    assert beir.has_train_queries()


def splits_of(corpus: Corpus) -> list[str]:
    return corpus.queries["split"].to_pylist()
