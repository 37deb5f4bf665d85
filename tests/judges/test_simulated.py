"""Judges that know the answer beforehand: from true scores, from labels, and from outcomes made elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit, ndtr

from zelo.errors import BadInput
from zelo.records import CRITERIA, DOCUMENT, OUTCOME, QUERY, STATUSES, Questions

Build = Callable[..., Any]
WIDTH = 60  # documents; ids of queries and documents are the same, as in ArguAna
QUERIES = pa.table({"query_id": [f"x{n}" for n in range(40)], "text": ["?"] * 40, "split": ["test"] * 40}, schema=QUERY)
DOCUMENTS = pa.table(
    {"doc_id": [f"x{n}" for n in range(WIDTH)], "title": [""] * WIDTH, "text": ["."] * WIDTH}, schema=DOCUMENT
)


def ask(query: Any, a: Any, b: Any, repeat: int = 0, query_b: Any = None) -> Questions:
    of, first, second = (np.asarray(column, np.int32) for column in (query, a, b))
    other = None if query_b is None else np.asarray(query_b, np.int32)
    return Questions(QUERIES, DOCUMENTS, of, first, second, np.full(len(of), repeat, np.int16), other)


def swapped(questions: Questions) -> Questions:
    return replace(questions, a_row=questions.b_row, b_row=questions.a_row)


def everything() -> Questions:
    a, b = np.triu_indices(WIDTH, 1)
    return ask(np.repeat(np.arange(40), len(a)), np.tile(a, 40), np.tile(b, 40))


def rubric(query: Any, doc: Any) -> Questions:
    """Every criterion of these documents alone, the first document's first."""
    query, doc = np.repeat(query, CRITERIA), np.repeat(doc, CRITERIA)
    return replace(ask(query, doc, doc), criterion=np.tile(np.arange(CRITERIA, dtype=np.int16), len(doc) // CRITERIA))


def scores_file(folder: Path, scores: np.ndarray) -> str:
    """scores: [queries, documents]."""
    query, doc = np.indices(scores.shape)
    columns = {
        "query_id": [f"x{n}" for n in query.ravel()],
        "doc_id": [f"x{n}" for n in doc.ravel()],
        "score": scores.ravel(),
    }
    pq.write_table(pa.table(columns), folder / "scores.parquet")
    return str(folder / "scores.parquet")


@pytest.mark.parametrize("option", ["simulated", "simulated_thurstone"])
def test_an_answer_is_made_of_the_pair_alone(option: str, component: Build) -> None:
    judge = component(f"judge/{option}")
    asked = everything()
    p = judge.compare(asked).p
    assert np.abs(p + judge.compare(swapped(asked)).p - 1).max() < 1e-6
    order = np.random.default_rng(0).permutation(len(asked))[:1000]
    rows = ask(asked.query_row[order], asked.a_row[order], asked.b_row[order])
    assert np.array_equal(judge.compare(rows).p, p[order])
    assert (judge.compare(replace(asked, repeat=asked.repeat + 1)).p != p).any()
    assert (component(f"judge/{option}", name="another").compare(asked).p != p).any()
    assert (component(f"judge/{option}", seed=1).compare(asked).p != p).any()


def test_true_scores_are_standard_normal_and_the_same_for_all_judges(component: Build) -> None:
    exact = {"sd": 0.0, "slip": 0.0}
    one, other = (component("judge/simulated", name=name, **exact).compare(everything()).p for name in "ab")
    assert np.array_equal(one, other)
    reference = ask(np.repeat(np.arange(40), WIDTH - 1), np.tile(np.arange(1, WIDTH), 40), np.zeros(40 * (WIDTH - 1)))
    difference = logit(component("judge/simulated", **exact).compare(reference).p.astype(float)).reshape(40, -1)
    assert difference.std(axis=1).mean() == pytest.approx(1, abs=0.05)
    assert difference.mean(axis=1).std() == pytest.approx(1, abs=0.3)  # what document 0 adds to its query's
    assert abs(np.corrcoef(difference[0], difference[1])[0, 1]) < 0.4  # a document has a score for each query
    across = ask([3, 7], [5, 5], [9, 9], query_b=[7, 3])
    forth = component("judge/simulated", **exact).compare(across).p
    back = component("judge/simulated", **exact).compare(ask([7, 3], [9, 9], [5, 5], query_b=[3, 7])).p
    assert forth + back == pytest.approx(1, abs=1e-6)
    assert forth[0] + forth[1] != pytest.approx(1, abs=1e-3)


def test_uniform_mixture_has_the_noise_that_it_names(component: Build, tmp_path: Path) -> None:
    scores = np.random.default_rng(1).normal(size=(40, WIDTH))
    path, asked = scores_file(tmp_path, scores), everything()
    true = scores[asked.query_row, asked.a_row] - scores[asked.query_row, asked.b_row]
    noisy = component("judge/simulated", scores=path, slip=0.0, sd=0.5).compare(asked).p.astype(float)
    noise = logit(noisy) - true
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.5, abs=0.01)
    mixed = component("judge/simulated", scores=path, slip=0.3, sd=0.0).compare(asked).p
    rest = (mixed - 0.7 * expit(true)) / 0.3
    assert rest.min() == pytest.approx(0, abs=1e-3)
    assert rest.max() == pytest.approx(1, abs=1e-3)
    assert rest.std() == pytest.approx(1 / np.sqrt(12), abs=0.01)
    biased = component("judge/simulated", scores=path, slip=0.0, sd=0.0, position_bias=0.4)
    assert logit(biased.compare(asked).p.astype(float)) == pytest.approx(true + 0.4, abs=1e-3)
    assert logit(biased.compare(swapped(asked)).p.astype(float)) == pytest.approx(0.4 - true, abs=1e-3)


def test_thurstone_votes_as_often_as_it_should(component: Build, tmp_path: Path) -> None:
    scores = np.random.default_rng(2).normal(size=(40, WIDTH))
    path, asked = scores_file(tmp_path, scores), everything()
    true = scores[asked.query_row, asked.a_row] - scores[asked.query_row, asked.b_row]
    for slip in (0.0, 0.2):
        p = component("judge/simulated_thurstone", scores=path, slip=slip).compare(asked).p
        assert set(p.tolist()) == {0.0, 1.0}
        for low in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0):
            near = (true > low) & (true < low + 0.25)
            wanted = (1 - slip) * ndtr(true[near] / np.sqrt(0.5)).mean() + slip / 2
            assert p[near].mean() == pytest.approx(wanted, abs=4 * 0.5 / np.sqrt(near.sum()))
    assert component("judge/simulated_thurstone", scores=scores_file(tmp_path, 0 * scores), sd=0.0).compare(
        asked
    ).p.tolist() == [0.5] * len(asked)


