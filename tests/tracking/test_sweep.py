"""Sweeps: a row per job as it ends, failures beside successes, an index of all runs that loses nothing."""

import csv
import json
import math
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from html_page import Page
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.zelo_composing import SharedLoader
from zelo import main
from zelo.errors import BadInput
from zelo.metrics.significance import holm, sign_flip
from zelo.pipeline.run import Step
from zelo.places import config_folder
from zelo.records import DOCUMENT, OUTCOME, QREL, QUERY, RATING
from zelo.reporting import compared, index_page, sweep_page, sweep_plots, sweep_settings
from zelo.store.shards import write_shard
from zelo.store.table import Table
from zelo.tracking import run_folder, sweep


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the sweep of another."""
    monkeypatch.setattr(sweep, "CURRENT", sweep.Current())


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder in BEIR layout whose texts share words, so that bm25 finds every document."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, prefix in (("corpus", "d"), ("queries", "q")):
        lines = [json.dumps({"_id": f"{prefix}{n}", "text": f"python word{n} word{n % 3}"}) for n in range(8)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_goes_on_after_a_failure_and_shares_work(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    fixed = f"dataset=beir dataset.path={tiny} retriever=bm25 judge=lexical top_k=6 until=rate name=ladder"
    varied = "graph.degree=3,2 solver=thurstone,bradley_terry"
    (tiny / "qrels").mkdir()
    (tiny / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n")
    command = ["zelo", *fixed.split(), "-m", *varied.split(), "--config-dir", str(tiny)]
    monkeypatch.setattr(sys, "argv", ["zelo", *fixed.split(), "-m", "graph.degree=3,2"])
    assert main.main() == 2
    said = capsys.readouterr()
    assert "job degree=3: " in said.err
    assert "Nothing was run; sweep.keep_going=true runs the others." in said.err
    assert "computed" not in said.out, "a job began before all were checked"
    assert not list((tmp_path / "multirun").glob("*/*"))
    monkeypatch.setattr(sys, "argv", ["zelo", "sweep.keep_going=true", *command[1:]])
    assert main.main() == 2, "the status of the first failure"
    said = capsys.readouterr()
    (folder,) = (tmp_path / "multirun/ladder").iterdir()
    rows = read(folder / "sweep.csv")
    assert [row["status"] for row in rows] == ["failed", "failed", "finished", "finished"]
    assert [(row["degree"], row["solver"]) for row in rows] == [
        ("3", "thurstone"),
        ("3", "bradley_terry"),
        ("2", "thurstone"),
        ("2", "bradley_terry"),
    ]
    assert "must be even" in rows[0]["error"]
    assert {path.name for path in folder.iterdir()} == {
        "sweep.csv",
        "sweep.html",
        "2-degree=2,solver=thurstone",
        "3-degree=2,solver=bradley_terry",
    }
    left = json.loads((folder / rows[3]["folder"] / "compared.json").read_text())["per_query"]["dev"]
    assert sorted(left) == ["q0", "q1"]
    assert rows[3]["selected_by"] == "dev/nDCG@10/teacher"
    assert float(rows[3]["value"]) == pytest.approx(sum(left.values()) / 2)
    assert float(rows[3]["pairs"]) == float(rows[3]["questions"]) > 0
    assert not (folder / rows[3]["folder"] / "report.html").exists(), "nobody has asked for it"
    stages = json.loads((folder / rows[3]["folder"] / "manifest.json").read_text())["stages"]
    assert {name: stage["status"] for name, stage in stages.items()} == {
        "load": "cached",
        "labels": "cached",
        "data_card": "cached",
        "retrieve": "cached",
        "judge": "cached",
        "known_items": "cached",
        "rate": "computed",
    }
    assert "must be even" in (folder / "sweep.html").read_text()
    index = read(tmp_path / "multirun/index.csv")
    assert [row["folder"] for row in index] == [f"ladder/{folder.name}/{row['folder']}" for row in rows[2:]]
    assert {row["name"] for row in index} == {"ladder"}
    assert f"ladder/{folder.name}/sweep.html" in (tmp_path / "multirun/index.html").read_text()
    assert "bradley_terry" in said.out.partition("\njob ")[2], "no table at the end"
    assert said.err.count("must be even") == 1, "an error is told twice"
    assert "Error executing job" not in said.err


@pytest.mark.parametrize(
    "change", ["none", "a table", "the config", "an answer is missing", "it failed", "one more stage"]
)
def test_a_finished_job_is_left_alone_unless_something_differs(change: str, tmp_path: Path) -> None:
    stage = {"identity": "1a", "status": "partial" if change == "an answer is missing" else "cached"}
    ended = "failed" if change == "it failed" else "finished"
    (tmp_path / "manifest.json").write_text(json.dumps({"status": ended, "stages": {"load": stage}}))
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    steps = [Step("load", None, "2b" if change == "a table" else "1a", {})]
    steps += [Step("rate", None, "3c", {})] * (change == "one more stage")
    config = "seed: 1\n" if change == "the config" else "seed: 0\n"
    assert bool(run_folder.finished(tmp_path, config, steps)) == (change == "none")
    assert run_folder.finished(tmp_path / "elsewhere", config, steps) is None


@pytest.mark.long
@pytest.mark.parametrize("sweeping", [False, True])
def test_an_interrupted_job_is_written_down_and_the_last(
    sweeping: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("zelo.stages.rate.Rate.run", interrupt)
    options = f"dataset=beir dataset.path={tiny} retriever=bm25 judge=lexical top_k=6 graph.degree=2 until=rate"
    more = ["-m", "seed=1,2"] if sweeping else ["seed=1"]
    monkeypatch.setattr(sys, "argv", ["zelo", *more, *options.split()])
    with pytest.raises(KeyboardInterrupt):
        main.main()
    (listed,) = read(tmp_path / "multirun/index.csv")
    assert listed["status"] == "interrupted"
    assert "seed=1" in listed["overrides"]
    manifest = json.loads((tmp_path / "multirun" / listed["folder"] / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    jobs = [read(path) for path in tmp_path.glob("multirun/zelo/*/sweep.csv")]
    assert [[(row["seed"], row["status"], row["error"]) for row in rows] for rows in jobs] == [
        [("1", "interrupted", "")]
    ] * sweeping


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("graph.degre=2,4", "job degre=2: graph.degre: no such key. Did you mean graph.degree?"),
        ("graph.degree=range(4,2)", "an empty grid"),
        ("graph.degree=choice()", "a grid without a value"),
        ("graph.degree=range(2,8,0)", "must not be zero"),
        ("seed=range(40) graph.degree=range(30)", "1,200 jobs (40 x 30) are more than 1,000"),
    ],
)
def test_a_bad_grid_is_refused_before_any_work(
    grid: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["zelo", "-m", *grid.split()])
    assert main.main() == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.yaml"))
    assert not list(tmp_path.glob("multirun/*/*"))


def test_a_job_that_cannot_be_composed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.CURRENT.varied = ["solver"]
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    sweep.record(tmp_path, row(0, 0.3))
    sweep.leave_out(config, 1, ["solver=thurston", "seed=0"], BadInput("no such option"))
    left = read(tmp_path / "sweep.csv")[1]
    assert (left["job"], left["solver"], left["status"], left["error"]) == (
        "1",
        "thurston",
        "left out",
        "no such option",
    )
    assert [str(error) for error in sweep.CURRENT.failures] == ["no such option"]


def test_a_plan_of_a_sweep_counts_shared_stages_once_and_writes_nothing(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    options = f"dataset=beir dataset.path={tiny} retriever=bm25 judge=lexical top_k=6 graph.degree=2"
    options += " until=rate plan=true seed=1,2"
    monkeypatch.setattr(sys, "argv", ["zelo", "-m", *options.split()])
    assert main.main() == 0
    assert list(folder.iterdir()) == []
    said = capsys.readouterr().out
    found = dict(re.findall(r"^(\w+) +(\d+ +\d+)$", said, re.MULTILINE))
    assert {name: numbers.split() for name, numbers in found.items()} == {
        **{key: ["1", "1"] for key in ["load", "labels", "data_card", "retrieve", "known_items"]},
        **{key: ["2", "2"] for key in ["judge", "rate"]},
    }
    assert "2 jobs have 14 stages, 9 of them different: 9 to compute" in said
    assert "No stage costs money." in said


def test_the_name_of_a_job_says_what_was_varied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "a-very-secret-value")
    sweep.CURRENT.varied = ["solver", "graph.degree", "dataset.path", "judge.key", "x"]
    assert sweep.job_name(0, ["seed=1", "solver=thurstone", "+graph.degree=4"]) == "0-solver=thurstone,degree=4"
    assert sweep.job_name(1, ["dataset.path=/data/my corpus/"]) == "1-path=my_corpus"
    assert "secret" not in sweep.job_name(2, ["judge.key=a-very-secret-value"])
    assert "/" not in sweep.job_name(3, ["x=[../../etc,$HOME;rm *]"])
    assert len(sweep.job_name(4, [f"x={'y' * 300}"])) == sweep.LONGEST_NAME
    sweep.CURRENT.varied = []
    assert sweep.job_name(5, ["seed=1", "top_k=3"]) == "5-seed=1,top_k=3", "elsewhere all overrides are named"


def row(job: int, dev: float | None, test: float = 0.5, by: str = "dev/nDCG@10/zelo", **more: str) -> dict[str, str]:
    """A row of sweep.csv."""
    figures = {"selected_by": by, "value": str(dev), "test": "test/nDCG@10/zelo", "test_value": str(test)}
    figures = dict.fromkeys(figures, "") if dev is None else figures
    ended = {"status": "failed" if dev is None else "finished", "system": "zelo"} | figures
    return {"job": str(job), **more, **ended, "seconds": "1.0", "error": "", "folder": f"{job}-x"}


def best(rows: list[dict[str, str]]) -> str | None:
    """The jobs of the best setting."""
    found = sweep_settings.compare(Path("nowhere"), rows).best
    return found and found.jobs


def selection(rows: list[dict[str, str]]) -> list[str]:
    """What the page says about the figures that select."""
    return sweep_page.selection(sweep_settings.compare(Path("nowhere"), rows), rows)


def test_the_best_job_is_marked_where_jobs_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(0, 0.31, test=0.99), row(1, 0.39, test=0.01), row(2, None)]
    assert best(rows) == "1", "test selects nothing"
    mixed = [*rows, row(3, 0.9, by="judge_agreement/dev/nDCG@10/zelo")]
    assert best(mixed) is None, "agreement with judge ratings is no nDCG"
    assert selection(mixed) == [
        "The jobs are measured differently on dev (dev/nDCG@10/zelo, judge_agreement/dev/nDCG@10/zelo), so none is called"
        " best."
    ]
    assert "against judge ratings, no human labels" in selection(mixed[3:])[0]
    assert best([row(0, None)]) is None
    assert selection([row(0, None)]) == []
    for one in reversed(rows):
        sweep.record(tmp_path, {"job": one["job"], "degree": "4", "status": one.pop("status"), **one})
    sweep_page.print_table(tmp_path, sweep.read(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines[:6] if "best" in line] == [line for line in lines[:-2] if "0.390" in line]
    assert max(map(len, lines[:6])) <= 100
    (marked,) = (line for line in lines if "best" in line and "0.390" in line)
    assert "0.010" in marked, "test stands beside dev"
    assert lines[-4:-2] == [
        "dev, which selects the best: dev/nDCG@10/zelo",
        "test, which selects nothing: test/nDCG@10/zelo",
    ]
    assert lines[-2].startswith("Best on dev: degree=4 (dev 0.390, test 0.010); not tested")


def test_a_sweep_over_domains_compares_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each job as its manifest says, to the columns, the page and the terminal."""
    keys, test = {"dev": "dev/nDCG@10", "test": "test/nDCG@10"}, "test/nDCG@10/zelo"
    for job, out in enumerate(["law", "code"]):
        domains = {
            name: {"split": "test", "value": value, "out_of_domain": name == out}
            for name, value in (("law", 0.4 + job / 10), ("code", 0.7 - job / 10))
        }
        figures = {"system": "zelo", "keys": keys, "values": {"dev/nDCG@10/zelo": 0.5, test: 0.55}, "domains": domains}
        manifest = {"status": "finished", "figures": figures}
        own = {"job": str(job), "leave_out": out, "status": "finished"} | sweep._main_figures(manifest)
        own |= sweep._domain_figures(manifest, own["test"])
        sweep.record(tmp_path, own | {"seconds": "1.0", "error": "", "folder": f"{job}-x"})
    assert (tmp_path / "sweep.html").read_text().count("(out)") == 2, "the page is written again after each job"
    sweep.write_page(tmp_path)
    rows = sweep.read(tmp_path)
    assert [(one[f"{test}/law"], one["out_of_domain"]) for one in rows] == [("0.4", "law"), ("0.5", "code")]
    sweep_page.print_table(tmp_path, rows)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "law", "0.500", "0.550", "0.400", "(out)", "0.700", "1.0", "best"] in said
    assert ["1", "code", "0.500", "0.550", "0.500", "0.600", "(out)", "1.0"] in said
    assert (tmp_path / "sweep.html").read_text().count("(out)") == 3, "in two cells, and said once what it means"


