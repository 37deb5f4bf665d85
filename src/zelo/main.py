"""The command `zelo`: composes a config, runs its stages, and says what came out.

Exit status: 0 done, 1 a bug, 2 bad input, 3 a limit was reached and everything is kept, 130 interrupted, 143
terminated.
"""

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from zelo import annotations, arguments, suggestions
from zelo.errors import BadInput, JobFailed, ModelNotFound, ZeloError
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

SETTINGS = {  # read without a stage's help
    "name": object,
    "seed": int,
    "until": str | None,
    "plan": bool,
    "optimize": str | None,
    "report": bool | None,
    "debug": object,
    "stages": object,
    "logger": object,
    "dashboards": object,
    "hardware": object,
    "executor": object,
    "sweep": object,
}
TOGETHER = {  # group -> how several of its options are used at once
    "judge": "Judges that are asked together are an ensemble: judge=embedded is one, and conf/judge/embedded.yaml shows how"
    " another is written.",
    "retriever": "First stages that are put together are a fusion: retriever=fusion is one, and conf/retriever/fusion.yaml"
    " shows how another is written.",
    "metric": "+metric@metrics.NAME=OPTION adds one.",
    "scorer": "+scorer@baselines.NAME=OPTION adds a baseline.",
}
LAUNCHERS_HERE = ("basic", "joblib", "submitit_local")
BUDGET = ("usd", "tokens", "calls", "lifetime_usd")
SURROUNDINGS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENAMETOOLONG)


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
    _refuse_run_of_launcher()
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

    _check_settings(config)
    baselines.mount(config)
    given = [str(override) for override in HydraConfig.get().overrides.task]
    parts.complete(config, given)
    continued.complete(config, given)
    _refuse_merged(config)
    _refuse_unread(config)
    steps = assemble(config, sweep.CURRENT.stages if HydraConfig.get().mode == RunMode.MULTIRUN else None)
    evaluations = [step.stage for step in steps if isinstance(step.stage, Evaluate)]
    systems = [name for stage in evaluations if stage.students for name in stage.systems]  # else nothing is trained
    _check_optimize(config.optimize, systems)
    compares = any(isinstance(step.stage, (Rate, Train)) for step in steps)
    _check_sweeper(config, bool(systems) and config.optimize is not None if evaluations else compares)
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


def _check_settings(config: DictConfig) -> None:
    """Raises BadInput for a scalar of the top that is of another type, a seed that no generator takes, nan and infinity."""
    for where, fault in annotations.not_finite(OmegaConf.to_container(config), ""):
        raise BadInput(f"{where}{fault}")
    for setting, hint in SETTINGS.items():
        for where, fault in annotations.faults(config[setting], hint, setting):
            raise BadInput(f"{where}{fault}")
    if not isinstance(config.budget, DictConfig):
        raise BadInput(
            f"budget={config.budget}: name the unit: budget.usd={config.budget} (dollars), budget.calls=... or budget.tokens=...."
        )
    for key in config.budget:
        if key not in BUDGET:
            raise BadInput(f"budget.{key}: there is no such cap; write budget.{' or budget.'.join(BUDGET)}.")
    if not 0 <= config.seed < 2**32:
        raise BadInput(f"seed={config.seed}: a whole number from 0 to {2**32 - 1}.")


def _refuse_lists(arguments: list[str]) -> None:
    """Raises BadInput for a group that is given a list: Hydra would merge its options, and the last one's class would win."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if "[" in value and group and not group.startswith("hydra") and (config_folder() / group).is_dir():
            raise BadInput(_one_option(argument, group))


def _refuse_merged(config: DictConfig) -> None:
    """Raises BadInput where a config file of the user's gives a group a list: Hydra names no choice then."""
    choices = HydraConfig.get().runtime.choices
    for group in (str(key) for key in config if (config_folder() / str(key)).is_dir()):
        if group not in choices:
            raise BadInput(_one_option(f"{group} has several options in a config file", group))


def _one_option(found: str, group: str) -> str:
    advice = f"{TOGETHER[group]} " if group in TOGETHER else ""
    return (
        f"{found}: a group takes one option; several would be merged into the class of the last one. {advice}To compare"
        f" options, -m {group}=ONE,OTHER runs one after the other."
    )


def _refuse_run_of_launcher() -> None:
    """Raises BadInput for a single run of what is for sweeps: Hydra would run it here, in silence."""
    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices.get("hydra/launcher", "basic")
    if hydra.mode == RunMode.RUN and launcher == "slurm":
        raise BadInput("hardware=slurm sends the jobs of a sweep to SLURM, and this is a single run: write zelo -m ...")
    if hydra.mode == RunMode.RUN and launcher != "basic":
        raise BadInput(
            f"hydra/launcher={launcher} runs the jobs of a sweep, and this is a single run: write zelo -m ..."
        )


