"""The command `zelo`: composes a config, runs its stages, and says what came out.

Exit status: 0 done, 1 a bug, 2 bad input, 3 a limit was reached and everything is kept, 130 interrupted, 143
terminated.
"""

import contextlib
import os
import re
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from zelo import arguments, refusals
from zelo.errors import BadInput, JobFailed, ModelNotFound, ZeloError
from zelo.explanation import explain
from zelo.facts import Facts
from zelo.places import config_folder
from zelo.tracking import sweep

if TYPE_CHECKING:
    from zelo.budget.plan import Plan
    from zelo.pipeline.run import Result, Step
    from zelo.protocols import Executor
    from zelo.store.store import Store
    from zelo.tracking.job import Job
    from zelo.tracking.run_folder import RunFolder
    from zelo.tracking.trial import Pruned, Watched

LAUNCHERS_HERE = ("basic", "joblib", "submitit_local")


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def app(config: DictConfig) -> float | None:
    """One job: runs the stages up to `until`; returns the dev figure of the system that `optimize` names, for a sweep."""
    try:
        return _of_command(config)
    except sweep.Interrupted:
        raise
    except Exception as error:
        if not sweep.elsewhere():
            raise
        if config.debug is True:
            traceback.print_exception(error)
        status, words = explain(error)
        raise JobFailed(words, status) from error


def _of_command(config: DictConfig) -> float | None:
    """A job of this command. Raises Interrupted where it was interrupted, and ZeloError where a library ended the process."""
    from zelo.tracking.run_folder import discard_if_empty

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return job(config, folder, sweep.CURRENT.command)
    except ModelNotFound as error:
        from zelo.pipeline.order import keys_of_model

        keys = keys_of_model(config, error.model) or ["model"]
        raise BadInput(f"{' and '.join(f'{key}={error.model}' for key in keys)}: {error.reason}") from error
    except KeyboardInterrupt as error:
        raise sweep.Interrupted from error
    except SystemExit as error:  # which Hydra would let pass, with status 0 where it says nothing
        code = "" if error.code is None else f" with {error.code}"
        raise ZeloError(
            f"A library ended the run{code} ({type(error).__name__}). Finished stages are kept: the same command goes on from"
            " there; debug=true shows where it was."
        ) from error
    finally:
        discard_if_empty(folder)  # Hydra makes it before anything is known to be right


def job(config: DictConfig, folder: Path, command: str) -> float | None:
    """Checks everything, then runs; from then on the run directory says how far it came, even where it fails.

    folder: the run directory; command: as it was typed.
    A run that is refused for its data, such as one of a corpus or of labels that cannot be read, leaves no folder.
    """
    from zelo.pipeline import process
    from zelo.protocols import ProcessesExecutor
    from zelo.store.store import Store
    from zelo.training import world

    _place_loggers(config, folder)
    steps, logger, hardware, executor = _checked(config)
    store = Store.default()
    hardware.apply()
    places = isinstance(executor, ProcessesExecutor)
    world.check(hardware, sweeps=HydraConfig.get().mode == RunMode.MULTIRUN, places=places)
    if config.plan:
        with contextlib.closing(executor):
            return None if world.rank() else _print_plan(config, steps, store, executor)
    refusals.refuse_run_of_launcher()
    if world.rank():
        return process.follow(hardware)
    with contextlib.closing(executor):
        figure = _run(config, folder, command, steps, store, logger, executor)
    world.announce(hardware, None)
    return figure


def check(config: DictConfig) -> None:
    """Raises, before the first job of a sweep starts, what would keep this one from running.

    config: composed, with hydra's; it is of no use afterwards.
    """
    from zelo.pipeline.run import check_stages
    from zelo.store.store import Store

    steps, _, _, executor = _of_sweep(config)
    here = HydraConfig.get().runtime.choices["hydra/launcher"] in LAUNCHERS_HERE  # else it runs on another machine
    if here and not config.plan:
        with contextlib.closing(executor):
            check_stages(steps, Store.default(), executor)


def stages(config: DictConfig) -> "list[Step]":
    """The stages of a job of a sweep. Raises BadInput for what can be known from its config alone. config: as of `check`."""
    return _of_sweep(config)[0]


def _of_sweep(config: DictConfig) -> "tuple[list[Step], Any, Any, Any]":
    """What `_checked` gives of a job of a sweep, whose config has hydra's in it."""
    HydraConfig.instance().set_config(config)
    sweep_folder = config.hydra.sweep.dir
    with read_write(config), open_dict(config):
        del config["hydra"]
    _place_loggers(config, Path(sweep_folder))
    return _checked(config)


def _place_loggers(config: DictConfig, folder: Path) -> None:
    """Tells the logger, or each of several, the run directory."""
    for logger in (config.logger, *(config.logger.get("loggers") or {}).values()):
        if OmegaConf.is_dict(logger) and "folder" in logger:
            logger.folder = str(folder)


