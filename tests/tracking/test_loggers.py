"""Loggers: what each gets of a run, that reused trainings and judging have curves, and that no logger ends a run."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from wandb_records import wandb_records

from zelo import arguments, compose, main
from zelo.errors import BadInput
from zelo.pipeline import instantiate
from zelo.pipeline.run import Result, Step
from zelo.places import config_folder
from zelo.progress import progress, watched_by
from zelo.store.store import Store
from zelo.tracking import curves, outage
from zelo.tracking.job import Job
from zelo.tracking.local import Local
from zelo.tracking.several import Several
from zelo.tracking.wandb import RUNS, Opened, _mode
from zelo.training import training_log

DOCS = Path(__file__).parents[2] / "docs"
JOB = Job.of(
    {"seed": 7, "solver": {"_target_": "Thurstone", "ridge": 0.5}, "stages": {"rate": {"seed": 7}}},
    {"solver": "thurstone", "pipeline": "default", "backbone@embedding.backbone": "minilm"},
    ["seed=7"],
    "nightly",
)
SWEPT = {  # of each parameter of W&B's sweep, a value that an agent may write
    key: one["values"][-1] if "values" in one else one["max"]
    for key, one in yaml.safe_load((DOCS / "wandb_sweep.yaml").read_text())["parameters"].items()
}
MANIFEST = {"stages": {"judge": {"seconds": 2.5, "identity": "abc"}}, "compared": {"pairs": 9}}


def logger(option: str, folder: Path, **values: Any) -> Any:
    """As the yaml of that option has it."""
    node = yaml.safe_load((config_folder() / f"logger/{option}.yaml").read_text())
    return instantiate.build(node | {"folder": str(folder)} | values, "logger")


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    """With two loggers, and what an agent of W&B writes."""
    swept = [f"{key}={value}" for key, value in SWEPT.items()]
    return compose(["dataset=synthetic", *swept, "logger=[local, csv]", "logger.loggers.csv.lightning.name=mine"])


class Remembering:
    """A logger that remembers its points."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, dict[str, float]]] = []

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        self.points.append((name, step, dict(metrics)))


