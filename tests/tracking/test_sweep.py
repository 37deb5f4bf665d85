"""Sweeps: a row per job as it ends, failures beside successes, an index of all runs that loses nothing."""

import csv
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from zelo import main
from zelo.errors import BadInput
from zelo.metrics.significance import holm, sign_flip
from zelo.reporting import sweep_page, sweep_plots, sweep_settings
from zelo.tracking import sweep


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
    command = ["zelo", *fixed.split(), "-m", *varied.split(), "--config-dir", str(tiny)]
    monkeypatch.setattr(sys, "argv", command)
    assert main.main() == 2
    said = capsys.readouterr()
    assert "job degree=3 solver=thurstone: " in said.err
    assert "2 of 4 jobs cannot run. Nothing was run; sweep.keep_going=true runs the others." in said.err
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
    assert "bradley_terry" in said.out.partition("\njob ")[2], "no table at the end"
    assert said.err.count("must be even") == 1, "an error is told twice"
    assert "Error executing job" not in said.err
    before = (folder / rows[2]["folder"] / "report.html").stat().st_mtime_ns
    (folder / rows[3]["folder"] / "manifest.json").unlink()
    monkeypatch.setattr(sys, "argv", ["zelo", "sweep.keep_going=true", f"hydra.sweep.dir={folder}", *command[1:]])
    assert main.main() == 2
    assert capsys.readouterr().out.count("finished by an earlier sweep") == 1
    assert (folder / rows[2]["folder"] / "report.html").stat().st_mtime_ns == before
    again = [{**row, "seconds": ""} for row in read(folder / "sweep.csv")]
    assert again == [{**row, "seconds": ""} for row in rows]


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


def test_a_plan_of_a_sweep_writes_nothing(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    options = f"dataset=beir dataset.path={tiny} retriever=bm25 judge=lexical top_k=6 graph.degree=2"
    options += " until=rate plan=true seed=1,2"
    monkeypatch.setattr(sys, "argv", ["zelo", "-m", *options.split()])
    assert main.main() == 0
    assert list(folder.iterdir()) == []


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
        list(pool.map(end, range(40)))
    index = read(tmp_path / "multirun/index.csv")
    assert sorted(int(one["value"]) for one in index) == list(range(40))
    assert [int(one["job"]) for one in read(tmp_path / "sweep/sweep.csv")] == list(range(40))


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


def test_no_setting_on_the_front_is_beaten_at_its_cost() -> None:
    assert sweep_plots.pareto([1.0, 2.0, 2.0, 3.0, 4.0], [0.3, 0.2, 0.5, 0.5, 0.6]) == [0, 2, 4]
