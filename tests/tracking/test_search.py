"""A search by Optuna: the space in Hydra's syntax, a journal that goes on, failures that stop no other trial; jobs elsewhere."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import command
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from hydra_plugins import zelo_grid, zelo_journal, zelo_optuna
from hydra_plugins.zelo_optuna import OptunaSweeper
from hydra_plugins.zelo_space import searched
from hydra_plugins.zelo_upstream import Upstream
from zelo import explanation, refusals
from zelo.errors import BadInput, JobFailed
from zelo.tracking import sweep

pytest.importorskip("optuna")

SPACE = ("graph.degree=range(2,9,2)", "solver.ridge=tag(log,interval(1e-4,1))")
NEVER = {"_target_": "optuna.pruners.NopPruner"}
TINY = "dataset=beir dataset.path=FOLDER retriever=bm25 judge=lexical top_k=6 graph.degree=2,4 until=rate"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the sweep of another."""
    monkeypatch.setattr(sweep, "CURRENT", sweep.Current(varied=["graph.degree", "solver.ridge"]))


class Launched:
    """A launcher whose jobs leave a manifest with what `measure` makes of their overrides, or raise what it raises."""

    def __init__(self, folder: Path, measure: Callable[[dict[str, float]], dict[str, Any]]) -> None:
        self.folder, self.measure = folder, measure
        self.jobs: list[tuple[int, str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Runs them, one after the other."""
        return [self._run(job, initial_job_idx + place) for place, job in enumerate(jobs)]

    def _run(self, job: Sequence[str], number: int) -> JobReturn:
        self.jobs.append((number, " ".join(job)))
        folder = self.folder / str(number)
        ended = JobReturn(
            overrides=job, hydra_cfg=OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
        )
        try:
            figures = self.measure({key: float(value) for key, value in (one.split("=") for one in job)})
        except BadInput as error:
            ended.status, ended.return_value = JobStatus.FAILED, error
            return ended
        folder.mkdir(exist_ok=True)
        dev, status = figures.pop("dev", None), figures.pop("status", "finished")
        keys: dict[str, Any] = {"keys": {"dev": "dev/nDCG@10"}, "values": {"dev/nDCG@10/zelo": dev}, "system": "zelo"}
        (folder / "manifest.json").write_text(
            json.dumps({"status": status, "compared": figures, "figures": keys if dev is not None else {}})
        )
        ended.status = JobStatus.COMPLETED
        return ended


def search(
    folder: Path,
    measure: Callable[[dict[str, float]], dict[str, Any]],
    space: Sequence[str] = SPACE,
    fewest: int = 100,
    **settings: Any,
) -> list[tuple[int, str]]:
    """Runs a search in a folder; the number and overrides of each job that was launched."""
    chosen = {"n_trials": 6, "n_jobs": 1, "n_startup_trials": 10, "seed": 0, "objectives": None} | settings
    chosen = {"trials_per_upstream": 1, "pruner": None} | chosen
    sweeper = OptunaSweeper(**chosen, folder="search", params=None)
    flags = {"keep_going": False, "confirm": False}
    hydra = {"sweep": {"dir": str(folder)}, "sweeper": chosen}
    sweeper.chosen = OmegaConf.create({"hydra": hydra, "sweep": flags, "plan": False})
    sweeper.context = SimpleNamespace(config_loader=None)  # type: ignore[assignment]
    launched = Launched(folder, measure)
    sweeper.launching = launched  # type: ignore[assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zelo_optuna, "fault", lambda *_, **__: None)
        patch.setattr(zelo_optuna, "FEWEST", fewest)
        sweeper.sweep(list(space))
    return launched.jobs


def measured(values: dict[str, float]) -> dict[str, Any]:
    """Dev that grows with the degree alone; dollars that grow with it, too."""
    return {"dev": values["graph.degree"] / 10, "judges_usd": values["graph.degree"], "compute_seconds": 1.0}


def failing(values: dict[str, float]) -> dict[str, Any]:
    """As `measured`, of a job that cannot have a degree of 6 or more."""
    if values["graph.degree"] >= 6:
        raise BadInput("too many pairs")
    return measured(values)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("x=2,4,8", "2 or 4 or 8"),
        ("x=choice(a,b,a)", "a or b"),
        ("x=range(2,9,2)", "2 to 8 in steps of 2"),
        ("x=range(8,1,-2)", "2 to 8 in steps of 2"),
        ("x=range(1,4)", "1 to 3"),
        ("x=range(0.1,0.5,0.1)", "0.1 to 0.4 in steps of 0.1"),
        ("x=interval(1,2)", "1.0 to 2.0"),
        ("x=int(interval(1,8))", "1 to 8"),
        ("x=tag(log,interval(1e-5,1e-3))", "1e-05 to 0.001 on a logarithmic scale"),
        ("+x=tag(log,int(interval(1,64)))", "1 to 64 on a logarithmic scale"),
    ],
)
def test_a_space_is_written_in_hydras_syntax(written: str, said: str) -> None:
    space = searched(OverridesParser.create().parse_overrides(["seed=0", "seed=1", written]))
    assert space.said() == {"x": said}
    key = written.partition("=")[0]
    assert space.job({"x": "2"}) == ["seed=1", f"{key}=2"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("seed=0", "nothing to search"),
        ("x=range(8,2)", "impossible range"),
        ("x=range(2,8,0)", "impossible range"),
        ("x=interval(1,0.1)", "impossible range"),
        ("x=interval(1,inf)", "impossible range"),
        ("x=tag(log,interval(0,1))", "begins above 0"),
        ("x=tag(lgo,interval(1,2))", "the tag lgo means nothing"),
        ("x=tag(log,choice(1,2))", "a logarithmic scale is of an interval"),
        ("x=tag(log,range(1,9))", "a logarithmic scale is of an interval"),
    ],
)
def test_an_impossible_space_is_refused(written: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        searched(OverridesParser.create().parse_overrides([written]))


def test_a_search_that_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    for name in "whole", "broken":
        (tmp_path / name).mkdir()
    whole = search(tmp_path / "whole", measured, n_startup_trials=2)
    assert [number for number, _ in whole] == list(range(6))
    assert len({job for _, job in whole}) == 6

    def killed(values: dict[str, float]) -> dict[str, Any]:
        if len(list((tmp_path / "broken").glob("[0-9]*"))) == 3:
            raise KeyboardInterrupt
        return measured(values)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "broken", killed, n_startup_trials=2)
    assert search(tmp_path / "broken", measured, n_startup_trials=2) == whole[3:], (
        "the fourth was begun, and is run again"
    )
    assert search(tmp_path / "broken", measured, n_startup_trials=2) == []
    assert len(search(tmp_path / "broken", measured, fewest=4, n_trials=7, n_startup_trials=2)) == 1
    shares = json.loads((tmp_path / "broken/importance.json").read_text())["dev"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["degree"] > 0.9


def test_a_failed_trial_stops_no_other_and_is_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectives = {"dev": "maximize", "dollars": "minimize", "seconds": "minimize"}
    jobs = search(tmp_path, failing, n_trials=8, n_jobs=3, objectives=objectives)
    wrong = sum("degree=6" in job or "degree=8" in job for _, job in jobs)
    assert 0 < wrong < 8
    assert [number for number, _ in jobs] == list(range(8))
    assert [str(error) for error in sweep.CURRENT.failures] == ["too many pairs"] * wrong
    said = capsys.readouterr().out
    assert f"{8 - wrong} of 8 trials have finished, {wrong} failed" in said
    assert "(Pareto front): " in said
    assert len(search(tmp_path, measured, n_trials=8, objectives=objectives)) == wrong, "what is missing"


def test_a_pruned_trial_is_neither_failed_nor_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def pruned(values: dict[str, float]) -> dict[str, Any]:
        return {"status": "pruned"} if values["graph.degree"] >= 6 else measured(values)

    jobs = search(tmp_path, pruned, n_trials=8, fewest=4)
    count = sum("degree=6" in job or "degree=8" in job for _, job in jobs)
    assert 0 < count < 8
    assert [number for number, _ in jobs] == list(range(8))
    assert sweep.CURRENT.failures == []
    assert f"{8 - count} of 8 trials have finished, {count} were pruned" in capsys.readouterr().out
    assert search(tmp_path, measured, n_trials=8) == []


def test_trials_keep_what_is_upstream_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Upstream({"judge": ["graph.degree"], "rate": ["solver.ridge"]}, ["graph.degree"], ["judge"])
    monkeypatch.setattr(zelo_optuna, "upstream", lambda *_: found)
    space = ("graph.degree=interval(2,9)", SPACE[1])
    settings = {"trials_per_upstream": 3, "n_startup_trials": 2}
    for name in "whole", "broken", "failing":
        (tmp_path / name).mkdir()
    whole = search(tmp_path / "whole", measured, space, n_trials=8, **settings)
    degrees, ridges = zip(*(job.split() for _, job in whole), strict=True)
    assert [degrees.index(one) for one in degrees] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert len(set(ridges)) == 8
    for trials in 5, 8:
        rest = search(tmp_path / "broken", measured, space, n_trials=trials, n_jobs=2, **settings)
        assert [number for number, _ in rest] == list(range({5: 0, 8: 5}[trials], trials))
    values: list[float] = []

    def first_fails(given: dict[str, float]) -> dict[str, Any]:
        values.append(given["graph.degree"])
        if len(values) == 1:
            raise BadInput("no graph of this degree")
        return measured(given)

    search(tmp_path / "failing", first_fails, space, n_trials=3, **settings)
    assert values[1] != values[0], "what failed is not kept"
    assert values[2] == values[1]


def test_a_search_without_a_figure_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="job 0 finished without the objective dev"):
        search(tmp_path, lambda _: {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": SPACE[:1]}, "solver.ridge was 0.0001 to 1.0 on a logarithmic scale and is not in it"),
        ({"space": ("graph.degree=2,4", SPACE[1])}, "graph.degree was 2 to 8 in steps of 2 and is 2 or 4"),
        ({"space": (*SPACE, "seed=3")}, "it had no other override, and this one has seed=3"),
        ({"objectives": {"dev": "minimize"}}, "dev was maximize and is minimize"),
        ({"objectives": {"dev": "max"}}, "a direction is maximize or minimize"),
        ({"objectives": {"euros": "minimize"}}, "no such figure"),
        ({"n_trials": 0}, "n_trials=0: at least 1"),
        ({"n_jobs": 1.5}, "n_jobs=1.5: expected a whole number or null"),
        ({"n_trials": 1001}, "sweep.confirm=true"),
        ({"trials_per_upstream": 0}, "trials_per_upstream=0: at least 1"),
        ({"pruner": "median"}, "pruner=median: this is no pruner of Optuna. Write hydra/sweeper/pruner=median"),
        ({"pruner": {"_target_": "builtins.print"}}, "_target_=builtins.print: this is no pruner"),
        ({"pruner": {"_target_": "optuna.pruners.NoPruner"}}, "_target_=optuna.pruners.NoPruner: this is no pruner"),
        ({"pruner": {"_target_": "optuna.pruners.ThresholdPruner"}}, "pruner cannot be built: .*lower or upper must"),
        ({"pruner": NEVER, "objectives": {"dev": "maximize", "dollars": "minimize"}}, "prunes by one objective"),
        (
            {"pruner": NEVER, "objectives": {"seconds": "minimize"}},
            "seconds: minimize}: Optuna prunes by one objective",
        ),
    ],
)
def test_another_search_and_bad_settings_are_refused_before_any_job(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    search(tmp_path, measured, n_trials=1)
    with pytest.raises(BadInput, match=words):
        search(tmp_path, measured, **change)
    assert len(list(tmp_path.glob("[0-9]*"))) == 1
    with (tmp_path / "optuna.journal").open("w") as file:
        file.write("{broken\n{}\n")
    with pytest.raises(BadInput, match="is damaged"):
        search(tmp_path, measured, n_trials=1)


def test_one_command_at_a_time_runs_a_search(tmp_path: Path) -> None:
    with zelo_journal.alone(tmp_path), pytest.raises(BadInput, match="another command runs this search"):
        search(tmp_path, measured)


@pytest.mark.long
def test_the_command_searches_and_goes_on(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    given = [
        "-m",
        "dataset=beir",
        "dataset.path=FOLDER",
        "until=load",
        "sweep=search",
        "hydra.sweeper.params=null",
        "seed=range(3)",
    ]
    seconds = "hydra.sweeper.objectives={seconds: minimize}"
    assert command(*given, "hydra.sweeper.n_trials=1") == 2, "until=load measures nothing on dev"
    assert "optimizes a figure of dev" in capsys.readouterr().err
    assert not (tmp_path / "multirun").exists()
    assert command(*given, seconds, "hydra.sweeper.n_trials=1") == 0
    assert command(*given, seconds, "hydra.sweeper.n_trials=2") == 0
    assert [path.name[:6] for path in sorted((tmp_path / "multirun/search/search").glob("[0-9]*"))] == [
        "0-seed",
        "1-seed",
    ]
    assert "2 of 2 trials have finished" in capsys.readouterr().out


@pytest.mark.long
def test_the_stages_upstream_are_those_that_the_later_parameters_leave_alone(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    fixed = TINY.replace("graph.degree=2,4 ", "").split()
    given = ["-m", *fixed, "hydra/sweeper=optuna", "hydra.sweeper.objectives={seconds: minimize}"]
    given += ["hydra.sweeper.n_trials=4", "hydra.sweeper.trials_per_upstream=2"]
    assert command(*given, SPACE[1], "solver=thurstone,bradley_terry", "graph.degree=2") == 2
    assert "of solver.ridge, solver none is upstream of another: the first stage that they change is rate" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "multirun").exists()
    assert command(*given, SPACE[1], "graph.degree=2,4") == 0
    said = capsys.readouterr().out
    assert (
        "first stage that they change: judge: graph.degree; rate: solver.ridge. graph.degree: new every 2 trials"
        in said
    )
    found = [json.loads(path.read_text())["stages"] for path in tmp_path.glob("multirun/*/*/*/manifest.json")]
    reused = [one["judge"]["status"] for one in found].count("cached")
    assert reused >= 2
    assert f"Stages upstream (judge): {reused} of {len(found)} were reused" in said


def test_an_optuna_that_is_not_there_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BadInput, match=r"pip install 'zelo\[sweeps\]'"):
        zelo_optuna._check_optuna()


def test_a_launcher_that_there_is_not_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("-m", "hydra/launcher=ray", "seed=1,2") == 2
    said = capsys.readouterr().err
    assert "There are: basic, joblib, slurm" in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_two_searches_are_two_groups_of_a_logger() -> None:
    given: list[tuple[str, dict[str, object]]]
    given = [("multirun/mine/search", {"folder": "search"}), ("multirun/mine/2026-11-30", {"max_batch_size": None})]
    found = [sweep.group(Path(folder), sweeper) for folder, sweeper in given]
    assert found == ["mine-search", "2026-11-30"]


def test_a_grid_has_no_interval() -> None:
    with pytest.raises(BadInput, match="hydra/sweeper=optuna searches an interval"):
        zelo_grid._refuse_size(OverridesParser.create().parse_overrides(["solver.ridge=interval(0.1,1)"]), False)


def test_a_single_run_has_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = OmegaConf.create({"mode": RunMode.RUN, "runtime": {"choices": {"hydra/launcher": "joblib"}}})
    monkeypatch.setattr(refusals.HydraConfig, "get", lambda: hydra)
    with pytest.raises(BadInput, match="this is a single run: write zelo -m"):
        refusals.refuse_run_of_launcher()


def test_a_launcher_that_is_not_installed_names_its_extra() -> None:
    for package, extra in (("joblib", "sweeps"), ("submitit", "slurm")):
        status, said = explanation.explain(
            RuntimeError(f"Unknown plugin class : 'hydra_plugins.hydra_{package}_launcher.X'")
        )
        assert status == 2
        assert f"pip install 'zelo[{extra}]'" in said


def test_a_process_of_jobs_that_was_ended_is_no_bug() -> None:
    loky = pytest.importorskip("joblib.externals.loky.process_executor")
    assert (
        "often for want of memory" in explanation.explain(loky.TerminatedWorkerError("A worker process was killed"))[1]
    )


def test_what_a_job_elsewhere_raised_comes_back_in_words() -> None:
    error = JobFailed("no space left", 3)
    back = type(error)(*error.args)  # as a pickle makes it again
    assert (str(back), back.exit_status) == ("no space left", 3)


@pytest.mark.long
@pytest.mark.usefixtures("own_processes")
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_at_the_same_time_share_what_is_above_them(
    launcher: str, tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    given = TINY.replace("2,4", "2,3,4").split()
    assert command("-m", f"hydra/launcher={launcher}", *given, "sweep.keep_going=true") == 2, (
        "the status of the failure"
    )
    said = capsys.readouterr()
    assert said.err.count("must be even") == 1
    assert "Sweep directory: " in said.out, "no table at the end"
    (folder,) = tmp_path.glob("multirun/zelo/*")
    made = [json.loads(path.read_text()) for path in sorted(folder.glob("*/manifest.json"))]
    assert [path.name for path in sorted(folder.glob("[0-9]*"))] == ["0-degree=2", "2-degree=4"]
    assert [one["status"] for one in made] == ["finished"] * 2
    assert all(one["command"].startswith(f"zelo -m hydra/launcher={launcher}") for one in made)
    for stage in ("load", "data_card", "retrieve"):
        assert sorted(one["stages"][stage]["status"] for one in made) == ["cached", "computed"], stage
