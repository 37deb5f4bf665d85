"""A pipeline of one's own may call its students as it likes, and a sweep may have jobs without a report."""

import json
from dataclasses import replace
from html import escape
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
from html_page import Page
from report_data import AGAINST, SYSTEMS, report

from zelo.pipeline.run import Result, Step
from zelo.reporting import sweep_page
from zelo.reporting.evaluation import STUDENTS, Evaluation
from zelo.reporting.report import render
from zelo.store.table import Table


def test_a_student_of_another_name_is_one_in_the_report(tmp_path: Path) -> None:
    data, names = report(), {"zelo-embedding": "my-embedder"}
    systems = [names.get(system, system) for system in SYSTEMS]
    assert data.per_query is not None
    named = pa.array([names.get(name, name) for name in data.per_query["system"].to_pylist()])
    per_query = data.per_query.set_column(0, "system", named)
    rows, verdicts = json.loads(json.dumps([data.metrics, data.verdicts]).replace("zelo-embedding", "my-embedder"))
    folder = tmp_path / "evaluate"
    folder.mkdir()
    pq.write_table(per_query, folder / "per_query.parquet")
    (folder / "metrics.json").write_text(json.dumps([row | {"key": ""} for row in rows]))
    (folder / "verdicts.json").write_text(json.dumps(verdicts))
    (folder / "probabilities.json").write_text("{}")
    manifest = {"metric": "nDCG@10", "split": "test", "protocol": "natural", "keys": {}, "queries": {"test": 64}}
    manifest |= {
        "students": [names.get(name, name) for name in AGAINST],
        "teachers": [],
        "table": ["R@10"],
        "domains": [],
        "roles": {name: name for name in systems},
    }
    inputs = {name: f"stage_of_{name}" for name in systems}
    steps = [Step("evaluate", SimpleNamespace(), "", inputs)]
    evaluation = Evaluation.of(Result(steps, {"evaluate": Table("evaluate", "", folder, manifest)}))
    assert evaluation is not None
    assert evaluation.groups["my-embedder"] == STUDENTS
    page = render(
        replace(
            data,
            per_query=per_query,
            verdicts=evaluation.verdicts,
            metrics=evaluation.rows,
            groups=evaluation.groups,
        )
    )
    words = Page(page).words
    students = words.partition("Students")[2]
    assert "my-embedder" in students
    assert "zelo-embedding" not in words
    text = next(one["text"] for one in verdicts if one["system"] == "my-embedder")
    assert escape(text) in page


def test_a_job_without_a_report_has_no_link_to_one(tmp_path: Path) -> None:
    ended = {
        "status": "finished",
        "system": "zelo",
        "selected_by": "dev/nDCG@10/zelo",
        "value": "0.4",
        "error": "",
        "seconds": "1.0",
    }
    rows = [
        {"job": str(job), "degree": str(job), **ended, "test": "", "test_value": "", "folder": f"{job}-x"}
        for job in (0, 1)
    ]
    (tmp_path / "0-x").mkdir()
    (tmp_path / "0-x/report.html").write_text("")
    (tmp_path / "1-x").mkdir()
    links = [a["href"] for tag, a in Page(sweep_page.page(tmp_path, rows)).elements if tag == "a"]
    assert links == ["0-x/report.html"]