def test_a_document_alone_meets_criteria_as_often_as_its_score_says(component: Build, tmp_path: Path) -> None:
    scores = np.random.default_rng(3).normal(size=(40, WIDTH))
    path = scores_file(tmp_path, scores)
    query, doc = (index.ravel() for index in np.indices(scores.shape))
    asked = rubric(query, doc)
    true = (scores[query, doc][:, None] - [-2, -1, 0, 1, 2]).ravel()
    exact = component("judge/simulated", scores=path, slip=0.0, sd=0.0, position_bias=0.4)  # of which nothing comes in
    p = exact.compare(asked).p
    assert p == pytest.approx(expit(true), abs=1e-6)
    assert (np.diff(p.reshape(-1, CRITERIA), axis=1) < 0).all()  # each criterion is harder than the one before
    judge = component("judge/simulated", scores=path, slip=0.0, sd=0.5)
    noise = logit(judge.compare(asked).p.astype(float)) - true
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.corrcoef(noise.reshape(-1, CRITERIA).T) - np.eye(CRITERIA)).max() < 0.1  # each has its own
    vote = component("judge/simulated_thurstone", scores=path, slip=0.2, sd=1.0).compare(asked).p
    assert set(vote.tolist()) == {0.0, 1.0}
    wanted = (0.8 * ndtr(true) + 0.1).reshape(-1, CRITERIA).mean(axis=0)
    assert vote.reshape(-1, CRITERIA).mean(axis=0) == pytest.approx(wanted, abs=4 * 0.5 / np.sqrt(len(doc)))


