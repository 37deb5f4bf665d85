"""Contract of first stages and scorers, once per option; golden cases of each."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo import ranking
from zelo.errors import BadInput
from zelo.places import config_folder
from zelo.protocols import SpreadRetriever
from zelo.ranking import best, top_candidates
from zelo.records import CANDIDATE, DOCUMENT, QUERY
from zelo.retrievers.fusion import Fusion

ALL = sorted(path.stem for path in (config_folder() / "retriever").glob("*.yaml"))
OPTIONS = [option for option in ALL if not option.startswith("api")]  # these ask an endpoint: test_api
SCORERS = [option for option in OPTIONS if option not in ("fusion", "run", "random")]

SPREAD = [option for option in OPTIONS if option in ("bm25", "dense", "fusion", "random")]

QUERIES = pa.table(
    {
        "query_id": ["sort", "none", "file"],
        "text": ["sort a list of numbers", "qwertyuiop", "delete a file on disk"],
        "split": ["train", "dev", "test"],
    },
    schema=QUERY,
)
DOCUMENTS = pa.table(
    {
        "doc_id": ["list.sort", "zip", "b-twin", "os.remove", "a-twin", "empty"],
        "title": ["list.sort()", "zip(*iterables)", "", "os.remove(path)", "", ""],
        "text": ["Sort the list.", "Pair up items.", "Delete a twin.", "Delete a file.", "Delete a twin.", ""],
    },
    schema=DOCUMENT,
)
RUN = """\
sort Q0 zip 1 2.5 mine
sort\tQ0\tlist.sort\t2\t7.5\tmine

