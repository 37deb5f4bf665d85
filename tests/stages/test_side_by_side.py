"""Two rankings side by side: cases worked by hand, planted judges, and judges that may not compare."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from paid_judge import budget

from zelo.errors import BadInput
from zelo.evaluation.side_by_side import Sides, advantage, compared, in_words
from zelo.records import DOCUMENT, QUERY, SCORED, Outcomes, Questions
from zelo.stages.side_by_side import SideBySide
from zelo.store.shards import write_parquet
from zelo.store.table import Table

QUERIES, DOCUMENTS = 60, 12
VALUE = np.random.default_rng(0).standard_normal((QUERIES, DOCUMENTS))


@dataclass(frozen=True)
class Planted:
    """p is `answer` of the questions; `seen` keeps what was shown first, and next to it."""

    name: str
    answer: Callable[[Questions], np.ndarray]
    seen: list[Questions]

    def compare(self, questions: Questions) -> Outcomes:
        self.seen.append(questions)
        return Outcomes.answered(self.name, self.answer(questions))


def right(questions: Questions) -> np.ndarray:
    a, b = (VALUE[questions.query_row, row] for row in (questions.a_row, questions.b_row))
    return 1 / (1 + np.exp(b - a))


def tables(folder: Path) -> dict[str, Table]:
    made = {name: Table(name, name, folder / name, {}) for name in ("data", "good", "poor", "copy")}
    for table in made.values():
        table.path.mkdir()
    names, ids = [f"q{n:02}" for n in range(QUERIES)], [f"d{n:02}" for n in range(DOCUMENTS)]
    write_parquet(pa.table([names, names, ["test"] * QUERIES], schema=QUERY), QUERY, made["data"].path, "queries")
    write_parquet(pa.table([ids] * 3, schema=DOCUMENT), DOCUMENT, made["data"].path, "documents")
    noise = np.random.default_rng(1).standard_normal(VALUE.shape)
    for name, score in (("good", VALUE + 0.5 * noise), ("poor", VALUE + 3 * noise), ("copy", VALUE + 0.5 * noise)):
        rows = pa.table([np.repeat(names, DOCUMENTS), np.tile(ids, QUERIES), score.ravel()], names=SCORED.names)
        write_parquet(rows, SCORED, made[name].path, "scored")
    return made


def stage(judge: Planted, **changes: Any) -> SideBySide:
    fields: dict[str, Any] = {
        "inputs": {name: name for name in ("data", "good", "poor", "copy")},
        "judge": judge,
        "compared": {"good": ["poor", "copy"], "poor": ["good"]},
        "candidates_as": "fusion",
        "split": "test",
        "depth": 5,
        "resamples": 500,
        "seed": 0,
        "budget": budget(),
    }
    return SideBySide(**fields | changes)


def rows(folder: Path, judge: Planted, **changes: Any) -> list[dict[str, Any]]:
    (folder / "out").mkdir()
    stage(judge, **changes).run(tables(folder), folder / "out")
    return json.loads((folder / "out" / "side_by_side.json").read_text())["rows"]


def test_a_query_and_a_comparison_worked_by_hand():
    one, other = np.array([[0, 1, 2], [0, 1, 2], [4, 5, -1]]), np.array([[0, 2, 1], [3, 1, -1], [5, 4, 6]])
    p = np.array([[np.nan, 0.9, 0.4], [np.nan, np.nan, np.nan], [0.2, np.nan, np.nan]])
    weight = 1 / np.log2([2, 3, 4])
    found = advantage(Sides(one, other), p)
    assert found[0] == pytest.approx(
        (0.8 * weight[1] - 0.2 * weight[2]) / weight.sum()
    )  # the same document at first: a draw
    assert found[1] == 0, "nobody chose at the first place, and the second is a draw"
    assert found[2] == pytest.approx(-0.6), "one answer, at the first place"
    ten = compared("a", "b", np.array([0.2] * 9 + [-0.1] + [0.0] * 4 + [np.nan]), 500, 0)
    assert (ten["wins"], ten["ties"], ten["losses"], ten["unanswered"]) == (9, 4, 1, 1)
    assert ten["sign_p"] == pytest.approx(2 * (1 + 10) / 2**10)  # at most one of ten coins
    assert ten["win_rate"] == pytest.approx(11 / 14)
    all_won = compared("a", "b", np.full(8, 0.1), 500, 0)
    assert all_won["ci_low"] == pytest.approx(0.025 ** (1 / 8)), (
        "Clopper and Pearson: resamples of eight wins are all alike"
    )
    assert "no difference shown; at least 30 queries are needed (9 wins, 4 ties, 1 losses" in in_words(ten)


def test_the_better_ranking_wins_from_either_side(tmp_path: Path):
    judge = Planted("planted", right, [])
    good, same, poor = rows(tmp_path, judge)
    assert (good["verdict"], poor["verdict"]) == ("preferred", "the baseline is preferred")
    assert (good["wins"], good["losses"]) == (poor["losses"], poor["wins"])
    assert good["advantage"] == pytest.approx(-poor["advantage"])
    assert (same["ties"], same["sign_p"], same["verdict"]) == (QUERIES, 1, "no difference shown")
    asked = [{*zip(*part, strict=True)} for q in judge.seen for part in [(q.query_row, q.a_row, q.b_row)]]
    assert not any((q, b, a) in some for some in asked for q, a, b in some), "a pair is asked once"


def test_whoever_takes_what_is_shown_first_finds_no_difference(tmp_path: Path):
    judge = Planted("first", lambda questions: np.full(len(questions), 0.9), [])
    good, *_ = rows(tmp_path, judge)
    assert good["verdict"] == "no difference shown"
    assert good["ci_low"] < 0.5 < good["ci_high"]


def test_a_judge_that_trained_may_not_compare():
    judge = Planted("planted", right, [])

    @dataclass
    class Judging:
        members: dict[str, Planted]

    with pytest.raises(BadInput, match="the judge planted also made the training targets or the grades"):
        stage(judge).check_inputs({"trained_by": Judging({"planted": judge})})
    stage(Planted("other", right, [])).check_inputs({"trained_by": Judging({"planted": judge})})
    with pytest.raises(BadInput, match="compared names 'nobody', which is no system"):
        stage(judge, compared={"nobody": ["good"]})


def test_a_split_that_nothing_ranks(tmp_path: Path):
    with pytest.raises(BadInput, match=r"no query of dev is ranked. Set stages.side_by_side.split"):
        rows(tmp_path, Planted("planted", right, []), split="dev")
