"""Labels from judges' ratings: their grades, their errors, and an evaluation that carries these."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zelo.errors import BadInput
from zelo.evaluation import order
from zelo.evaluation.measured import MeasuredSplit
from zelo.metrics.ir_measure import IrMeasure
from zelo.records import DOCUMENT, QREL, QUERY, RATING, SCORED
from zelo.stages.evaluate import Evaluate
from zelo.stages.grade import Grade
from zelo.store.shards import write_parquet
from zelo.store.table import Table

QUERIES, DOCUMENTS = 40, 30


def grade(**changes: Any) -> Grade:
    fields: dict[str, Any] = {"inputs": {}, "cuts": [1.0, 2.0], "per_query": True, "draws": 11, "seed": 0}
    return Grade(**(fields | changes))


def world(folder: Path, stderr: float) -> dict[str, Table]:
    """Ratings with this error, a good and a poor system, and labels that the ratings were made after."""
    random = np.random.default_rng(1)
    query = np.repeat([f"q{n:02}" for n in range(QUERIES)], DOCUMENTS)
    doc = np.tile([f"d{n:02}" for n in range(DOCUMENTS)], QUERIES)
    truth = random.standard_normal(len(query))
    tables = {
        name: Table(name, name, folder / name, {"name": "toy"}) for name in ("data", "ratings", "people", "grade")
    }
    tables |= {name: Table(name, name, folder / name, {}) for name in ("good", "poor", "worst")}
    for table in tables.values():
        table.path.mkdir(parents=True)
    names = np.unique(query)
    write_parquet(
        pa.table([names, names, ["test"] * QUERIES], names=QUERY.names), QUERY, tables["data"].path, "queries"
    )
    ids = [f"d{n:02}" for n in range(DOCUMENTS)]
    write_parquet(pa.table([ids] * 3, schema=DOCUMENT), DOCUMENT, tables["data"].path, "documents")
    rated = truth + 0.1 * random.standard_normal(len(query))
    plain = [np.full(len(query), stderr), *[np.zeros(len(query))] * 3]
    write_parquet(pa.table([query, doc, rated, *plain], names=RATING.names), RATING, tables["ratings"].path, "ratings")
    relevance = (truth > 1).astype(int)
    qrels = pa.table([query, doc, relevance, ["test"] * len(query)], names=QREL.names)
    write_parquet(qrels, QREL, tables["people"].path, "qrels")
    for system, noise in (("good", 0.5), ("poor", 1.0), ("worst", 3.0)):
        scored = pa.table([query, doc, truth + noise * random.standard_normal(len(query))], names=SCORED.names)
        write_parquet(scored, SCORED, tables[system].path, "scored")
    return tables


def evaluated(folder: Path, stderr: float) -> tuple[Any, Any, Any]:
    folder.mkdir()
    tables = world(folder, stderr)
    facts = grade().run(tables, tables["grade"].path)
    assert sum(facts["grades"]) == QUERIES * DOCUMENTS
    roles = {
        "data": "data",
        "labels": "grade",
        "human_labels": "people",
        "good": "good",
        "poor": "poor",
        "worst": "worst",
    }
    metrics: dict[str, Any] = {"ndcg": IrMeasure(name="nDCG@10"), "judged": IrMeasure(name="Judged@10")}
    stage = Evaluate(
        inputs=roles,
        metrics=metrics,
        primary="ndcg",
        table=["judged"],
        candidates_as="fusion",
        first_stages=[],
        compared={"good": ["poor"]},
        teachers={},
        students={},
        first_stage_of={},
        precision=0.8,
        resamples=1000,
        seed=0,
    )
    found = stage.run({role: tables[name] for role, name in roles.items()}, folder)
    rows, verdicts = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "verdicts"))
    return found, rows, verdicts


def test_grades_count_spreads_and_draws_are_as_wide_as_the_error(tmp_path: Path) -> None:
    tables = world(tmp_path, 0.5)
    grade().run(tables, tables["grade"].path)
    rows, ratings = tables["grade"].read("graded").to_pylist(), tables["ratings"].read("ratings")
    rating = ratings["rating"].to_numpy().reshape(QUERIES, DOCUMENTS)
    spread = np.repeat(rating.std(axis=1), DOCUMENTS)
    scaled = rating.ravel() / spread
    assert [row["relevance"] for row in rows] == ((scaled >= 1).astype(int) + (scaled >= 2)).tolist()
    assert all(row["low"] <= row["relevance"] <= row["high"] for row in rows)
    share = np.mean([[one >= 1 for one in row["drawn"]] for row in rows])
    above = [NormalDist().cdf(z) for z in ((scaled - 1) * spread / 0.5).tolist()]
    assert share == pytest.approx(np.mean(above), abs=0.01)


def test_systems_are_measured_by_judges_with_the_error_of_their_ratings(tmp_path: Path) -> None:
    (sure, rows, verdicts), (_, wide, _) = (evaluated(tmp_path / str(error), error) for error in (0.0, 0.8))
    assert sure["protocol"] == "judge"
    assert sure["split"] == "test"
    assert sure["keys"] == {"test": "judge_agreement/test/nDCG@10"}
    assert (verdicts[0]["verdict"], verdicts[0]["circular"]) == ("better", False), "nothing was trained"
    assert "against judge ratings, no human labels" in verdicts[0]["text"]
    by = {(row["protocol"], row["system"], row["metric"]) for row in rows}
    assert ("natural", "good", "nDCG@10") in by
    assert ("judge", "good", "judge_agreement/nDCG@10") in by
    assert sure["order"]["tau"] == 1, "both see good, poor and worst"
    value, blurred = (
        next(row["value"] for row in found if row["key"] == "judge_agreement/test/nDCG@10/good")
        for found in (rows, wide)
    )
    assert value - blurred > 0.05, "what the judges leave open is carried into the measure"


def test_order_of_systems() -> None:
    values = np.array([0.1, 0.3, 0.6])[:, None, None] * np.ones((1, 1, 5))
    one = MeasuredSplit("test", "judge", ["a", "b", "c"], ["m"], 0, list("vwxyz"), values)
    other = MeasuredSplit("test", "natural", ["a", "b", "c"], ["m"], 0, list("vwxyz"), values[[0, 2, 1]])
    found = order.kendall(one, other, 100, 0)
    assert found is not None
    assert found["tau"] == pytest.approx(1 / 3)
    assert found["by_labels"] == pytest.approx({"a": 0.1, "b": 0.6, "c": 0.3})
    assert "Kendall's tau 0.33" in order.in_words(found)
    tied = order.kendall(one, replace(other, values=values[[0, 0, 0]]), 100, 0)
    assert tied is not None
    assert (tied["tau"], tied["ci_low"], tied["undefined"]) == (None, None, 1)
    assert "undefined (Kendall's tau): by labels all systems are equal" in order.in_words(tied)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match=r"cuts=\[2, 1\] must be numbers that rise"):
        grade(cuts=[2, 1])
    with pytest.raises(BadInput, match="draws=4 must be odd"):
        grade(draws=4)
