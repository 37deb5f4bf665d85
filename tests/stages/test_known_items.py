"""Judges weighed by sentences taken out of documents."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from zelo import known_items
from zelo.errors import BadInput
from zelo.judge_weights import weighted
from zelo.judges.ensemble import Ensemble
from zelo.judges.from_scores import FromScores
from zelo.outcomes import Graphs
from zelo.records import CANDIDATE, DOCUMENT, WEIGHT, Outcomes, Questions
from zelo.retrievers.bm25 import Bm25
from zelo.stages.known_items import KnownItems
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.texts import document_texts

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "nu", "re") for b in ("tan", "vos", "dir") for c in "aeiou"]


def corpus(count: int, seed: int = 0) -> pa.Table:
    """Each document has three sentences over five words of its own, drawn from 75."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        own = rng.choice(WORDS, 5, replace=False)
        sentences = [" ".join([*rng.permutation(own)[:4], *rng.choice(WORDS, 2)]) + "." for _ in range(3)]
        rows.append({"doc_id": f"d{number:04}", "title": "", "text": " ".join(sentences)})
    return pa.Table.from_pylist(rows, schema=DOCUMENT)


@dataclass(frozen=True)
class Overlap:
    """Words that query and document share, blurred by noise that depends on the texts alone."""

    noise: float

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        asked, read = (
            [set(t.split()) for t in texts] for texts in (queries["text"].to_pylist(), document_texts(documents))
        )
        shared = np.array([len(asked[q] & read[d]) for q, d in zip(query_row, doc_row, strict=True)], np.float32)
        blur = np.array([np.random.default_rng([q, d]).normal() for q, d in zip(query_row, doc_row, strict=True)])
        return (shared + self.noise * blur).astype(np.float32)


def panel(**noise: float) -> Ensemble:
    members = {name: FromScores(name=name, scorer=Overlap(of), tau=2.0) for name, of in noise.items()}
    return Ensemble(name="panel", use=None, members=members)


def weighed(judge: Any, documents: pa.Table, out: Path, items: int = 120) -> tuple[dict[str, Any], pa.Table]:
    data = out / "data"
    data.mkdir(parents=True)
    write_parquet(documents, DOCUMENT, data, "documents")
    stage = KnownItems(
        inputs={"data": "load"},
        judge=judge,
        retriever=Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None),
        items=items,
        documents=300,
        seed=0,
    )
    facts = stage.run({"data": Table("load", "", data, {})}, out)
    return facts, Table("weights", "", out, {}).read("weights")


def test_a_sentence_is_taken_out_of_its_document_and_code_is_none() -> None:
    text = 'def paste(x=1):\n    """Return what the clipboard holds now."""\n    return call(["xclip", "-o"], x)'
    documents = pa.Table.from_pylist(
        [{"doc_id": "a", "title": "", "text": text}, {"doc_id": "b", "title": "", "text": "x = 1; y = 2; z = 3"}],
        schema=DOCUMENT,
    )
    made = known_items.Items.of(documents, 10, 10, seed=0)
    assert made.queries["text"].to_pylist() == ["what the clipboard holds now."]  # the rest says return
    row = made.documents.take([int(made.wanted[0])]).to_pylist()[0]
    assert row["doc_id"] == "a"
    assert "clipboard" not in row["text"]
    assert "xclip" in row["text"]


def taken(*texts: str, title: str = "", seed: int = 3) -> known_items.Items:
    rows = [{"doc_id": f"{n}", "title": title, "text": text} for n, text in enumerate(texts)]
    return known_items.Items.of(pa.Table.from_pylist(rows, schema=DOCUMENT), 10, 10, seed)


SAY = "We measured the height of seven trees."
RAIN = "Then it rained for a week in the valley."


