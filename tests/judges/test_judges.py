"""Contract of judges that answer at once and free of charge, once per option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from scored_questions import DOCUMENTS, QUERIES, Table, questions

from zelo.asking import Panel
from zelo.errors import BadInput
from zelo.judges.ensemble import Ensemble
from zelo.judges.from_scores import FromScores
from zelo.records import ANSWERED, Questions

UNREAD = ["simulated", "simulated_thurstone", "student"]  # their truth is drawn, or their weights
OPTIONS = ["lexical", "dense", "late_interaction", "window", "embedded", "qrels", *UNREAD]


def every_pair() -> Questions:
    rows = [(q, a, b) for q in range(2) for a in range(4) for b in range(4) if a != b]
    return questions(*(list(column) for column in zip(*rows, strict=True)))


def pairwise_student(component: Callable[..., Any], folder: Path) -> Path:
    """A pairwise model of random weights, exported."""
    torch.manual_seed(0)
    model = component("model/pairwise", max_length=100)
    model.load(component("backbone/xlm_r", model=str(tiny_models.save("xlm_r", folder / "tiny"))), None)
    model.order_bias.fill_(0.1)
    model.export(folder / "pairwise")
    return folder / "pairwise"


@pytest.mark.parametrize("option", OPTIONS)
def test_contract(option: str, component: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text("sort\tlist.sort\t1\nfile\tos.remove\t1\n")
    changes = {"qrels": {"path": str(tmp_path / "labels.tsv")}, "student": {"both_orders": True}}.get(option, {})
    if option == "student":
        changes["path"] = str(pairwise_student(component, tmp_path))
    judge = component(f"judge/{option}", **changes)
    asked = every_pair()
    answers = judge.compare(asked)
    members = list(getattr(judge, "members", [judge.name]))
    assert len(answers) == len(members) * len(asked)
    assert sorted(set(answers.judge.to_pylist())) == sorted(members)
    assert set(answers.status.to_pylist()) == {ANSWERED}
    assert ((answers.p >= 0) & (answers.p <= 1)).all()
    assert (answers.tokens == 0).all()
    assert (answers.cost == 0).all()

    by_pair = dict(zip(_keys(asked, answers), answers.p.tolist(), strict=True))
    for (name, query, a, b), p in by_pair.items():
        assert p + by_pair[name, query, b, a] == pytest.approx(1, abs=1e-6)
    for name in members if option not in UNREAD else ():
        assert by_pair[name, 0, 0, 1] > 0.5  # list.sort for "sort a list of numbers"
        assert by_pair[name, 1, 2, 1] > 0.5  # os.remove for "delete a file"

    order = np.random.default_rng(0).permutation(len(asked))
    shuffled = questions(*(column[order].tolist() for column in (asked.query_row, asked.a_row, asked.b_row)))
    again = judge.compare(shuffled)
    assert dict(zip(_keys(shuffled, again), again.p.tolist(), strict=True)) == by_pair


def _keys(asked: Questions, answers: Any) -> list[tuple[str, int, int, int]]:
    row = answers.question
    columns = (asked.query_row[row].tolist(), asked.a_row[row].tolist(), asked.b_row[row].tolist())
    return list(zip(answers.judge.to_pylist(), *columns, strict=True))


def test_probability_is_a_sigmoid_in_standard_deviations_of_the_query() -> None:
    scorer = Table([1, 2, 3, 99], [50, 10, 20, 30])
    answers = FromScores(name="j", scorer=scorer, tau=2.0).compare(questions([0, 0, 1], [0, 1, 2], [1, 2, 1]))
    first = 1 / (1 + np.exp(1 / (2 * np.std([1, 2, 3]))))  # the 99 was not asked about
    assert answers.p[:2] == pytest.approx(first, rel=1e-6)
    assert answers.p[2] == pytest.approx(1 / (1 + np.exp(-10 / (2 * np.std([10, 20])))), rel=1e-6)
    assert scorer.asked == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]  # each pair once


def test_across_queries_scores_are_compared_as_they_are() -> None:
    scorer = Table([1, 2, 3, 4], [5, 2, 0, 0])
    rows = [np.array(column, np.int32) for column in ([0, 1], [0, 1], [0, 1])]
    across = Questions(QUERIES, DOCUMENTS, *rows, repeat=np.zeros(2, np.int16), query_b_row=np.array([1, 0], np.int32))
    answers = FromScores(name="j", scorer=scorer, tau=2.0).compare(across)
    sd = np.std([1, 5, 2, 2])  # of (0, 0), (1, 0), (1, 1) and (0, 1)
    assert answers.p == pytest.approx([1 / (1 + np.exp(4 / (2 * sd))), 0.5], rel=1e-6)


def test_equal_scores_are_no_preference() -> None:
    scorer = Table([7.1, 7.1, 7.1, 7.1], [0, 0, 0, 0])
    answers = FromScores(name="j", scorer=scorer, tau=2.0).compare(questions([0, 0, 1], [0, 1, 2], [1, 2, 1]))
    assert answers.p.tolist() == [0.5, 0.5, 0.5]
    assert len(FromScores(name="j", scorer=scorer, tau=2.0).compare(questions([], [], []))) == 0


def test_what_cannot_be_judged_is_refused() -> None:
    scorer = Table([1, 2, 3, 4], [1, 2, 3, 4])
    with pytest.raises(BadInput, match="tau=0"):
        FromScores(name="j", scorer=scorer, tau=0)
    with pytest.raises(BadInput, match="no members"):
        Ensemble(name="all", use=None, members={})
    one = FromScores(name="j", scorer=scorer, tau=2.0)
    with pytest.raises(BadInput, match=r"there is no member y. Set judge.use to some of \[x\]"):
        Ensemble(name="all", use=["y"], members={"x": one})
    with pytest.raises(BadInput, match="nobody would be asked"):
        Ensemble(name="all", use=[], members={"x": one})


def test_members_of_a_member_keep_both_names() -> None:
    scorer = Table([1, 2, 3, 4], [1, 2, 3, 4])
    one = FromScores(name="j", scorer=scorer, tau=2.0)
    inner = Ensemble(name="inner", use=None, members={"x": one, "y": one})
    answers = Ensemble(name="all", use=None, members={"in": inner, "z": one}).compare(questions([0], [0], [1]))
    assert answers.judge.to_pylist() == ["in/x", "in/y", "z"]
    assert answers.question.tolist() == [0, 0, 0]
    some = Ensemble(name="all", use=["z"], members={"in": inner, "z": one})
    assert some.compare(questions([0], [0], [1])).judge.to_pylist() == ["z"]
    assert list(Panel(some, 0).members) == ["z"]