@pytest.mark.parametrize("option", ["simulated", "simulated_thurstone", "qrels"])
def test_an_answer_about_a_document_alone_is_made_of_it_alone(option: str, labels: Path, component: Build) -> None:
    path = {"path": str(labels)} if option == "qrels" else {}
    judge = component(f"judge/{option}", **path, sd=2.0)
    asked = rubric(np.arange(600) % 40, np.arange(600) % WIDTH)
    p = judge.compare(asked).p
    order = np.random.default_rng(0).permutation(len(asked))[:900]
    assert np.array_equal(judge.compare(asked.take(order)).p, p[order])
    assert np.array_equal(judge.compare(asked.flipped(np.ones(len(asked), bool))).p, p)
    assert (judge.compare(replace(asked, repeat=asked.repeat + 1)).p != p).any()
    for change in ({"name": "another"}, {"seed": 1}):
        assert (component(f"judge/{option}", **path, **({"sd": 2.0} | change)).compare(asked).p != p).any()


def test_labels_are_held_against_thresholds(labels: Path, component: Build) -> None:
    exact = component("judge/qrels", path=str(labels), sd=0.0, slip=0.0)
    grade = np.array([[2.0], [1.0], [0.0], [0.0]])  # 2 is the highest; for x0, x4 has a train label only
    p = exact.compare(rubric([0, 2, 2, 0], [1, 3, 1, 4])).p
    assert p == pytest.approx(expit(2.0 * (grade - 2 * np.array([0.1, 0.3, 0.5, 0.7, 0.9]))).ravel(), abs=1e-6)


def test_what_only_compares_says_so(component: Build, tmp_path: Path) -> None:
    outcomes = outcomes_file(tmp_path, ROWS)
    for judge in (
        component("judge/replay", path=outcomes),
        component("judge/human", answers=str(tmp_path / "answers.jsonl")),
        component("judge/lexical"),
        component("judge/causal_lm"),
    ):
        with pytest.raises(BadInput, match=rf"judge {judge.name} compares two documents.*rubric.*judge=chat"):
            judge.compare(rubric([0], [1]))


def test_a_score_that_is_not_there_is_named(component: Build, tmp_path: Path) -> None:
    judge = component("judge/simulated", scores=scores_file(tmp_path, np.zeros((2, 3))))
    assert judge.compare(ask([0, 1], [0, 1], [1, 2])).p == pytest.approx(0.5, abs=0.2)
    with pytest.raises(BadInput, match=r"scores\.parquet has no score of document 'x7' for query 'x1'"):
        judge.compare(ask([0, 1], [0, 1], [1, 7]))
    with pytest.raises(BadInput, match="document 'x2' for query 'x5'"):
        judge.compare(ask([0, 1], [0, 1], [1, 2], query_b=[0, 5]))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert judge.content() == component("judge/simulated", scores=scores_file(elsewhere, np.zeros((2, 3)))).content()
    assert judge.content() != component("judge/simulated", scores=scores_file(elsewhere, np.ones((2, 3)))).content()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_id": [1] * 6}, "query_id must be strings"),
        ({"query_id": ["x0"] * 6}, "scores document 'x0' for query 'x0' twice"),
        ({"score": ["a"] * 6}, "column score is string"),
        ({"score": [1.0, 2.0, None, 4.0, 5.0, 6.0]}, "row 2 has no finite score"),
        ({"doc_id": None}, "no column doc_id"),
    ],
)
def test_scores_that_cannot_be_used(changes: dict[str, Any], message: str, component: Build, tmp_path: Path) -> None:
    path = scores_file(tmp_path, np.zeros((2, 3)))
    columns = pq.read_table(path).to_pydict() | changes
    pq.write_table(pa.table({name: column for name, column in columns.items() if column}), path)
    with pytest.raises(BadInput, match=message):
        component("judge/simulated", scores=path).compare(ask([0], [0], [1]))


def test_settings_that_cannot_be(component: Build, tmp_path: Path) -> None:
    for option, change in (
        ("simulated", {"sd": -1.0}),
        ("simulated", {"slip": 2.0}),
        ("simulated", {"noise_model": "gumbel"}),
        ("qrels", {"slope": 0.0, "path": "x"}),
    ):
        with pytest.raises(BadInput, match=next(iter(change))):
            component(f"judge/{option}", **change)
    (tmp_path / "no.parquet").write_text("no")
    for judge in (
        component("judge/simulated", scores=str(tmp_path / "none")),
        component("judge/simulated", scores=str(tmp_path / "no.parquet")),
        component("judge/qrels", path=str(tmp_path)),
        component("judge/replay", path=str(tmp_path / "none")),
        component("judge/replay", path=str(tmp_path / "no.parquet")),
    ):
        with pytest.raises(BadInput, match=str(tmp_path)):
            judge.compare(ask([0], [0], [1]))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nx0\tx1\t2\nx1\tx0\t1\n")
    (tmp_path / "qrels" / "dev.tsv").write_text("x2 0 x3 1\n")
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nx0\tx4\t3\n")
    return tmp_path


