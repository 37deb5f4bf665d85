"""Two runs side by side: what differs is named, what both measured is tested query by query."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from zelo.errors import BadInput
from zelo.reporting import run_comparison
from zelo.stages.compare import Compare

QUERIES = [f"q{number}" for number in range(40)]
KEYS = {"dev": "judge_agreement/dev/nDCG@10", "test": "test/nDCG@10"}


def write_run(folder: Path, degree: int, values: dict[str, np.ndarray], **manifest: str) -> str:
    """A run directory whose systems have these values on the test queries."""
    folder.mkdir()
    config = {
        "graph": {"degree": degree},
        "stages": {"judge": {"graph": {"degree": degree}, "seed": degree, "logger": {"folder": f"{folder}"}}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    stages = {"load": {"identity": "same", "rows": 5}, "judge": {"identity": f"of {degree}", "rows": degree}}
    (folder / "manifest.json").write_text(json.dumps({"stages": stages}))
    compared = {"keys": KEYS, "against": {"test": "labels", "dev": f"ratings {degree}"}, "system": "zelo"}
    (folder / "compared.json").write_text(json.dumps(compared | manifest))
    metrics = [{"key": f"test/nDCG@10/{name}", "value": value.mean()} for name, value in values.items()]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [
        {"system": name, "metric": "nDCG@10", "split": "test", "query_id": query, "value": value}
        for name, column in values.items()
        for query, value in zip(QUERIES, column, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "per_query.parquet")
    return str(folder)


def test_what_differs_is_named_and_what_both_measured_is_tested(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.2, 0.8, 40)
    first = write_run(tmp_path / "first", 4, {"zelo": base, "bm25": base, "gone": base})
    better = {"zelo": base + random.uniform(0.0, 0.2, 40), "bm25": base}
    runs = [first, write_run(tmp_path / "second", 6, better)]
    stage = Compare(inputs={}, runs=runs, resamples=2000, seed=0)
    assert stage.run({}, tmp_path) == {"rows": 2}
    found = json.loads((tmp_path / "compare.json").read_text())
    assert [row["key"] for row in found["config"]] == ["graph.degree", "stages.judge.seed"], "a copy is not told twice"
    assert {row["stage"]: row["same"] for row in found["stages"]} == {"load": True, "judge": False}
    zelo, bm25 = found["tests"]
    assert (zelo["system"], zelo["verdict"], zelo["queries"]) == ("zelo", "better", 40)
    assert zelo["difference"] == pytest.approx((better["zelo"] - base).mean())
    assert zelo["p_value"] == pytest.approx(2 / 2001), "no flip is as far from 0, and Holm doubles it"
    assert zelo["ci_low"] < zelo["difference"] < zelo["ci_high"]
    assert (bm25["verdict"], bm25["p_value"], bm25["difference"]) == ("no difference shown", 1, 0)
    assert found["notes"] == ["dev is not tested: the runs measured other labels or ratings."]
    text = "\n".join(run_comparison.lines(found))
    for words in ("graph.degree", "4 -> 6", "Other tables: judge (4, 6 rows)", "p Holm-corrected for 2 systems"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120, text


def test_against_judge_ratings_nothing_is_better_and_few_queries_show_nothing(tmp_path: Path) -> None:
    stage = Compare(inputs={}, runs=[write_run(tmp_path / name, 4, {}) for name in ("a", "b")], resamples=2000, seed=0)
    low, high = ({"zelo": {f"q{n}": value + n / 1000 for n in range(40)}} for value in (0.2, 0.5))
    [rated] = stage._of_split("dev", "judge_agreement/dev/nDCG@10", low, high)
    assert rated["verdict"] == "agrees more"
    few = {"zelo": {name: value for name, value in high["zelo"].items() if name in ("q1", "q2", "q3")}}
    [row] = stage._of_split("test", "test/nDCG@10", low, few)
    assert (row["verdict"], row["queries"], row["queries_of_one_run"]) == ("no difference shown", 3, 37)


def test_its_name_follows_what_the_runs_hold(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, 4, {"zelo": np.zeros(40)}) for name in ("first", "second")]
    stage = Compare(inputs={}, runs=runs, resamples=100, seed=0)
    before = stage.content()
    (tmp_path / "second" / "config.yaml").write_text("graph: {degree: 6}\n")
    assert stage.content() != before


@pytest.mark.parametrize(
    ("runs", "words"), [([], "name two run directories"), (["a", "b", "c"], "name two"), (["no", "no"], "holds no run")]
)
def test_what_is_no_pair_of_runs_is_refused(runs: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Compare(inputs={}, runs=runs, resamples=100, seed=0)