def test_what_selects_is_dev_in_every_table(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "0"
    folder.mkdir(parents=True)
    index = tmp_path / "multirun/index.csv"
    index.write_text("time,name,value\nthen,zelo,0.3\n")  # of an earlier version
    keys = {"dev": "judge_agreement/dev/nDCG@10", "test": "test/nDCG@10"}
    values = {
        "judge_agreement/dev/nDCG@10/zelo": 0.7,
        "judge_agreement/dev/nDCG@10/bm25": 0.6,
        "test/nDCG@10/zelo": 0.4,
    }
    figures = {"system": "zelo", "keys": keys, "values": values}
    (folder / "manifest.json").write_text(json.dumps({"started": "now", "status": "finished", "figures": figures}))
    hydra = {"mode": RunMode.MULTIRUN, "runtime": {"output_dir": str(folder)}, "overrides": {"task": ["seed=0"]}}
    hydra |= {"job": {"num": 0}, "sweep": {"dir": str(tmp_path / "multirun")}, "sweeper": {"_target_": "other"}}
    callback = sweep.Sweep(index=str(index))
    callback.on_job_end(OmegaConf.create({"name": "zelo", "hydra": hydra}), SimpleNamespace(return_value=0.7))  # type: ignore[arg-type]
    for found in (read(index), read(tmp_path / "multirun/sweep.csv")):
        assert found[0]["selected_by"] == "judge_agreement/dev/nDCG@10/zelo"
        assert (found[0]["value"], found[0]["test"], found[0]["test_value"]) == ("0.7", "test/nDCG@10/zelo", "0.4")
    columns = list(read(tmp_path / "multirun/sweep.csv")[0])
    assert [name for name in columns if name in values] == list(values)
    assert not {"metric", "split", "zelo", "bm25"} & set(columns)
    assert (tmp_path / "multirun/index-earlier.csv").read_text().startswith("time,name,value"), "old rows, old header"


def test_the_page_of_a_sweep_escapes_and_needs_no_network(tmp_path: Path) -> None:
    hostile = "</td><script>alert(1)</script>"
    sweep.record(tmp_path, row(0, 0.5, option=hostile))
    page = (tmp_path / "sweep.html").read_text()
    assert hostile not in page
    assert "&lt;script&gt;" in page
    assert page.count("<script") == 1, "its own, which sorts the table"
    assert "http://" not in page
    assert "https://" not in page


def test_many_writers_lose_no_row(tmp_path: Path) -> None:
    def figures(number: int) -> dict[str, object]:
        return {"system": "zelo", "keys": {"dev": "dev/nDCG@10"}, "values": {"dev/nDCG@10/zelo": number}}

    def end(number: int) -> None:
        folder = tmp_path / "multirun" / "zelo" / "now" / str(number)
        folder.mkdir(parents=True)
        manifest = {"started": "now", "status": "finished", "figures": figures(number)}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        hydra = {"mode": RunMode.RUN, "runtime": {"output_dir": str(folder)}, "overrides": {"task": [f"seed={number}"]}}
        ended = SimpleNamespace(return_value=1.0)
        callback = sweep.Sweep(index=str(tmp_path / "multirun/index.csv"))
        callback.on_job_end(OmegaConf.create({"name": "zelo", "hydra": hydra}), ended)  # type: ignore[arg-type]
        sweep.record(tmp_path / "sweep", row(number, float(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(24)))
    index = read(tmp_path / "multirun/index.csv")
    assert sorted(int(one["value"]) for one in index) == list(range(24))
    assert [int(one["job"]) for one in read(tmp_path / "sweep/sweep.csv")] == list(range(24))


def test_runs_elsewhere_are_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"started": "now", "status": "finished"}')
    hydra = {"mode": RunMode.RUN, "runtime": {"output_dir": str(folder)}, "overrides": {"task": []}}
    callback = sweep.Sweep(index=str(tmp_path / "multirun/index.csv"))
    ended = SimpleNamespace(return_value=1.0)
    callback.on_job_end(OmegaConf.create({"name": "zelo", "hydra": hydra}), ended)  # type: ignore[arg-type]
    assert not (tmp_path / "multirun").exists()


def test_a_key_is_shown_by_its_shortest_end_that_no_other_has() -> None:
    keys = [
        "graph.degree",
        "reranker.loss.temperature",
        "embedding.loss.temperature",
        "solver",
        "seed",
        "a.seed",
        "a.pairs",
    ]
    ends = ["degree", "reranker.loss.temperature", "embedding.loss.temperature", "solver", "seed", "a.seed", "a.pairs"]
    assert list(sweep.short_names(keys).values()) == ends, "pairs is a column of its own"


def test_a_setting_of_several_seeds_is_one_row() -> None:
    rows = [row(job, 0.3 + job / 100, seed=str(job % 3), degree=str(job // 3)) for job in range(6)]
    found = sweep_settings.compare(Path("nowhere"), rows)
    assert [(one.jobs, one.options) for one in found.settings] == [
        ("0, 1, 2", {"degree": "0"}),
        ("3, 4, 5", {"degree": "1"}),
    ]
    dev = found.settings[1].estimates["dev"]
    assert dev.value == pytest.approx(0.34)
    assert dev.high == pytest.approx(0.34 + 4.3026527 * 0.01 / 3**0.5), "Student's t with 2 degrees of freedom"
    assert found.best is found.settings[1]


def leave(folder: Path, rows: list[dict[str, str]], values: list[list[float]], against: list[str]) -> None:
    """What jobs leave for a comparison: values of their dev queries."""
    for one, queries, source in zip(rows, values, against, strict=True):
        (folder / one["folder"]).mkdir(parents=True)
        left = {
            "per_query": {"dev": {f"q{n:02}": value for n, value in enumerate(queries)}},
            "against": {"dev": source},
        }
        (folder / one["folder"] / "compared.json").write_text(json.dumps(left))
        one["value"] = str(np.mean(queries))


def test_the_best_is_named_with_those_it_is_not_shown_to_differ_from(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.4, 0.6, 60)
    values = [base + shift + random.normal(0, 0.05, 60) for shift in (0.3, 0.295, 0.0)]
    rows = [row(job, 0.0, degree=str(2 * job)) | {"folder": f"{job}-x"} for job in range(3)]
    leave(tmp_path, rows, [one.tolist() for one in values], ["labels"] * 3)
    found = sweep_settings.compare(tmp_path, rows)
    others = [one for one in found.settings if one is not found.best]
    differences = [values[int(one.jobs)] - values[int(found.best.jobs)] for one in others] if found.best else []
    assert [one.p for one in others] == pytest.approx(holm(sign_flip(np.array(differences), 10_000, 0)).tolist())
    (alike,) = found.alike
    assert {found.best.name if found.best else "", alike.name} == {"degree=0", "degree=2"}
    (said,) = sweep_page.verdict(found)
    assert f"No difference shown from {alike.name}" in said
    assert "60 dev queries, Holm-corrected for 2" in said
    few = tmp_path / "few"
    leave(few, rows, [one[:9].tolist() for one in values], ["labels"] * 3)
    assert len(sweep_settings.compare(few, rows).alike) == 2, "9 queries show nothing"
    other = tmp_path / "other"
    leave(other, rows, [one.tolist() for one in values], ["labels", "labels", "others"])
    assert "measured by ratings of its own" in sweep_page.verdict(sweep_settings.compare(other, rows))[0]


def test_judges_agree_on_the_pairs_that_two_of_them_decide_alike(tmp_path: Path) -> None:
    said = {"a": [0.9, 0.2, 0.7, 0.6], "b": [0.6, 0.1, 0.3, None]}
    rows = [
        {"query_id": "q", "doc_a": "x", "doc_b": f"y{n}", "judge": judge, "repeat": 0, "p": p, "swapped": False}
        for judge, column in said.items()
        for n, p in enumerate(column)
    ]
    write_shard(pa.Table.from_pylist(rows, OUTCOME), OUTCOME, tmp_path, "outcomes", 0)
    assert compared.judges_agree([Table("judge", "", tmp_path, {})]) == 2 / 3


def test_a_split_that_nobody_rated_has_no_teacher(tmp_path: Path) -> None:
    tables = {
        "queries": (QUERY, [{"query_id": split, "text": "text", "split": split} for split in ("dev", "test")]),
        "documents": (DOCUMENT, [{"doc_id": "d", "title": "", "text": "text"}]),
        "qrels": (
            QREL,
            [{"query_id": split, "doc_id": "d", "relevance": 1, "split": split} for split in ("dev", "test")],
        ),
        "ratings": (RATING, [{"query_id": "test", "doc_id": "d", "rating": 0.5}]),
    }
    for name, (schema, rows) in tables.items():
        write_shard(pa.Table.from_pylist(rows, schema), schema, tmp_path, name, 0)
    table = Table("all", "", tmp_path, {})
    measured = compared.teacher(table, table, table)
    assert {split: one.mean("teacher") for split, one in measured.items()} == {"test": 1.0}, (
        "not rated is not ranked last"
    )


def test_no_setting_on_the_front_is_beaten_at_its_cost() -> None:
    assert sweep_plots.pareto([1.0, 2.0, 2.0, 3.0, 4.0], [0.3, 0.2, 0.5, 0.5, 0.6]) == [0, 2, 4]


def test_parallel_coordinates_have_an_axis_for_all_that_differs() -> None:
    values = [("2", "3e-5", "a"), ("4", "1e-4", "b"), ("8", "1e-3", "c")]
    rows = [
        row(job, 0.3 + job / 10, degree=degree, lr=lr, solver=solver) | {"pairs": "5", "judges_usd": str(2 * job)}
        for job, (degree, lr, solver) in enumerate(values)
    ]
    found = sweep_plots.parallel(sweep_settings.compare(Path("nowhere"), rows))
    assert found is not None
    assert [title for title, _, _ in found.axes] == ["degree", "lr", "solver", "US dollars of judges", "dev"]
    assert [[label for _, label in ticks] for _, _, ticks in found.axes[:3]] == [
        list(one) for one in zip(*values, strict=True)
    ]
    points = {line.number: [float(one.split(",")[1]) for one in line.points.split()] for line in found.lines}
    assert points[0][0] > points[1][0] > points[2][0], "larger numbers lie higher"
    (low, middle, high) = (points[job][1] for job in range(3))
    assert (low - middle) / (low - high) == pytest.approx(math.log(1e-4 / 3e-5) / math.log(1e-3 / 3e-5), abs=1e-3)
    assert points[0][2] < points[1][2] < points[2][2], "options stand in the order in which they were given"
    assert [(line.number, line.best) for line in found.lines] == [(0, False), (1, False), (2, True)]
    assert sweep_plots.parallel(sweep_settings.compare(Path("nowhere"), [row(0, None), row(1, 0.2)])) is None


def test_the_page_of_a_search_has_the_importance_of_its_parameters(tmp_path: Path) -> None:
    rows = [row(0, 0.3, degree="2"), row(1, 0.4, degree="4")]
    assert "fANOVA" not in sweep_page.page(tmp_path, rows)
    (tmp_path / "importance.json").write_text(json.dumps({"dev": {"<b>": 0.25, "degree": 0.75}}))
    page = sweep_page.page(tmp_path, rows)
    assert page.index("75 %") < page.index("&lt;b&gt;"), "the largest first, and every text escaped"
    (tmp_path / "importance.json").write_text('{"dev": {"deg')
    assert "fANOVA" not in sweep_page.page(tmp_path, rows)


def test_a_table_that_is_none_is_named_before_any_work(tmp_path: Path) -> None:
    for content in ("a,b\n1,2\n", "job,seed\n0,1\n1,2,3,4\n", "job,seed\n1\n"):
        (tmp_path / "sweep.csv").write_text(content)
        with pytest.raises(BadInput, match=r"sweep\.csv, line \d"):
            sweep.read(tmp_path)
    (tmp_path / "sweep.csv").write_bytes(b"job\n\xff\xfe")
    with pytest.raises(BadInput, match="is no table of a sweep"):
        sweep.read(tmp_path)


def test_the_list_of_runs_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    """Sweeps and runs, the newest first; a killed run is told, a broken one is named."""
    figures = {"selected_by": "dev/nDCG@10/zelo", "test_value": "0.4", "seconds": "10", "status": "finished"}
    rows = [{"time": "2026-01-01", "name": "zelo", "value": "0.5", "usd": "0.0", "folder": "zelo/1"} | figures]
    for job in range(2):
        folder = f"ladder/2/{job}-x"
        (tmp_path / folder).mkdir(parents=True)
        rows.append(
            figures
            | {"time": f"2026-01-02T0{job}", "name": "ladder", "value": f"0.{6 + job}", "usd": "1.5", "folder": folder}
        )
    (tmp_path / "ladder/2/sweep.csv").write_text("job\n")
    (tmp_path / "ladder/2/0-x/report.html").write_text("")
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sweep.INDEX_COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
        file.write("half of a ro")
    for name, content in (
        ("killed", json.dumps({"status": "running", "started": "2026-01-03", "command": "zelo seed=1"})),
        ("broken", "{"),
    ):
        (tmp_path / "zelo" / name).mkdir(parents=True)
        (tmp_path / "zelo" / name / "manifest.json").write_text(content)
    page = index_page.page(tmp_path)
    words = Page(page).words
    order = [words.index(text) for text in ("running or killed", "2 jobs", "free")]
    assert order == sorted(order)
    assert "0.700" in words
    assert "$3.00" in words, "a sweep costs what its jobs cost"
    assert [a["href"] for tag, a in Page(page).elements if tag == "a"] == [
        "zelo/killed/",
        "ladder/2/",
        "ladder/2/0-x/report.html",
        "ladder/2/1-x/",
    ]
    assert "index.csv, line 5: it is no row of this table" in words
    assert "zelo/broken/manifest.json cannot be read (JSONDecodeError)" in words


def test_a_job_is_composed_as_hydra_composes_it() -> None:
    sweep.prepare()
    setup_globals()
    job = [
        "experiment=smoke",
        "solver=bradley_terry",
        "loss@embedding.loss=mse",
        "embedding.backbone.lr=1e-3",
        "++seed=4",
    ]
    job += [
        "+scorer@baselines.mine=cross_encoder",
        "judge.use=[dense,window]",
        "budget={usd: 3}",
        "~target.temperature",
    ]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["experiment=smoke"], RunMode.MULTIRUN)
        shared, expected = SharedLoader(loader), OmegaConf.to_yaml(loader.load_sweep_config(master, job))
        for _ in range(2):
            found = shared.load_sweep_config(master, job)
            assert OmegaConf.to_yaml(found) == expected
            found.seed = 5  # of this job alone
        with pytest.raises(ConfigCompositionException, match=r"Could not override 'graph\.degre'") as raised:
            shared.load_sweep_config(master, [*job, "graph.degre=2"])
        assert isinstance(raised.value.__cause__, OmegaConfBaseException)