def test_labels_become_preferences(labels: Path, component: Build) -> None:
    exact = component("judge/qrels", path=str(labels), sd=0.0, slip=0.0)
    asked = ask([0, 0, 1, 2, 0, 0], [1, 5, 0, 3, 0, 4], [5, 1, 1, 9, 9, 5])
    # The last two: grade 0 where nobody judged (not the judgement of x0 for x1), and train labels are left alone.
    wanted = expit(2.0 * np.array([2, -2, 1, 1, 0, 0]))
    assert exact.compare(asked).p == pytest.approx(wanted, abs=1e-6)
    across = exact.compare(ask([0, 1], [1, 0], [0, 1], query_b=[1, 0])).p
    assert across == pytest.approx(expit([2.0, -2.0]), abs=1e-6)
    noisy = component("judge/qrels", path=str(labels))
    assert noisy.compare(asked).p + noisy.compare(swapped(asked)).p == pytest.approx(1, abs=1e-6)
    assert (noisy.compare(asked).p != exact.compare(asked).p).all()
    named = component("judge/qrels", path=str(labels / "qrels" / "train.tsv"), sd=0.0, slip=0.0)
    assert named.compare(asked).p[-1] == pytest.approx(expit(6.0))
    before = exact.content()
    (labels / "qrels" / "train.tsv").write_text("")
    assert exact.content() == before
    (labels / "qrels" / "dev.tsv").write_text("")
    assert exact.content() != before


@pytest.mark.parametrize(
    ("line", "message"),
    [("x0\tx1", "test.tsv:2"), ("x0\tx1\tyes", "test.tsv:2"), ("x0\tx3\t1\nx0\tx3\t2", "test.tsv:3.*keep one")],
)
def test_labels_that_cannot_be_used(line: str, message: str, labels: Path, component: Build) -> None:
    (labels / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(BadInput, match=message):
        component("judge/qrels", path=str(labels)).compare(ask([0], [0], [1]))


def test_labels_are_read_as_a_dataset_reads_them(labels: Path, component: Build) -> None:
    """Headers in other words, grades with a decimal point; a hidden file and one of no split are left alone."""
    (labels / "qrels" / "test.tsv").write_text("query\tdocument\tgrade\nx0\tx1\t2.0\nx1\tx0\t1\n")
    (labels / "qrels" / ".test.tsv").write_text("x0\tx5\t3\n")
    (labels / "qrels" / "other.tsv").write_text("x0\tx5\t3\n")
    exact = component("judge/qrels", path=str(labels), sd=0.0, slip=0.0)
    assert exact.compare(ask([0, 1], [1, 0], [5, 1])).p == pytest.approx(expit([4.0, 2.0]), abs=1e-6)


def test_labels_of_another_dataset_are_refused(labels: Path, component: Build) -> None:
    (labels / "other.tsv").write_text("y0\tx1\t1\n")
    with pytest.raises(BadInput, match="none of the 40 queries"):
        component("judge/qrels", path=str(labels / "other.tsv")).compare(ask([0], [0], [1]))


def outcomes_file(folder: Path, rows: list[tuple[str, str, str, str, int, float | None, str]], **changes: Any) -> str:
    names = ("query_id", "doc_a", "doc_b", "judge", "repeat", "p", "status")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)} | changes
    schema = pa.schema([OUTCOME.field(name) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), folder / "outcomes.parquet")
    return str(folder / "outcomes.parquet")


ROWS = [
    ("x0", "x1", "x2", "one", 0, 0.9, "answered"),
    ("x0", "x2", "x1", "two", 0, 0.3, "answered"),
    ("x0", "x1", "x2", "one", 1, 0.2, "answered"),
    ("x1", "x0", "x2", "one", 0, None, "refused"),
    ("x1", "x3", "x4", "one", 0, None, "failed"),
    ("x1", "x3", "x4", "two", 0, 0.6, "answered"),
]