@pytest.mark.parametrize(
    ("texts", "title", "queries"),
    [
        ([f"{SAY} {RAIN} {SAY}"], "", [RAIN.replace(" the", "")]),  # what stands there twice is no query
        (
            [f"{SAY} {RAIN}", f"{RAIN} 1 2 3 4 5", "x"],
            "",
            [SAY.replace(" the", "")],
        ),  # nor what another document says too
        ([f"{SAY} {RAIN}"], "Rain", ["Rain"]),  # a title is taken first
        ([SAY], "", []),  # nothing would be left
        (
            ["It was found\n    in the old house, and\nnobody came. 1 2 3 4 5"],
            "",
            ["It was found in the old house, and nobody came."],
        ),
        (
            ["We don't know the well-known author's name. 1 2 3 4 5"],
            "",
            ["We don't know the well-known author's name."],
        ),
        (["except Exception as error:\nreturn to the caller:\n1 2 3 4 5"], "", []),
    ],
)
def test_what_is_a_known_item_and_what_is_none(texts: list[str], title: str, queries: list[str]) -> None:
    made = taken(*texts, title=title)
    assert made.queries["text"].to_pylist() == queries
    for query, row in zip(queries, made.wanted, strict=True):
        assert query not in " ".join(made.documents["text"].to_pylist()[row].split())


def test_a_query_lacks_the_rarest_word_that_the_rest_of_its_document_says_too() -> None:
    texts = [
        "The tall seven trees grew. We measured the seven tall oaks.",
        "The tall house 1 2 3 4 5",
        "The house 1 2 3 4 5",
    ]
    made = taken(*texts, seed=1)
    assert made.queries["text"].to_pylist()[0] in ("The tall trees grew.", "We measured the tall oaks.")


def test_titles_and_sentences_are_queries_and_each_is_gone_from_its_document() -> None:
    rows = [
        {"doc_id": f"{n}", "title": f"Name number {n}", "text": f"It says that {word} is here. And more of this kind."}
        for n, word in enumerate(("oak", "elm", "ash", "yew"))
    ]
    made = known_items.Items.of(pa.Table.from_pylist(rows, schema=DOCUMENT), 10, 10, 0)
    left = made.documents.take(made.wanted).to_pylist()
    titles = [query.startswith("Name number") for query in made.queries["text"].to_pylist()]
    assert titles == [True, False, True, False]
    for query, row, title in zip(made.queries["text"].to_pylist(), left, titles, strict=True):
        assert (row["title"] == "") == title
        assert query not in row["text"]


def test_the_order_of_documents_and_what_comes_after_do_not_matter() -> None:
    documents = corpus(50)
    shuffled = documents.take(np.random.default_rng(1).permutation(50))
    first, second = (known_items.Items.of(one, 10, 20, seed=5) for one in (documents, shuffled))
    assert first.queries.equals(second.queries)
    assert first.documents.equals(second.documents)
    assert len(first.queries) == 10
    assert len(first.documents) == 20
    other = known_items.Items.of(documents, 10, 20, seed=6)
    assert not other.documents.equals(first.documents)


def test_a_judge_that_guesses_is_found_out(tmp_path: Path) -> None:
    facts, weights = weighed(panel(good=0.3, guesses=1000.0), corpus(300), tmp_path)
    assert weights["judge"].to_pylist() == ["good", "guesses"]
    good, guesses = weights["weight"].to_pylist()
    assert good > 1.7 > 0.3 > guesses > 0
    assert good + guesses == pytest.approx(2, abs=0.02)
    assert facts["spread"] > 0
    assert facts["weighted"] > facts["equal"] + 0.1
    assert facts["weights"]["good"]["ndcg"] > facts["weights"]["guesses"]["ndcg"] + 0.3
    (note,) = facts["notes"]
    assert note.startswith("judge weights: good ")


def test_judges_that_are_alike_count_alike(tmp_path: Path) -> None:
    facts, weights = weighed(panel(one=1.0, other=1.0), corpus(300), tmp_path)
    assert weights["weight"].to_pylist() == [1, 1]
    assert facts["spread"] == 0


@dataclass(frozen=True)
class ShownFirst:
    """Likes what it is shown first, whatever it says."""

    any_text: ClassVar[bool] = True
    name: str

    def compare(self, questions: Questions) -> Outcomes:
        return Outcomes.answered(self.name, np.full(len(questions), 0.7))


def test_a_liking_for_what_is_shown_first_is_no_knowledge(tmp_path: Path) -> None:
    good = FromScores(name="good", scorer=Overlap(0.3), tau=2.0)
    facts, weights = weighed(
        Ensemble(name="p", use=None, members={"good": good, "first": ShownFirst("first")}), corpus(300), tmp_path
    )
    assert facts["weights"]["first"]["ndcg"] < facts["weights"]["good"]["ndcg"] / 3
    assert dict(zip(*(weights[name].to_pylist() for name in ("judge", "weight")), strict=True))["first"] < 0.3