def _check_optimize(optimize: str | None, systems: Sequence[str]) -> None:
    """Raises BadInput, before anything runs, where `optimize` is none of the systems that are measured, if any are."""
    if optimize is not None and systems and optimize not in systems:
        near = get_close_matches(optimize, systems, 1, 0.0)[0]
        raise BadInput(
            f"optimize={optimize}: no system has that name. Did you mean {near!r}? There are: {', '.join(systems)}."
        )


def _check_sweeper(config: DictConfig, measures: bool) -> None:
    """Raises BadInput where a sweeper that optimizes would get no figure of dev, before it runs a trial.

    measures: whether a stage of the run leaves one.
    """
    hydra = HydraConfig.get()
    name = hydra.runtime.choices.get("hydra/sweeper", "grid")
    if hydra.mode != RunMode.MULTIRUN or name in ("grid", "basic") or measures:
        return
    if hydra.sweeper.get("objectives") is not None and "dev" not in hydra.sweeper.objectives:
        return
    cause = f"optimize={config.optimize}" if config.optimize is None else f"until={config.until}"
    raise BadInput(
        f"{cause}: hydra/sweeper={name} optimizes a figure of dev, and these jobs have none. Stop no earlier than until=rate,"
        " name a system with optimize=zelo, or sweep without an optimizer (hydra/sweeper=grid)."
    )


def _refuse_unread(config: DictConfig) -> None:
    """Raises BadInput for an override of a value that no stage of the pipeline reads: it would change nothing, in silence."""
    used = set(re.findall(r"\$\{(\w+)", str(OmegaConf.to_container(config.stages))))
    used |= {"baseline"} if "baselines" in used else set()  # which says what becomes of them
    nodes = sorted(node for node in used if OmegaConf.is_dict(config.get(node)))
    hydra = HydraConfig.get()
    for override in hydra.overrides.task:
        key = str(override).partition("=")[0].lstrip("+~")
        root, _, rest = key.partition(".")
        if "@" in key or key in hydra.runtime.choices or root in used | SETTINGS.keys():
            continue
        places = [f"{node}.{key}" for node in nodes if rest and OmegaConf.select(config, f"{node}.{root}")]
        advice = f" Set {' and '.join(places)}." if places else " Leave it out, or name the value that you mean."
        raise BadInput(f"{override}: no stage of this pipeline reads {key}, so it would change nothing.{advice}")


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
            _refuse_lists(sys.argv[1:])
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


def explain(error: Exception) -> tuple[int, str]:
    """Exit status and what went wrong in one line, with the nearest known name where one was misspelt."""
    if isinstance(error, ZeloError):
        return error.exit_status, str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        missing = str(error.missing_cfg_file)  # an option that is a path has slashes of its own
        group, _, option = missing.rpartition("/") if missing.startswith("hydra/") else missing.partition("/")
        return 2, suggestions.unknown_option(group, option, error.options)
    cause = error.__cause__
    if (
        isinstance(error, HydraException)
        and isinstance(cause, OmegaConfBaseException)
        and cause.parent_node is not None
    ):
        written = re.match(r"Could not (?:override|delete|append)\D* '([^']+)'", str(error))
        root: Any = cause.parent_node._get_root()
        return 2, suggestions.unknown_key(written[1] if written else str(cause.full_key), root)
    if isinstance(error, OverrideParseException):
        return 2, arguments.explain(error) if "=" in error.override else suggestions.bare_word(error.override)
    if comma := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
        return 2, arguments.explain_comma(comma[1])
    if isinstance(error, MissingMandatoryValue):
        return 2, f"{error.full_key} has no value yet; write {error.full_key}=..."
    if isinstance(error, HydraException) and "'hydra/sweeper/pruner'" in str(error):  # no other sweeper has the group
        return 2, "hydra/sweeper/pruner ends trials of a search: write hydra/sweeper=optuna, too."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        words = str(error).partition("\n    full_key")[0].partition("\nSee https")[0]
        words = re.sub(r"\n(To append|Either|Or add|Config search path).*", "", words, flags=re.DOTALL)
        return 2, re.sub(r"\s*\n\s*", " ", words)
    if isinstance(error, RuntimeError) and "hydra_joblib_launcher" in str(error):
        return (
            2,
            "hydra/launcher=joblib needs hydra-joblib-launcher, which is not installed: pip install 'zelo[sweeps]'.",
        )
    if isinstance(error, RuntimeError) and "hydra_submitit_launcher" in str(error):
        return 2, "hardware=slurm needs submitit, which is not installed: pip install 'zelo[slurm]'."
    if isinstance(error, RuntimeError) and "slurm cluster" in str(error):  # of submitit
        return 2, "hardware=slurm: there is no srun here. Run the command on a login node of a SLURM cluster."
    if type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):  # of joblib
        return 1, (
            "a process that ran jobs was ended from outside, often for want of memory. Finished stages are kept: the same command"
            " goes on from there; hydra.launcher.n_jobs=1 needs least memory."
        )
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return 2, "a group is given one of its options by name, as in solver=thurstone; zelo --help lists them."
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        return 2, f"{error.strerror}: {error.filename or 'while writing'}."
    return 1, f"a bug, {type(error).__name__}: {error}\nRun again with debug=true for the traceback."