def test_outcomes_made_elsewhere_are_found_again(
    component: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = outcomes_file(tmp_path, ROWS)
    judge = component("judge/replay", path=path)
    asked = ask([0, 0, 1, 1, 1, 2], [1, 2, 0, 3, 4, 1], [2, 1, 2, 4, 3, 2])
    answers = judge.compare(asked)
    assert answers.p == pytest.approx([0.8, 0.2, np.nan, 0.6, 0.4, np.nan], nan_ok=True)
    answered = ["answered"] * 2
    assert answers.status.to_pylist() == [*answered, "refused", *answered, "unsent"]
    assert set(answers.judge.to_pylist()) == {"replay"}
    judge.compare(asked)
    assert capsys.readouterr().err == ""  # it is told once, when all was asked
    (said,) = judge.notes()
    assert said.startswith(
        f"judge replay: 10 of 12 answers are in {path}, first missing: query x2, documents x1 and x2;"
    )
    assert answers.weight.tolist() == [1.0] * 6
    assert judge.compare(ask([0], [1], [2], repeat=1)).p == pytest.approx([0.2])
    one = component("judge/replay", path=path, judge="one").compare(asked)
    assert one.p == pytest.approx([0.9, 0.1, np.nan, np.nan, np.nan, np.nan], nan_ok=True)
    assert one.status.to_pylist() == [*answered, "refused", "failed", "failed", "unsent"]
    path = outcomes_file(tmp_path, ROWS[:2], weight=[0.2, 0.6])
    weighed = component("judge/replay", path=path).compare(ask([0], [1], [2]))
    assert weighed.p == pytest.approx([(0.2 * 0.9 + 0.6 * 0.7) / 0.8])
    assert weighed.weight == pytest.approx([0.4])  # as much as they count on average


def test_cross_query_outcomes_are_their_own(component: Build, tmp_path: Path) -> None:
    path = outcomes_file(tmp_path, ROWS[:2], query_id_b=["x5", None])
    judge = component("judge/replay", path=path)
    assert judge.compare(ask([0], [1], [2])).p == pytest.approx([0.7])
    assert judge.compare(ask([0, 5], [1, 2], [2, 1], query_b=[5, 0])).p == pytest.approx([0.9, 0.1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x0", "x1", "x2", "one", 0, 1.5, "answered"), r"row 1 is answered, but its p is not in \[0, 1\]"),
        (("x0", "x1", "x2", "one", 0, None, "answered"), "row 1 is answered"),
        (("x0", "x1", "x2", "one", 0, 0.5, "refused"), "row 1 has a p, but is not answered"),
        (("x0", "x1", "x2", "one", 0, None, "lost"), "row 1 has the status 'lost'"),
        ((None, "x1", "x2", "one", 0, 0.5, "answered"), "query_id must be strings"),
        (("x0", "x1", "x2", "one", None, 0.5, "answered"), "column repeat"),
        (("x0", "x1", "x1", "one", 0, 0.5, "answered"), "row 1 compares a document with itself"),
    ],
)
def test_outcomes_that_cannot_be_used(row: Any, message: str, component: Build, tmp_path: Path) -> None:
    path = outcomes_file(tmp_path, [ROWS[0], row])
    with pytest.raises(BadInput, match=message) as caught:
        component("judge/replay", path=path).compare(ask([0], [1], [2]))
    assert path in str(caught.value)


@pytest.mark.parametrize("weight", [np.inf, 0.0, -1.0])
def test_a_weight_that_cannot_be_used(weight: float, component: Build, tmp_path: Path) -> None:
    path = outcomes_file(tmp_path, ROWS[:2], weight=[1.0, weight])
    with pytest.raises(BadInput, match="row 1 has a weight that is not positive and finite"):
        component("judge/replay", path=path).compare(ask([0], [1], [2]))


def test_a_column_that_is_missing_is_named(component: Build, tmp_path: Path) -> None:
    path = outcomes_file(tmp_path, ROWS)
    with pytest.raises(BadInput, match=r"no rows of judge='three'\. There are: one, two"):
        component("judge/replay", path=path, judge="three").compare(ask([0], [1], [2]))
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)
    with pytest.raises(BadInput, match=r"outcomes\.parquet has no column status"):
        component("judge/replay", path=path).compare(ask([0], [1], [2]))
    assert set(STATUSES) > {"answered", "unsent"}
