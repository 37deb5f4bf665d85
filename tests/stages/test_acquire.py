"""What a second pass asks about: failures by labels, disagreement without; labels of test queries never come near it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo.acquisitions.disagreement import Disagreement
from zelo.acquisitions.failures import Failures
from zelo.budget.budget import Budget
from zelo.datasets.beir import Beir
from zelo.datasets.synthetic import Synthetic
from zelo.errors import BadInput
from zelo.graphs.complete import Complete
from zelo.pipeline.run import Result, Step
from zelo.records import CANDIDATE, DOCUMENT, OUTCOME, QREL, QUERY, SCORED, FirstPass, Outcomes, Questions
from zelo.reporting import acquired
from zelo.stages import acquire
from zelo.stages.acquire import Acquire
from zelo.stages.judge import JudgeStage
from zelo.stages.labelled import LABELLED, Labelled
from zelo.stages.train_labels import TrainLabels
from zelo.store.shards import write_parquet, write_shard
from zelo.store.store import Store
from zelo.store.table import Table

TRAINED = [f"q{n:02}" for n in range(12)]  # q10 is a dev query and q11 a test query
SPLIT = ["train"] * 10 + ["dev", "test"]
DOCS = [f"d{n}" for n in range(9)]

Make = Callable[..., Table]


@pytest.fixture
def table(tmp_path: Path) -> Make:
    """`table("scores", scored=(SCORED, rows))`: a table of the store with these columns."""
    store = Store(tmp_path / "home")

    def make(kind: str, **named: tuple[pa.Schema, list[tuple[Any, ...]]]) -> Table:
        def write(out: Path, _: object) -> dict[str, Any]:
            for name, (schema, rows) in named.items():
                columns = [pa.array([row[n] for row in rows], schema.field(n).type) for n in range(len(schema))]
                write_parquet(pa.table(columns, schema=schema), schema, out, name)
            return {}

        return store.obtain(kind, f"t{len(list((tmp_path / 'home').rglob('*')))}", write)[0]

    return make


@pytest.fixture
def data(table: Make) -> Table:
    queries = [(query, f"text of {query}", split) for query, split in zip(TRAINED, SPLIT, strict=True)]
    return table("load", queries=(QUERY, queries), documents=(DOCUMENT, [(doc, "", f"text of {doc}") for doc in DOCS]))


def outcome(query: str, a: str, b: str, p: float | None, judge: str = "dear") -> tuple[Any, ...]:
    status = "failed" if p is None else "answered"
    return (query, a, b, None, None, judge, 0, p, 1.0, False, status, 0, 0.0)


def made(stage: Any, tables: dict[str, Table], folder: Path) -> tuple[dict[str, Any], Table]:
    folder.mkdir()
    return stage.run(tables, folder), Table("x", "", folder, {})


def rows(table: Table, name: str) -> list[tuple[Any, ...]]:
    return list(zip(*table.read(name).to_pydict().values(), strict=True))


# --- Which pairs ---


def test_a_failure_is_held_against_the_document_just_above_it() -> None:
    score = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 2.0, 1.0, 1.0, 1.0, 1.0]
    first = FirstPass(np.array([7, 2, 3]), np.array(score), human=np.array([5, 7, 11]))
    chosen = Failures(threshold=None).choose(first)
    assert chosen.urgency.tolist() == [6, 1, 3]  # the last is third of three equals: ids break the tie
    assert chosen.b.tolist() == [4, -1, 10]
    turned = FirstPass(first.sizes, first.score, human=np.array([0, 8, 9]))
    assert Failures(threshold=None).choose(turned).b.tolist() == [-1, 7, -1]


@pytest.mark.parametrize(
    ("ranks", "bar"),
    [([1, 2, 3, 4], 5.0), ([1, 10, 20, 29, 40], 29.0), ([90] * 9, 30.0), (range(1, 101), 30.0), ([1, 1, 9, 11], 9.5)],
)
def test_the_threshold_is_a_percentile_within_limits(ranks: Any, bar: float) -> None:
    """Open question Q15 of the method: the 75th percentile of the ranks, from 5 to 30."""
    assert Failures(threshold=None).bar(np.array(ranks, float)) == bar
    assert Failures(threshold=2).bar(np.array(ranks, float)) == 2


def test_students_differ_most_where_one_is_sure_of_the_contrary() -> None:
    edges = np.array([[0, 1], [1, 2], [3, 4], [5, 3]])
    score = np.array([0.0, 0.0, 2.0, np.log(3), 0.0, 9.0])
    first = FirstPass(np.array([3, 3]), score, edges=edges, p=np.array([0.9, 0.2, 0.75, 0.9]))
    chosen = Disagreement().choose(first)
    assert (chosen.a.tolist(), chosen.b.tolist()) == ([0, 5], [1, 3])
    second = 1 / (1 + np.exp(np.log(3) - 9)) - 0.9
    assert chosen.urgency == pytest.approx([0.4, second])


# --- Labels ---


def write_beir(folder: Path, train: str | None, test: str = "q11\td3\t1\n") -> Beir:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(f'{{"_id": "{doc}", "text": "text of {doc}"}}\n' for doc in DOCS))
    lines = [f'{{"_id": "{query}", "text": "text of {query}"}}\n' for query in TRAINED]
    (folder / "queries.jsonl").write_text("".join(lines))
    (folder / "qrels/dev.tsv").write_text("q10\td2\t1\n")
    (folder / "qrels/test.tsv").write_text(test)
    if train is not None:
        (folder / "qrels/train.tsv").write_text(train)
    return Beir(path=str(folder), id_column="_id", train_on_dev=False, unread_labels="error", unknown_ids="error")


def test_train_labels_are_of_train_queries_alone(data: Table, tmp_path: Path) -> None:
    """A test and a dev query stand in the train file as well: they are left out, and that is said."""
    dataset = write_beir(tmp_path / "beir", "q00\td0\t1\nq11\td8\t2\nq10\td8\t2\nq01\td1\t0\n")
    figures, labels = made(TrainLabels(inputs={}, dataset=dataset), {"data": data}, tmp_path / "out")
    assert rows(labels, "qrels") == [("q00", "d0", 1, "train"), ("q01", "d1", 0, "train")]
    assert figures["notes"] == ["2 of 4 judgements, in train files but of dev and test queries, were left out"]


def test_train_labels_do_not_know_the_others(tmp_path: Path) -> None:
    stages = [
        TrainLabels(inputs={}, dataset=write_beir(tmp_path / name, train, test))
        for name, train, test in (
            ("a", "q00\td0\t1\n", "q11\td3\t1\n"),
            ("b", "q00\td0\t1\n", "q11\td4\t2\n"),
            ("c", "q00\td1\t1\n", "q11\td3\t1\n"),
        )
    ]
    contents = [stage.content() for stage in stages]
    assert contents[0] == contents[1] != contents[2]
    others = [stage.dataset.qrels_content() for stage in stages]
    assert others[0] == others[2] != others[1]


@pytest.mark.parametrize("dataset", [None, Synthetic(queries=20, documents=9)])
def test_without_train_labels_the_other_way_is_named(dataset: Any, tmp_path: Path) -> None:
    dataset = dataset or write_beir(tmp_path / "beir", None)
    with pytest.raises(BadInput, match=r"no judgements of train queries.*qrels/train\.tsv.*acquisition=disagreement"):
        TrainLabels(inputs={}, dataset=dataset).content()


def test_labels_that_say_nothing_are_refused(data: Table, tmp_path: Path) -> None:
    for name, train, message in (
        ("none", "q00\td0\t0\nq11\td0\t1\n", "no train query has a document with a label above 0.*disagreement"),
        ("doc", "q00\td99\t1\n", r"train\.tsv:1: document 'd99' is not in"),
        ("query", "q99\td0\t1\n", r"train\.tsv:1: query 'q99' is not in"),
    ):
        stage = TrainLabels(inputs={}, dataset=write_beir(tmp_path / name, train))
        with pytest.raises(BadInput, match=message):
            made(stage, {"data": data}, tmp_path / f"{name}-out")


def test_labels_that_measure_cannot_be_learnt_from(data: Table) -> None:
    measuring, training = (
        SimpleNamespace(dataset=None),
        TrainLabels(inputs={}, dataset=Synthetic(queries=20, documents=9)),
    )
    stages = {"labels": measuring, "candidates": None}
    with pytest.raises(BadInput, match="nothing may be trained on them"):
        Labelled(inputs={}, top_k=3, keep_own_document=False).check_inputs(stages)
    with pytest.raises(BadInput, match="nothing may be trained on them"):
        acquiring(Failures(threshold=None)).check_inputs(stages)
    Labelled(inputs={}, top_k=3, keep_own_document=False).check_inputs(stages | {"labels": training})


def test_a_labelled_document_that_was_not_found_becomes_a_candidate(table: Make, tmp_path: Path) -> None:
    labels = [
        ("q01", "d1", 1),
        ("q01", "d5", 2),
        ("q01", "d4", 2),
        ("q00", "d8", 1),
        ("q02", "d7", 1),
        ("q03", "d0", 0),
    ]
    labels += [("q05", "d0", 1)]
    found = {"q00": "d0 d1 d2", "q01": "d5 d4", "q02": "d3", "q03": "d0 d1", "q04": "d0"}
    candidates = [
        (query, doc, rank, 3.0 - rank) for query, docs in found.items() for rank, doc in enumerate(docs.split())
    ]
    tables = {
        "data": table("load", documents=(DOCUMENT, [(f"d{number}", "", "text") for number in range(9)])),
        "labels": table("trainlabels", qrels=(QREL, [(*label, "train") for label in labels])),
        "candidates": table("retrieve", candidates=(CANDIDATE, candidates)),
    }
    figures, stage = made(Labelled(inputs={}, top_k=3, keep_own_document=False), tables, tmp_path / "out")
    assert figures == {"rows": 3, "missing": 2}
    assert rows(stage, "labelled") == [("q00", "d8", 1, True), ("q01", "d4", 2, False), ("q02", "d7", 1, True)]
    assert rows(stage, "candidates") == [
        ("q00", "d0", 0, 3.0),
        ("q00", "d1", 1, 2.0),
        ("q00", "d8", 2, 1.0),  # the list was full: d2 went
        ("q01", "d5", 0, 3.0),
        ("q01", "d4", 1, 2.0),
        ("q02", "d3", 0, 3.0),
        ("q02", "d7", 1, 3.0),
    ]


# --- The stage ---


def acquiring(acquisition: Any, share: float = 0.25) -> Acquire:
    return Acquire(inputs={"labels": "l", "outcomes": "s"}, acquisition=acquisition, share=share)


@pytest.fixture
def first_pass(table: Make, data: Table) -> dict[str, Table]:
    """Documents are ranked by number; the labelled one of query n is document n % 9, and n pairs of silver are wrong."""
    scored = [(query, doc, 2.0 - n) for query in TRAINED for n, doc in enumerate(DOCS)]
    labelled = [(query, DOCS[n % 9], 1, n == 7) for n, query in enumerate(TRAINED[:10])]
    gold = [outcome(query, "d7", "d6", 0.5, judge) for query in TRAINED for judge in ("dear", "dearer")]
    silver = [
        outcome(query, DOCS[m + 1], DOCS[m], 0.3 if m != n % 8 else 0.5 + n / 30)
        for n, query in enumerate(TRAINED)
        for m in range(8)
    ]
    silver += [outcome("q00", "d0", "d8", None)]
    return {
        "data": data,
        "scores": table("score", scored=(SCORED, scored)),
        "labels": table("labelled", labelled=(LABELLED, labelled)),
        "gold": table("judge", outcomes=(OUTCOME, gold)),
        "outcomes": table("judge", outcomes=(OUTCOME, silver)),
    }


def without(tables: dict[str, Table], role: str) -> dict[str, Table]:
    return {name: table for name, table in tables.items() if name != role}


def test_failures_above_the_threshold_up_to_the_cap(
    first_pass: dict[str, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = without(first_pass, "outcomes")
    figures, table = made(acquiring(Failures(threshold=5), share=0.2), tables, tmp_path / "few")
    # Ranks are 1 to 9 and 1; four are above 5, one of them is of gold already, and two pairs in ten may be added.
    assert figures == {
        "rows": 2, "why": "failures", "options": 10, "bar": 5, "above_bar": 4, "known": 1, "gold_pairs": 10, "missing": 0
    }  # fmt: skip
    assert rows(table, "acquired") == [
        ("q06", "d6", "d5", "failures", 7.0, False),
        ("q08", "d8", "d7", "failures", 9.0, False),
    ]
    assert [row[:3] for row in rows(table, "candidates")] == [
        ("q06", "d6", 0), ("q06", "d5", 1), ("q08", "d8", 0), ("q08", "d7", 1)
    ]  # fmt: skip
    monkeypatch.setattr(acquire, "SHARD", 3)
    _, all_of_them = made(acquiring(Failures(threshold=1), share=1.0), tables, tmp_path / "all")
    asked = {row[0]: row[1:3] for row in rows(all_of_them, "acquired")}
    assert asked == {f"q{n:02}": (f"d{n}", f"d{n - 1}") for n in (1, 2, 3, 4, 5, 6, 8)}  # never one of rank 1


def test_disagreement_reads_no_label_and_takes_the_worst(
    first_pass: dict[str, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = without(first_pass, "labels")
    figures, table = made(acquiring(Disagreement(), share=0.3), tables, tmp_path / "out")
    base = 1 / (1 + np.e)  # what a score one lower gives
    found = rows(table, "acquired")
    assert [row[:4] for row in found] == [
        ("q07", "d8", "d7", "disagreement"),
        ("q08", "d1", "d0", "disagreement"),
        ("q09", "d2", "d1", "disagreement"),
    ]
    assert [row[4] for row in found] == pytest.approx([0.5 + n / 30 - base for n in (7, 8, 9)])
    assert (figures["options"], figures["known"]) == (10, 1)
    whole = tables["outcomes"].read("outcomes")
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    for number, low in enumerate(range(0, 96, 24)):
        write_shard(whole.slice(low, 24 if low < 72 else None), OUTCOME, sharded, "outcomes", number)
    monkeypatch.setattr(acquire, "SHARD", 2)
    _, again = made(
        acquiring(Disagreement(), share=0.3), tables | {"outcomes": Table("judge", "", sharded, {})}, tmp_path / "s"
    )
    assert rows(again, "acquired") == found
    assert len(again.shards("candidates")) == 2


def test_dev_and_test_queries_are_never_asked_about(first_pass: dict[str, Table], tmp_path: Path, table: Make) -> None:
    planted = [(query, "d8", 1, False) for query in TRAINED]
    tables = without(first_pass, "outcomes") | {"labels": table("labelled", labelled=(LABELLED, planted))}
    _, by_labels = made(acquiring(Failures(threshold=2), share=1.0), tables, tmp_path / "labels")
    _, by_students = made(acquiring(Disagreement(), share=1.0), without(first_pass, "labels"), tmp_path / "students")
    for found in (by_labels, by_students):
        asked = {row[0] for row in rows(found, "candidates")}
        assert asked
        assert asked <= set(TRAINED[:10])


class Dear:
    """Prefers the document with the larger number."""

    name = "dear"

    def compare(self, questions: Questions) -> Outcomes:
        larger = np.array(questions.doc_a.to_pylist()) > np.array(questions.doc_b.to_pylist())
        return Outcomes.answered(self.name, np.where(larger, 0.9, 0.1))


@pytest.mark.parametrize(("threshold", "count"), [(6, 2), (30, 0)])
def test_the_dear_judges_are_asked_about_each_pair_once(
    threshold: int, count: int, first_pass: dict[str, Table], tmp_path: Path
) -> None:
    stage = acquiring(Failures(threshold=threshold))
    facts, chosen = made(stage, without(first_pass, "outcomes"), tmp_path / "chosen")
    budget = Budget(
        usd=None, tokens=None, calls=None, lifetime_usd=None, on_limit="stop", max_failure_rate=0.2, ask_again=[]
    )
    fields = {"top_k": 2, "presentation": "random", "design": None, "seed": 0}
    judge = JudgeStage(inputs={}, graph=Complete(), judge=Dear(), budget=budget, **fields)  # pyright: ignore
    figures, judged = made(judge, {"data": first_pass["data"], "candidates": chosen}, tmp_path / "judged")
    assert figures["pairs"] == count
    asked = [frozenset(row[1:3]) for row in rows(judged, "outcomes")]
    assert asked == [frozenset(row[1:3]) for row in rows(chosen, "acquired")]
    # What is said of it: Dear prefers the labelled document, which has the larger number.
    steps = [Step("acquire", stage, "", {}), Step("again", judge, "", {"candidates": "acquire"})]
    tables = {"acquire": replace(chosen, manifest=facts), "again": judged}
    rank = f"the student ranks the labelled document below rank {threshold}"
    said = f"acquire: {rank} in 3 of 10 train queries; 1 of these were judged before; 2 pairs were added to 10, and the"
    said += " judges prefer the labelled document to the one that the student ranked just above it in 2 of 2 (100 %)"
    nothing = f"acquire: {rank} in 0 of 10 train queries, so no pair was added and the second pass equals the first"
    assert acquired.lines(Result(steps, tables)) == [said if count else nothing]
    assert acquired.lines(Result(steps, {"acquire": chosen})) == []


def test_bad_settings_are_refused() -> None:
    with pytest.raises(BadInput, match=r"acquisition\.threshold=0 is no rank.*Set 5"):
        Failures(threshold=0)
    with pytest.raises(BadInput, match=r"share=1\.5 must be above 0 and at most 1"):
        acquiring(Failures(threshold=None), share=1.5)
    with pytest.raises(BadInput, match=r"acquisition=disagreement reads outcomes.*pipeline=refine_without_labels"):
        Acquire(inputs={"labels": "l"}, acquisition=Disagreement(), share=0.25)