def _checked(config: DictConfig) -> "tuple[list[Step], Any, Any, Any]":
    """Stages, logger, hardware and executor of a job. Raises BadInput for whatever can be known before anything runs."""
    from zelo.pipeline import baselines, continued, instantiate, parts
    from zelo.pipeline.run import assemble
    from zelo.stages.evaluate import Evaluate
    from zelo.stages.rate import Rate
    from zelo.stages.train import Train
    from zelo.tracking import redact, trial

    refusals.check_settings(config)
    baselines.mount(config)
    given = [str(override) for override in HydraConfig.get().overrides.task]
    parts.complete(config, given)
    continued.complete(config, given)
    refusals.refuse_merged(config)
    refusals.refuse_unread(config)
    steps = assemble(config, sweep.CURRENT.stages if HydraConfig.get().mode == RunMode.MULTIRUN else None)
    evaluations = [step.stage for step in steps if isinstance(step.stage, Evaluate)]
    systems = [name for stage in evaluations if stage.students for name in stage.systems]  # else nothing is trained
    refusals.check_optimize(config.optimize, systems)
    compares = any(isinstance(step.stage, (Rate, Train)) for step in steps)
    refusals.check_sweeper(config, bool(systems) and config.optimize is not None if evaluations else compares)
    if _pruner() is not None:
        trial.student_of(steps, config.optimize)
    logger = instantiate.build(redact.tree(OmegaConf.to_container(config.logger, resolve=True)), "logger")
    logger.check()
    dashboards: Any = OmegaConf.to_container(config.dashboards, resolve=True)
    for kind, node in dashboards.items():
        instantiate.build(node, f"dashboards.{kind}")
    hardware = instantiate.build(OmegaConf.to_container(config.hardware, resolve=True), "hardware")
    executor = instantiate.build(OmegaConf.to_container(config.executor, resolve=True), "executor")
    return steps, logger, hardware, executor


def _run(
    config: DictConfig,
    folder: Path,
    command: str,
    steps: "list[Step]",
    store: "Store",
    logger: Any,
    executor: "Executor",
) -> float | None:
    """Runs the stages one after the other, and writes into the run directory how far they came."""
    from zelo.pipeline import identity, instantiate
    from zelo.pipeline.run import run_stages
    from zelo.reporting import terminal
    from zelo.store.references import forget_run, register_run
    from zelo.tracking import curves, redact, run_folder, trial, workspace

    described = redact.tree(instantiate.described(config))
    text, sweeping = OmegaConf.to_yaml(described), HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeping and (earlier := run_folder.finished(folder, text, steps)) is not None:
        print("finished by an earlier sweep in this folder")
        return sweep.selecting(earlier)
    run = run_folder.RunFolder(folder, text, config.seed, command, HydraConfig.get().overrides.task)
    watch, result = _watch(config, steps, logger), None
    steps = trial.watched(steps, watch) if watch else steps
    try:
        register_run(store.root, folder, (step.identity for step in steps))
        logger.start(_job(described))
        for result, name in run_stages(steps, store, logger.log, executor):
            terminal.print_stage(result, name, sweep.CURRENT.said if sweeping else set())
            run.write_manifest(result, identity.versions())
            curves.replay(result, name, watch or logger)
        assert result is not None
        run.publish(result, config.optimize, report=not sweeping if config.report is None else config.report)
        logger.finish(result, run.manifest)
        if not sweeping:
            workspace.of_run(folder)
    except trial.Pruned as pruned:
        assert result is not None
        return _end_pruned(run, result, pruned, logger, store)
    except BaseException as error:
        finished = [step for step in result.steps if step.name in result.tables] if result else []
        only_read = not any(step.inputs for step in finished)  # stages without inputs read what the user named
        refused = isinstance(error, BadInput) and only_read and run.began_empty
        if not refused:
            run.fail(error)
        logger.fail()
        if refused:
            run.clear()
            forget_run(store.root, folder)
        raise
    return terminal.print_results(result, folder, config.optimize)


def _end_pruned(run: "RunFolder", result: "Result", pruned: "Pruned", logger: Any, store: "Store") -> None:
    """Ends a job whose training a pruner has ended; what the training has left goes."""
    from zelo.tracking import trial

    print(f"pruned: {pruned}")
    run.prune(str(pruned), pruned.facts)
    logger.finish(result, run.manifest)
    trial.discard(result, pruned.facts["student"], store)


def _pruner() -> "DictConfig | None":
    """What hydra.sweeper.pruner says, in a job of a search."""
    hydra = HydraConfig.get()
    return hydra.sweeper.get("pruner") if hydra.mode == RunMode.MULTIRUN else None


def _watch(config: DictConfig, steps: "list[Step]", logger: Any) -> "Watched | None":
    """What reports to the trial that this job is, where a pruner may end it."""
    from zelo.tracking import trial

    if (pruner := _pruner()) is None:
        return None
    hydra = HydraConfig.get()
    built = trial.pruner_of(pruner)
    journal = Path(hydra.sweep.dir).absolute() / trial.JOURNAL
    return trial.Watched(logger, trial.student_of(steps, config.optimize), built, journal, hydra.job.num)