def zelo(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command in this process."""
    monkeypatch.setattr(sys, "argv", ["zelo", *arguments])
    return main.main()


def test_the_local_logger_writes_json_lines(tmp_path: Path) -> None:
    local = Local(folder=str(tmp_path))
    for name in ("embedding", "judge"):
        local.log(name, 3, {"train/loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["name"], line["step"], line["train/loss"]) for line in lines] == [
        ("embedding", 3, 0.5),
        ("judge", 3, 0.5),
    ]
    assert abs(lines[0]["time"] - time.time()) < 60
    with pytest.raises(BadInput, match=r"logger\.folder"):
        Local(folder=None).log("embedding", 0, {})


@pytest.mark.parametrize("package", ["wandb", "wandb-workspaces", "tensorboard", "mlflow"])
def test_a_package_that_is_not_installed_is_one_line(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    option, values = (package, {}) if package != "wandb-workspaces" else ("wandb", {"workspace": True})
    with pytest.raises(BadInput, match=rf"^logger={option}.* {package} is not.*pip install 'zelo\[{option}\]'\.$"):
        logger(option, tmp_path, **values).check()


def test_a_logger_is_told_what_was_chosen_and_nothing_twice(composed: DictConfig) -> None:
    assert JOB.config == {
        "solver": "thurstone", "pipeline": "default", "seed": 7, "solver.ridge": 0.5, "overrides": "seed=7"
    }  # fmt: skip
    node = OmegaConf.to_container(composed, resolve=True)
    whole = Job.of(node, {"pipeline": "default", "judge": "embedded"}, [], None)  # type: ignore[arg-type]
    assert len(whole.config) <= 150
    dearest: Any = OmegaConf.to_container(compose(["judge=frontier"]), resolve=True)
    judged = Job.of(dearest, {"pipeline": "default"}, [], None)
    assert len(judged.config) <= 130, "three judges, each with a list of prices"
    assert whole.config["embedding.loss.sharpness"] is not None
    assert whole.config["embedding.backbone.model"]


def test_a_training_that_is_reused_has_its_curves(tmp_path: Path) -> None:
    """Also one that was killed: what it logged after its checkpoint is logged again, and half a line is no line."""
    lines = training_log.Lines(tmp_path / "log.jsonl")
    lines.cut(-1)
    for step in range(4):
        lines.add(step, {"epoch": 0, "train/loss": 0.5})
    lines.path.write_text(lines.path.read_text() + '{"step": 4, "me')
    lines.cut(2)
    lines.add(2, {"dev": 0.25})
    lines.add(3, {"train/loss": 0.75})

    def make(folder: Path, earlier: object) -> dict[str, object]:
        training_log.write(lines, folder)
        return {}

    table, _ = Store(tmp_path / "home").obtain("train", "a", make)
    stage = SimpleNamespace(name="embedding", student=None)
    for status, points in (("computed", 0), ("cached", 4)):
        result = Result([Step("train", stage, "a", {})], {"train": table}, {"train": {"status": status}})
        remembering: Any = Remembering()
        curves.replay(result, "train", remembering)
        assert len(remembering.points) == points
    assert remembering.points[0] == ("embedding", 0, {"epoch": 0.0, "train/loss": 0.5})
    assert remembering.points[2:] == [
        ("embedding", 2, {"epoch": 0.0, "train/loss": 0.5, "dev": 0.25}),
        ("embedding", 3, {"train/loss": 0.75}),
    ]


def test_work_with_figures_is_reported_at_the_pace_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    points: list[tuple[int, dict[str, float]]] = []
    clock = iter(range(1000))  # seconds; it is looked at about twice for each answer
    monkeypatch.setattr("zelo.progress.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    with watched_by(lambda done, figures: points.append((done, dict(figures)))):
        with progress("judge", 50, "answers", lambda: {"usd": 0.5}) as advance:
            for _ in range(50):
                advance(1)
        with progress("encoding", 100, "texts") as advance:
            advance(100)
    assert all(figures["usd"] == 0.5 and figures["answers_per_second"] > 0 for _, figures in points)
    assert 5 < len(points) < 20
    assert points[-1][0] == 50, "the end is reported, and nothing of work without figures"


@pytest.mark.parametrize("option", ["csv", "tensorboard", "mlflow"])
def test_lightning_is_imported_when_a_run_begins(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", None)
    one = logger(option, tmp_path)
    one.check()
    with pytest.raises(BadInput, match="cannot start a run"):
        one.start(JOB)


@pytest.mark.parametrize("option", ["csv", pytest.param("tensorboard"), pytest.param("mlflow", marks=pytest.mark.long)])
def test_a_lightning_logger_gets_choices_curves_and_figures(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(variable, raising=False)
    if option != "csv":
        pytest.importorskip(option)
    folder = tmp_path / "a-job"
    folder.mkdir()
    one = logger(option, folder)
    one.check()
    one.start(JOB)
    one.log("embedding", 1, {"train/loss": 0.25})
    one.log("judge", 50, {"usd": 0.5})
    one.finish(Result(), MANIFEST)
    assert one.fail() is None, "it is closed"
    if option == "csv":
        rows = list(csv.DictReader((folder / "csv/metrics.csv").open()))
        assert [(row["step"], row["embedding/train/loss"], row["judge/usd"]) for row in rows[:2]] == [
            ("1", "0.25", ""),
            ("50", "", "0.5"),
        ]
        assert rows[-1]["figures/pairs"] == "9.0"
        assert yaml.safe_load((folder / "csv/hparams.yaml").read_text())["solver"] == "thurstone"
    elif option == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        assert [(event.step, event.value) for event in events.Scalars("embedding/train/loss")] == [(1, 0.25)]
        assert events.Scalars("seconds/judge")[0].value == 2.5
    else:
        (run,) = (tmp_path / "mlruns").glob("*/*/meta.yaml")
        assert yaml.safe_load(run.read_text())["status"] == 3, "finished"
        said = {
            path.relative_to(run.parent).as_posix(): path.read_text()
            for path in run.parent.rglob("*")
            if path.is_file()
        }
        assert said["params/solver.ridge"] == "0.5"
        assert said["tags/mlflow.runName"] == "a-job"
        assert (said["tags/solver"], said["tags/sweep"]) == ("thurstone", "nightly")
        assert said["metrics/embedding/train/loss"].split()[1:] == ["0.25", "1"]


def test_a_server_that_is_away_is_said_once_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object, **values: object) -> None:
        raise ConnectionError("the server is away, key sk-verysecret-0123456789abcdef")

    run: Any = SimpleNamespace(log=away, define_metric=away, finish=away)
    monkeypatch.setitem(RUNS, str(tmp_path), Opened(run, {}))
    one = logger("wandb", tmp_path)
    one.log("judge", 1, {"usd": 0.5})
    one.log("judge", 2, {"usd": 0.5})
    one.finish(Result(), MANIFEST)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "W&B did not take what was logged (the server is away, key (hidden)); the run goes on."
    assert len(said) == 2
    assert "the run is whole" in said[1]
    outage.TOLD.clear()


def test_several_loggers_are_a_list_and_a_sweep_of_wandb_names_keys_that_there_are(composed: DictConfig) -> None:
    sweep = yaml.safe_load((DOCS / "wandb_sweep.yaml").read_text())
    assert sweep["command"] == ["${env}", "zelo", "logger=wandb", "${args_no_hyphens}"]
    for key, value in SWEPT.items():
        assert key == "solver" or OmegaConf.select(composed, key) == value
    assert list(composed.logger.loggers) == ["local", "csv"]
    assert composed.logger.loggers.csv.lightning.name == "mine"
    assert arguments.prepared(["logger=wandb"]) == ["logger=wandb"]
    with pytest.raises(BadInput, match=r"^logger=several names no logger; write logger=\[wandb,csv\]\.$"):
        Several(loggers={}).check()


def test_a_logger_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert zelo("until=load", "logger=[local,wandbb]", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "Did you mean logger=wandb?" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_wandb_without_access_to_an_entity_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CommError(Exception):
        pass

    def refuse(**values: object) -> None:
        raise CommError("permission denied.")

    fake = SimpleNamespace(Settings=dict, init=refuse, Error=CommError)
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"project a for logger\.entity=strangers \(permission denied\)\. ") as found:
        logger("wandb", tmp_path, entity="strangers", project="a").start(JOB)
    assert "\n" not in str(found.value)


def test_wandb_is_offline_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert _mode() == "offline"
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")  # as an agent sets it, which waits for the run
    assert _mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert _mode() == "offline"


@pytest.mark.long
def test_a_sweep_in_wandb_is_grouped_and_reused_trainings_have_curves(tiny_beir: Path, tmp_path: Path) -> None:
    """Four jobs, offline, in a process of their own; the first two learn alike, and so do the others."""
    home = tmp_path / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment = kept | {"ZELO_HOME": str(home / "store"), "HOME": str(home)}
    small = "dataset=beir dataset.path=FOLDER top_k=6 graph.degree=2 retriever=bm25 judge=lexical until=train_embedding"
    varied = "embedding.optimizer.lr=1e-3,1e-4 stages.evaluate.precision=0.7,0.8 embedding.trainer.epochs=2"
    both = ["logger=[wandb,csv]", "logger.loggers.wandb.texts=true", "report=true"]
    command = [sys.executable, "-m", "zelo", "-m", *both, *small.split(), *varied.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"train_embedding +(\w+)", done.stdout) == ["computed", "cached"] * 2
    assert len(re.findall(r"wandb sync \S+offline-run\S+", done.stdout)) == 4
    (folder,) = (tmp_path / "multirun/zelo").iterdir()
    seen = []
    for path in sorted(folder.glob("*/wandb/offline-run-*/*.wandb")):
        records = list(wandb_records(path))
        (run,) = [record.run for record in records if record.HasField("run")]
        assert (run.run_group, run.job_type) == (folder.name, "default")
        assert run.display_name == path.parents[2].name
        keys = {item.key for record in records for item in record.config.update}
        assert {"overrides", "solver", "embedding/optimizer/lr"} <= keys
        assert len(keys) <= 150
        points = [
            {"/".join(item.nested_key): item.value_json for item in record.history.item if item.nested_key[0][0] != "_"}
            for record in records
            if record.HasField("history")
        ]
        seen.append([point for point in points if "embedding/step" in point])
        judged = [point for point in points if "judge/step" in point]
        assert len(judged) == (len(seen) == 1), "only the first job asks the judge"
        made = {record.artifact.name: record.artifact for record in records if record.HasField("artifact")}
        tables = {f"run-{run.run_id}-{name}" for name in ("judges", "battles")}  # W&B keeps each as an artifact, too
        assert made.keys() == {"embedding", "ratings", "evaluation", "report"} | tables
        assert list(path.parent.glob("files/media/html/report*.html")), "a panel of it"
        files = [file for one in made.values() for file in one.manifest.contents]
        assert "model.safetensors" in {Path(file.path).name for file in files}
        assert all(Path(file.local_path).is_relative_to(path.parents[2]) for file in files)
        assert json.loads(made["embedding"].metadata)["tables"]["train_embedding"]
    assert len(seen) == 4
    names = {"train/loss", "train/lr", "train/gradient_norm", "train/pairs_per_second"}
    for trained, reused in ((seen[0], seen[1]), (seen[2], seen[3])):
        assert {f"embedding/{name}" for name in names} <= set().union(*trained)
        assert any("judge_agreement/dev/nDCG@10" in name for point in trained for name in point)
        merged: dict[str, dict[str, str]] = {}
        for point in trained:  # a step with a validation is two points when it trains
            merged.setdefault(point["embedding/step"], {}).update(point)
        assert [{key: float(value) for key, value in point.items()} for point in reused] == [
            {key: float(value) for key, value in point.items()} for point in merged.values()
        ]
    assert not list(home.rglob("staging")), "what waits for its upload is in the run directory"