file Q0 os.remove  1 1e-1 mine
none Q0 empty 1 0 mine
none Q0 b-twin 2 0 mine
"""


@pytest.fixture
def retriever(component: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def build(option: str, **changes: Any) -> Any:
        if option == "run" and "path" not in changes:
            (tmp_path / "run.trec").write_text(RUN)
            changes["path"] = str(tmp_path / "run.trec")
        return component(f"retriever/{option}", **changes)

    return build


@pytest.mark.parametrize("option", SPREAD)
def test_a_search_elsewhere_finds_the_same_whatever_is_asked_with_a_query(
    option: str, retriever: Callable[..., Any], tmp_path: Path
) -> None:
    first_stage = retriever(option)
    assert isinstance(first_stage, SpreadRetriever)
    assert first_stage.spreads
    sent = pickle.dumps(first_stage.prepared(QUERIES, DOCUMENTS, tmp_path))
    first_stage.prepared(QUERIES, DOCUMENTS, tmp_path)  # as another attempt does
    ids = DOCUMENTS.select(["doc_id"])
    alone = [pickle.loads(sent).search(QUERIES.slice(row, 1), QUERIES, ids, 4) for row in range(len(QUERIES))]
    assert pa.concat_tables(alone).equals(first_stage.search(QUERIES, DOCUMENTS, 4))


@pytest.mark.parametrize("option", OPTIONS)
def test_search(option: str, retriever: Callable[..., Any]) -> None:
    first_stage = retriever(option)
    found = first_stage.search(QUERIES, DOCUMENTS, 4)
    assert found.schema == CANDIDATE
    assert found.equals(first_stage.search(QUERIES, DOCUMENTS, 4))
    rows = found.to_pandas()
    places = {name: n for n, name in enumerate(QUERIES["query_id"].to_pylist())}
    assert rows["query_id"].map(places).is_monotonic_increasing
    assert not rows.duplicated(["query_id", "doc_id"]).any()
    for _query, group in rows.groupby("query_id"):
        assert group["rank"].tolist() == list(range(min(len(group), 4)))
        order = sorted(zip(-group["score"], group["doc_id"], strict=True))
        assert [doc for _score, doc in order] == group["doc_id"].tolist()
    if option == "random":  # looks at no text
        return
    assert rows.groupby("query_id")["doc_id"].first()[["sort", "file"]].tolist() == ["list.sort", "os.remove"]
    shuffled = DOCUMENTS.take([3, 5, 0, 4, 1, 2])
    again = first_stage.search(QUERIES, shuffled, 4).to_pandas()
    assert again["doc_id"].tolist() == rows["doc_id"].tolist()
    assert np.allclose(again["score"], rows["score"], atol=1e-6)


@pytest.mark.parametrize("option", SCORERS)
def test_scores_agree_with_search_in_any_order(option: str, retriever: Callable[..., Any]) -> None:
    scorer = retriever(option)
    query_row, doc_row = (index.ravel() for index in np.indices((3, 6)))
    scores = scorer.score(QUERIES, DOCUMENTS, query_row, doc_row)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert scores[2 * 6 + 2] == pytest.approx(scores[2 * 6 + 4], abs=1e-6)  # twins
    order = np.random.default_rng(0).permutation(len(scores))
    assert np.array_equal(scorer.score(QUERIES, DOCUMENTS, query_row[order], doc_row[order]), scores[order])
    one = scorer.score(QUERIES, DOCUMENTS, query_row[3:4], doc_row[3:4])
    assert one == pytest.approx(scores[3:4], abs=1e-6)
    assert len(scorer.score(QUERIES, DOCUMENTS, query_row[:0], doc_row[:0])) == 0
    by_score = top_candidates(QUERIES, DOCUMENTS, query_row, doc_row, scores, 6).to_pandas()
    found = scorer.search(QUERIES, DOCUMENTS, 6).to_pandas()
    if option == "bm25":
        by_score = by_score[by_score["score"] > 0]
    assert found["doc_id"].tolist() == by_score["doc_id"].tolist()
    assert np.allclose(found["score"], by_score["score"], atol=1e-6)


def test_best_keeps_what_ties_with_the_last() -> None:
    row, column = best(np.array([[3, 1, 1, 0], [2, 2, 2, 2]], np.float32), 2)
    assert list(zip(row.tolist(), column.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 2),
        *((1, n) for n in range(4)),
    ]


def test_bm25_finds_the_language_of_the_documents(retriever: Callable[..., Any]) -> None:
    texts = {
        "de": "Die Häuser der alten Stadt wurden im vergangenen Jahrhundert von vielen Handwerkern gebaut.",
        "en": "The houses of the old town were built in the last century by many craftsmen.",
        "ja": "この町の古い家々は、前の世紀に多くの職人によって建てられました。とても美しいです。",
    }
    bm25 = retriever("bm25")

    def of(*languages: str) -> tuple[str | None, str | None]:
        rows = [texts[language] for language in languages]
        ids = [f"d{row}" for row in range(len(rows))]
        found = bm25.of(pa.table([ids, [""] * len(rows), rows], schema=DOCUMENT))
        return found.stemmer, found.stopwords

    assert of("de", "de", "en") == ("german", "de")
    assert of("en") == of("de", "ja") == of() == ("english", "en"), "English where no language has most"
    assert of("ja") == (None, None), "a language without a stemmer"
    german = pa.table(
        [["d0", "d1"], ["", ""], [texts["de"], texts["de"].replace("Häuser", "Brücken")]], schema=DOCUMENT
    )
    asked = pa.table([["q"], ["Haus und Häusern"], ["train"]], schema=QUERY)
    assert bm25.search(asked, german, 2)["doc_id"].to_pylist() == ["d0"], "the word is found in another form"


@pytest.mark.parametrize("count", [3, 40])
def test_nearest_vectors_by_blocks_are_those_of_the_whole_product(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(ranking, "DOCUMENTS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    documents = rng.integers(-1, 2, (count, 5)).astype(np.float32)  # small whole numbers: many ties, exact products
    queries = rng.integers(-1, 2, (8, 5)).astype(np.float32)
    row, column, score = ranking.nearest(queries, documents, 4)
    scores = queries @ documents.T
    expected = best(scores, 4)
    assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == list(
        zip(*(c.tolist() for c in expected), strict=True)
    )
    assert np.array_equal(score, scores[row, column])


def test_no_bm25_credit_without_a_shared_word(retriever: Callable[..., Any]) -> None:
    found = retriever("bm25").search(QUERIES, DOCUMENTS, 6).to_pandas()
    assert set(found["query_id"]) == {"sort", "file"}
    assert (found["score"] > 0).all()
    wordless = DOCUMENTS.slice(5)
    assert retriever("bm25").search(QUERIES, wordless, 6).num_rows == 0


def test_bm25_is_lucenes_formula(retriever: Callable[..., Any]) -> None:
    """idf = ln(1 + (N - df + 0.5) / (df + 0.5)); tf part = tf / (tf + k1 (1 - b + b length / mean length))."""
    documents = pa.table({"doc_id": ["1", "2", "3"], "title": [""] * 3, "text": ["cat cat dog", "dog", "bird"]})
    queries = pa.table({"query_id": ["q"], "text": ["cats"], "split": ["test"]})
    score = retriever("bm25").score(queries, documents, np.array([0]), np.array([0]))[0]
    assert score == pytest.approx(np.log(1 + 2.5 / 1.5) * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / (5 / 3))), rel=1e-5)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("天气", {"zh"}),  # within a longer run
        ("苹果手机", {"phone"}),  # 苹果 and 手机 stand apart in it
        ("桜", {"ja"}),  # one character
        ("サクラ", {"kana"}),
        ("ไทย", {"th"}),
        ("ภาษา", {"th"}),
        ("ລາວ", {"lo"}),
        ("ខ្មែរ", {"km"}),
        ("မြန်မာ", {"my"}),
        ("문서", {"ko"}),  # Hangul has spaces
        ("searching 天气", {"zh", "en"}),
        ("气今", set()),  # two characters that stand in another order
    ],
)
def test_bm25_reads_scripts_without_spaces(query: str, found: set[str], retriever: Callable[..., Any]) -> None:
    texts = {
        "zh": "今日天气晴朗适合出门",
        "phone": "苹果公司发布新款手机",
        "ja": "日本の桜は春に咲きます",
        "kana": "サクラサク",
        "th": "ค้นหาเอกสารภาษาไทย",
        "lo": "ພາສາລາວ",
        "km": "ភាសាខ្មែរ",
        "my": "မြန်မာဘာသာ",
        "ko": "한국어 문서 검색",
        "en": "it searches, and finds",
    }
    documents = pa.table([list(texts), [""] * len(texts), list(texts.values())], schema=DOCUMENT)
    queries = pa.table([["q"], [query], ["test"]], schema=QUERY)
    assert set(retriever("bm25").search(queries, documents, 10)["doc_id"].to_pylist()) == found


def test_bm25_reads_other_scripts_word_by_word_as_ever(retriever: Callable[..., Any]) -> None:
    import bm25s
    import Stemmer

    texts = ["Sort the lists, naïve café!", "поиск документов", "한국어 문서 검색", "", "a_b c3 Ünïcode"]
    stem: Any = Stemmer.Stemmer("english").stemWords
    expected = bm25s.tokenize(texts, stopwords="en", stemmer=stem, return_ids=False, show_progress=False)
    english = retriever("bm25", stemmer="english", stopwords="en")
    assert english.words(texts, 1) == expected
    assert english.words(["Sort 天气 lists"], 2) == [["sort", "list", "天气"]]


def test_late_interaction_against_its_definition(retriever: Callable[..., Any]) -> None:
    plain, weighted = retriever("late_interaction"), retriever("late_interaction_idf")
    left, right = plain.backbone.queries(QUERIES), plain.backbone.documents(DOCUMENTS)
    query = slice(left.offsets[2], left.offsets[3])
    document = right.vectors[right.offsets[3] : right.offsets[4]].astype(np.float64)
    top = (left.vectors[query].astype(np.float64) @ document.T).max(axis=1)
    pair = (np.array([2]), np.array([3]))
    assert plain.score(QUERIES, DOCUMENTS, *pair)[0] == pytest.approx(top.mean(), abs=1e-5)
    texts = [set(right.tokens[a:b].tolist()) for a, b in zip(right.offsets, right.offsets[1:], strict=False)]
    df = np.array([sum(token in text for text in texts) for token in left.tokens[query]])
    idf = np.log(7 / (df + 1))
    assert idf[[0, -1]].tolist() == [0, 0]  # [CLS], [SEP]
    assert weighted.score(QUERIES, DOCUMENTS, *pair)[0] == pytest.approx((top @ idf) / idf.sum(), abs=1e-5)


def test_window_against_its_definition(retriever: Callable[..., Any]) -> None:
    scorer = retriever("window", width=3)
    query = scorer.backbone.queries(QUERIES).pooled[0]
    right = scorer.backbone.documents(DOCUMENTS)
    tokens = right.vectors[right.offsets[0] : right.offsets[1]].astype(np.float64)
    means = [tokens[start : start + 3].mean(axis=0) for start in range(len(tokens) - 2)]
    expected = max(query @ mean / np.linalg.norm(mean) for mean in means)
    assert scorer.score(QUERIES, DOCUMENTS, np.array([0]), np.array([0]))[0] == pytest.approx(expected, abs=1e-5)


class Fixed:
    """A first stage that returns these documents for every query."""

    def __init__(self, *documents: str) -> None:
        self.documents = documents

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        names = self.documents[:top_k]
        rows = [(q, d, n, 1.0 / (n + 1)) for q in queries["query_id"].to_pylist() for n, d in enumerate(names)]
        return pa.table([list(column) for column in zip(*rows, strict=True)], schema=CANDIDATE)


def test_fusion_is_the_formula_of_its_paper() -> None:
    """Cormack, Clarke and Buettcher (2009): sum of 1 / (60 + rank), rank 1 the best."""
    members = {"one": Fixed("zip", "empty", "list.sort"), "two": Fixed("os.remove", "empty", "zip", "list.sort")}
    fusion = Fusion(members=members, depth=3, constant=60)
    found = fusion.search(QUERIES.slice(1, 1), DOCUMENTS, 3)
    assert found["doc_id"].to_pylist() == ["zip", "empty", "os.remove"]
    assert found["score"].to_pylist() == pytest.approx([1 / 61 + 1 / 63, 2 / 62, 1 / 61], rel=1e-6)
    found = fusion.search(QUERIES.slice(1, 1), DOCUMENTS, 10)  # asked for more than its depth, it looks deeper
    assert found["doc_id"].to_pylist() == ["zip", "empty", "list.sort", "os.remove"]
    expected = [1 / 61 + 1 / 63, 2 / 62, 1 / 63 + 1 / 64, 1 / 61]
    assert found["score"].to_pylist() == pytest.approx(expected, rel=1e-6)


def test_a_run_file_and_the_queries_that_it_lacks(component: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "some.trec"
    path.write_text("\n".join(line for line in RUN.splitlines() if not line.startswith(("none", "file"))))
    run = component("retriever/run", path=str(path))
    whole = run.retrieved(QUERIES, DOCUMENTS, 3)
    assert whole.filled.tolist() == [False, True, False]
    assert whole.notes[:1] == (
        f"{path} lacks 2 of 3 queries: its ranking counts 0 there; 1 of train and dev get candidates by Fusion"
        " (retriever.otherwise), to learn from; 1 of test get none",
    )
    found = run.search(QUERIES, DOCUMENTS, 3).to_pandas()
    assert set(found["query_id"]) == {"sort", "none"}
    assert found[found["query_id"] == "sort"]["doc_id"].tolist() == ["list.sort", "zip"]
    fusion = component("retriever/fusion").search(QUERIES.slice(1, 1), DOCUMENTS, 3).to_pandas()
    assert found[found["query_id"] == "none"]["doc_id"].tolist() == fusion["doc_id"].tolist()
    same = tmp_path / "same.trec"
    same.write_text(path.read_text())
    assert component("retriever/run", path=str(same)).content() == run.content()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("sort Q0 nowhere 9 1.0 mine", r"bad.trec, line 7: .*names a document that is not in the corpus"),
        ("sorted Q0 zip 9 1.0 mine", "line 7: .*query that is not in the dataset"),
        ("sort Q0 zip 9 1.0 mine", "line 7: .*a second time"),
        ("sort Q0 empty 9 nan mine", "line 7: .*no finite score"),
        ("sort Q0 empty 9 high mine", "line 7: .*six columns"),
        ("sort Q0 empty 9 1.0", "line 7: .*six columns"),
        ("sort Q0 empty 9 1e39 mine", "line 7: .*score beyond 32-bit numbers"),
        ("sort Q0 os\udcff 9 1.0 mine", "line 7: .*is not UTF-8"),
    ],
)
def test_a_run_file_that_cannot_be_used(
    component: Callable[..., Any], tmp_path: Path, line: str, complaint: str
) -> None:
    path = tmp_path / "bad.trec"
    path.write_text(RUN + line + "\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(BadInput, match=complaint):
        component("retriever/run", path=str(path)).search(QUERIES, DOCUMENTS, 3)
    path.write_text(" \n\n")
    with pytest.raises(BadInput, match=r"bad\.trec is empty"):
        component("retriever/run", path=str(path)).search(QUERIES, DOCUMENTS, 3)


def test_a_run_whose_ranks_and_scores_say_two_things(component: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "some.trec"
    run = component("retriever/run", path=str(path))

    def read(*lines: str) -> tuple[list[str], tuple[str, ...]]:
        path.write_bytes(b"\xef\xbb\xbf\n" + "".join(f"sort Q0 {line} mine\n" for line in lines).encode())
        found = run.retrieved(QUERIES.slice(0, 1), DOCUMENTS, 3)
        return found.candidates["doc_id"].to_pylist(), found.notes

    assert read("zip 1 3", "empty 2 2", "b-twin 3 1") == (["zip", "empty", "b-twin"], ())
    order, notes = read("zip 1 1", "empty 2 2", "b-twin 3 3")
    assert order == ["b-twin", "empty", "zip"]
    assert notes == (
        f"{path}: lines whose score is above that of the line ranked before them: 2, the first is line 3; the score decides,"
        " as in trec_eval",
    )
    order, notes = read("zip 1 9", "empty 2 1.00000001", "b-twin 3 1")  # equal as 32-bit numbers
    assert order == ["zip", "b-twin", "empty"]
    assert notes == (
        f"{path}: lines that share their score with another line of their query: 2, the first is line 3; equal scores are"
        " ordered by document id, not by rank",
    )
    assert read("zip first 3", "empty second 2")[1] == ()


def test_settings_and_files_that_cannot_be(component: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        component("retriever/run", path=str(tmp_path / "nowhere")).content()
    for option, changes in (
        ("bm25", {"b": 1.5}),
        ("bm25", {"stemmer": "klingon"}),
        ("fusion", {"depth": 0}),
        ("late_interaction", {"pool": 0}),
        ("window", {"width": 0}),
    ):
        with pytest.raises(BadInput, match=str(*changes.values())):
            component(f"retriever/{option}", **changes)
    with pytest.raises(BadInput, match="klingon"):
        component("retriever/bm25", stopwords="klingon").search(QUERIES, DOCUMENTS, 3)


def test_random_candidates_are_each_query_s_own_and_none_comes_twice(retriever: Callable[..., Any]) -> None:
    n, documents = 40, 300
    queries = pa.table([[f"q{i}" for i in range(n)], ["?"] * n, ["train"] * n], schema=QUERY)
    corpus = pa.table([[f"d{i}" for i in range(documents)], [""] * documents, ["."] * documents], schema=DOCUMENT)
    first = retriever("random")
    found = first.search(queries, corpus, 30).to_pandas()
    lists = found.groupby("query_id")["doc_id"].agg(list)
    assert all(len(set(own)) == len(own) == 30 for own in lists)
    counts = found["doc_id"].value_counts().reindex(corpus["doc_id"].to_pylist(), fill_value=0)
    assert counts.var() < 2 * counts.mean(), "some documents are drawn far too often"
    alone = first.search(queries.slice(7, 1), corpus, 30).to_pandas()
    assert alone["doc_id"].tolist() == lists["q7"]
    assert set(first.search(queries.slice(0, 1), corpus.slice(0, 5), 30)["doc_id"].to_pylist()) == {
        f"d{i}" for i in range(5)
    }