@dataclass(frozen=True)
class Knows:
    """A judge that knows given queries only: asking it is a fault."""

    name: str

    def compare(self, questions: Questions) -> Outcomes:
        raise AssertionError


@dataclass(frozen=True)
class Mute:
    """Fails where it is asked."""

    any_text: ClassVar[bool] = True
    name: str

    def compare(self, questions: Questions) -> Outcomes:
        n = len(questions)
        return Outcomes.of(self.name, np.full(n, np.nan), np.ones(n), np.full(n, 4, np.int32), np.zeros(n), np.zeros(n))


@pytest.mark.parametrize(
    ("judge", "items"),
    [
        (
            Ensemble(
                name="panel", use=None, members={"a": Knows("a"), "b": FromScores(name="b", scorer=Overlap(0), tau=2.0)}
            ),
            120,
        ),
        (FromScores(name="alone", scorer=Overlap(0), tau=2.0), 120),
        (panel(good=0.3, guesses=1000.0), 0),
    ],
)
def test_nobody_is_asked_who_cannot_be_or_need_not_be(judge: Any, items: int, tmp_path: Path) -> None:
    facts, weights = weighed(judge, corpus(300), tmp_path, items)
    assert set(weights["weight"].to_pylist()) == {1}
    assert weights["ndcg"].null_count == len(weights)
    assert facts["items"] == 0
    mixed = len(weights) == 2 and items > 0
    assert facts["notes"] == (["judge weights: equal, as known items cannot be asked of a"] if mixed else [])


def test_too_few_sentences_leave_all_alike_and_it_is_said(tmp_path: Path) -> None:
    facts, weights = weighed(panel(good=0.3, guesses=1000.0), corpus(9), tmp_path)
    assert weights["weight"].to_pylist() == [1, 1]
    assert facts["notes"] == ["judge weights: equal, as 9 documents give 9 known items, too few to learn from"]


def test_items_that_nobody_finds_teach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bm25, "search", lambda *_: pa.Table.from_pylist([], schema=CANDIDATE))
    facts, weights = weighed(panel(good=0.3, guesses=1000.0), corpus(300), tmp_path)
    assert weights["weight"].to_pylist() == [1, 1]
    assert "give 0 known items" in facts["notes"][0]


def test_a_judge_that_fails_tells_nothing(tmp_path: Path) -> None:
    judge = Ensemble(
        name="panel",
        use=None,
        members={"good": FromScores(name="good", scorer=Overlap(0.3), tau=2.0), "mute": Mute("mute")},
    )
    facts, _ = weighed(judge, corpus(300), tmp_path)
    assert facts["weights"]["mute"]["ndcg"] < 0.1
    assert facts["weights"]["good"]["ndcg"] > 0.4


@pytest.mark.parametrize(("field", "value"), [("items", -1), ("documents", 1)])
def test_bad_numbers_are_refused(field: str, value: int) -> None:
    retriever = Bm25(k1=1.2, b=0.75, stemmer=None, stopwords=None)
    good = KnownItems(inputs={}, judge=panel(a=0), retriever=retriever, items=1, documents=2, seed=0)
    changed: dict[str, Any] = {field: value}
    with pytest.raises(BadInput, match=f"{field}={value}"):
        replace(good, **changed)


def test_weights_multiply_and_an_unknown_judge_counts_one() -> None:
    outcomes = pa.table(
        {
            "query_id": ["q"] * 3,
            "doc_a": ["a"] * 3,
            "doc_b": ["b"] * 3,
            "judge": pa.array(["x", "y", "z"]).dictionary_encode(),
            "p": pa.array([1.0, 0.0, 0.5], pa.float32()),
            "weight": pa.array([1.0, 0.5, 1.0], pa.float32()),
        }
    )
    weights = pa.table([["y", "x"], [0.5, 1.5], [None, 0.3]], schema=WEIGHT)
    found = weighted(outcomes, weights)
    assert found["weight"].to_pylist() == [1.5, 0.25, 1.0]
    assert weighted(outcomes, None) is outcomes
    p, weight, judges = Graphs.of(found).average(found)
    assert p[0] == pytest.approx((1.5 + 0.5) / 2.75)
    assert weight[0] == pytest.approx(2.75 / 3)
    assert judges[0] == 3