def _job(described: Facts) -> "Job":
    """What a logger gets before the run. described: the config without secrets."""
    from zelo.tracking import redact
    from zelo.tracking.job import Job

    hydra = HydraConfig.get()
    sweep_name = sweep.group(Path(hydra.sweep.dir), hydra.sweeper) if hydra.mode == RunMode.MULTIRUN else None
    overrides = [redact.text(str(override)) for override in hydra.overrides.task]
    return Job.of(described, dict(hydra.runtime.choices), overrides, sweep_name)


def _print_plan(config: DictConfig, steps: "list[Step]", store: "Store", executor: "Executor") -> None:
    """What would run, what is cached, and what judges would cost. Runs only what the questions depend on and costs nothing.

    The jobs of a sweep are planned together, at its end.
    """
    from zelo.pipeline import plan
    from zelo.reporting import terminal
    from zelo.reporting.sweep_plan import Planned

    steps = plan.remaining(steps, store)
    if HydraConfig.get().mode == RunMode.MULTIRUN and not sweep.elsewhere():
        sweep.CURRENT.planned.append(Planned(steps, dict(plan.priced(steps, store)), plan.unpriced(steps, store)))
        return
    units = plan.units(steps, store)
    seconds = plan.seconds(steps, store, units, executor.workers)
    missing = terminal.print_plan(steps, store, executor, units, seconds)
    priced = dict(plan.priced(steps, store))
    for name, plans in priced.items():
        step = next(step for step in steps if step.name == name)
        terminal.print_prices(name, plans)
        terminal.print_cheaper(_cheaper(config, step, steps, store, plans))
    terminal.print_plan_end(steps, store, missing, list(priced.values()), plan.unpriced(steps, store))


def _cheaper(
    config: DictConfig, step: "Step", steps: "list[Step]", store: "Store", plans: "list[Plan]"
) -> list[tuple[str, str, float]]:
    """(override, what it changes, US dollars) of each simple change with which a stage's judges would cost less."""
    from zelo.pipeline import instantiate
    from zelo.protocols import PredictsCost

    costs = [plan.usd for plan in plans if plan.usd is not None and plan.calls]
    if not costs or not isinstance(step.stage, PredictsCost):
        return []
    known = {one.name: store.find(one.kind, one.identity) for one in steps}
    tables = {role: table for role, source in step.inputs.items() if (table := known[source]) is not None}
    given, found = [str(one) for one in HydraConfig.get().overrides.task], []
    for key, value, words in (
        ("top_k", config.top_k // 2, "fewer candidates"),
        ("judge.mode", "verdict", "one token an answer; the endpoint must give log-probabilities"),
        ("graph", "staged", "an adaptive graph: most pairs among the leaders"),
    ):
        if key == "judge.mode" and OmegaConf.select(config, key) in (None, value):
            continue
        kept = [one for one in given if not re.match(rf"\+*{re.escape(key)}[=.]", one)]
        with contextlib.suppress(ZeloError, HydraException, OmegaConfBaseException):
            other = hydra.compose("config", [*kept, f"{key}={value}"])
            nodes: Any = OmegaConf.to_container(other.stages, resolve=True)
            usd = instantiate.rebuild(nodes[step.name], f"stages.{step.name}").expected_usd(tables)
            if usd is not None and usd < sum(costs):
                found.append((f"{key}={value}", words, usd))
    return found


def main() -> int:
    """Runs Hydra and turns every error into one clear line and an exit status; an interruption is for `__main__`."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        from zelo.reporting.terminal import help_text

        # Without composing anything, as Hydra would: it must be quick.
        print(help_text(OmegaConf.load(config_folder() / "config.yaml").hydra.help.template, config_folder()), end="")
        return 0
    if sys.argv[1:] == ["--version"]:
        print(f"zelo {version('zelo')}")  # Hydra would say its own
        return 0
    from zelo.budget import budget as budget

    sys.argv[1:] = arguments.prepared(sys.argv[1:])
    budget.command()  # named here, so that every process of this command knows it
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    sweep.prepare()
    sweep.CURRENT.failures.clear()  # of a command before it in this process; without a job, nothing else does
    try:
        try:
            refusals.refuse_lists(sys.argv[1:])
            app()
        except OSError as error:  # of Hydra, before a job; what a job raises comes by way of the sweep callback
            if isinstance(error, HydraException):  # an option that is not there
                raise
            raise BadInput(
                f"{error.filename} cannot be made or written ({error.strerror}). Choose another place for the run directory with"
                " hydra.run.dir=FOLDER (for a sweep: hydra.sweep.dir=FOLDER)."
            ) from error
        finally:
            sweep.discard_unused()
        if sweep.CURRENT.failures:
            raise sweep.CURRENT.failures[0]
    except Exception as error:
        status, words = explain(error)
        if any(re.fullmatch(r"\+*debug=(true|yes|on|1)", part, re.IGNORECASE) for part in sys.argv[1:]):
            traceback.print_exception(error)
        print(f"zelo: {words}", file=sys.stderr)
        return status
    return 0
