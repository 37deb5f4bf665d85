"""The command `zelo`: composes a config, runs its stages, and says what came out.

Exit status: 0 done, 1 a bug, 2 bad input, 3 a limit was reached and everything is kept, 130 interrupted.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from zelo import annotations
from zelo.errors import BadInput, ZeloError
from zelo.places import config_folder
from zelo.tracking import sweep

SETTINGS = {  # read without a stage's help
    "name": Any,
    "seed": int,
    "until": str | None,
    "plan": bool,
    "optimize": str | None,
    "debug": Any,
    "stages": Any,
    "logger": Any,
    "hardware": Any,
}
BUDGET = ("usd", "tokens", "calls", "lifetime_usd")
SURROUNDINGS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENAMETOOLONG)


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def app(config: DictConfig) -> float | None:
    """One job: runs the stages up to `until`; returns nDCG@10 of the system that `optimize` names, for a sweep."""
    from zelo.tracking.run_folder import discard_if_empty

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return job(config, folder)
    except KeyboardInterrupt as error:
        raise sweep.Interrupted from error
    finally:
        discard_if_empty(folder)  # Hydra makes it before anything is known to be right


def job(config: DictConfig, folder: Path) -> float | None:
    """Checks everything, then runs; from then on the run folder says how far it came, even where it fails.

    A run that is refused for its data, such as one of a corpus or of labels that cannot be read, leaves no folder.
    """
    from zelo import pipeline
    from zelo.store import Store
    from zelo.tracking import redact, run_folder, terminal
    from zelo.tracking.figures import Figures

    if "folder" in config.logger:
        config.logger.folder = str(folder)
    _check_settings(config)
    _refuse_unread(config)
    steps = pipeline.assemble(config)
    terminal.check_optimize(steps, config.optimize)
    logger = pipeline.build(redact.tree(OmegaConf.to_container(config.logger, resolve=True)), "logger")
    store = Store.default()
    hardware = pipeline.build(OmegaConf.to_container(config.hardware, resolve=True), "hardware")
    hardware.apply()
    if config.plan:
        missing = terminal.print_plan(steps, store)
        priced = dict(pipeline.priced(steps, store))
        for name, plans in priced.items():
            terminal.print_prices(name, plans)
        later = [
            step.name for step in steps if step.name in missing - priced.keys() and getattr(step.stage, "paid", None)
        ]
        terminal.print_plan_end(steps, store, missing, list(priced.values()), later)
        return None
    _refuse_run_of_launcher()
    if hardware.here:
        return pipeline.follow(steps, store)
    described = redact.tree(pipeline.described(config))
    run = run_folder.RunFolder(folder, OmegaConf.to_yaml(described), config.seed)
    result = None
    try:
        store.register_run(folder, (step.identity for step in steps))
        logger.start(described)
        for result, name in pipeline.run(steps, store):
            terminal.print_stage(result, name)
            run.write_manifest(result, pipeline.versions())
        assert result is not None
        run.publish(result, config.optimize)
        logger.finish(Figures.of(result))
    except BaseException as error:
        finished = {step.kind for step in result.steps if step.name in result.tables} if result else set()
        refused = isinstance(error, BadInput) and finished <= {"load"} and run.began_empty
        if not refused:
            run.fail(error)
        logger.fail()
        if refused:
            run.clear()
            store.forget_run(folder)
        raise
    return terminal.print_results(result, folder, config.optimize)


def _check_settings(config: DictConfig) -> None:
    """Raises BadInput for a scalar of the top that is of another type, or a seed that no generator takes."""
    for setting, hint in SETTINGS.items():
        for where, fault in annotations.faults(config[setting], hint, setting):
            raise BadInput(f"{where}{fault}")
    caps = config.budget if isinstance(config.budget, DictConfig) else {str(config.budget): None}
    for key in caps:
        if key not in BUDGET:
            raise BadInput(f"budget.{key}: there is no such cap; write budget.{' or budget.'.join(BUDGET)}.")
    if not 0 <= config.seed < 2**32:
        raise BadInput(f"seed={config.seed}: a whole number from 0 to {2**32 - 1}.")


def _refuse_run_of_launcher() -> None:
    """Raises BadInput for a single run of what is for sweeps: Hydra would run it here, in silence."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.RUN and hydra.runtime.choices.get("hydra/launcher") == "slurm":
        raise BadInput("hardware=slurm sends the jobs of a sweep to SLURM, and this is a single run: write zelo -m ...")


def _refuse_unread(config: DictConfig) -> None:
    """Raises BadInput for an override of a value that no stage of the pipeline reads: it would change nothing, in silence."""
    used = set(re.findall(r"\$\{(\w+)", str(OmegaConf.to_container(config.stages))))
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
        from zelo.tracking.terminal import help_text

        # Without composing anything, as Hydra would: it must be quick.
        print(help_text(OmegaConf.load(config_folder() / "config.yaml").hydra.help.template, config_folder()), end="")
        return 0
    from zelo.calls import till

    # Hydra wants -m before any override.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda part: part not in ("-m", "--multirun"))
    till.command()  # named here, so that every process of this command knows it
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    sweep.register_resolver()
    try:
        try:
            app()
        except OSError as error:  # of Hydra, before a job; what a job raises comes by way of the sweep callback
            if isinstance(error, HydraException):  # an option that is not there
                raise
            raise BadInput(
                f"{error.filename} cannot be made or written ({error.strerror}). Choose another place for the run folder with"
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
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        near, known = _near(option, error.options)
        return 2, f"{group}={option}: no such option. Did you mean {group}={near}? There are: {known}."
    cause = error.__cause__
    if (
        isinstance(error, HydraException)
        and isinstance(cause, OmegaConfBaseException)
        and cause.parent_node is not None
    ):
        place, key = str(cause.full_key).rpartition(".")[0], str(cause.key)
        keys = [str(name) for name in cause.parent_node if not str(name).startswith("_")]
        inside = f"{place}." * bool(place)
        if not keys:
            return 2, f"{cause.full_key}: no such key; {place} has none that can be set."
        near, known = _near(key, keys)
        return 2, f"{cause.full_key}: no such key. Did you mean {inside}{near}? There are: {known}."
    if isinstance(error, MissingMandatoryValue):
        return 2, f"{error.full_key} has no value yet; write {error.full_key}=..."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        words = str(error).partition("\n    full_key")[0].partition("\nSee https")[0]
        words = re.sub(r"\n(To append|Either|Or add|Config search path).*", "", words, flags=re.DOTALL)
        advice = " Overrides are written key=value or group=option." * (
            "override '" in words and "rror parsing" in words
        )
        return 2, re.sub(r"\s*\n\s*", " ", words) + advice
    if isinstance(error, RuntimeError) and "hydra_submitit_launcher" in str(error):
        return 2, "hardware=slurm needs submitit, which is not installed: pip install 'zelo[slurm]'."
    if isinstance(error, RuntimeError) and "slurm cluster" in str(error):  # of submitit
        return 2, "hardware=slurm: there is no srun here. Run the command on a login node of a SLURM cluster."
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return 2, "a group is given one of its options by name, as in solver=thurstone; zelo --help lists them."
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        return 2, f"{error.strerror}: {error.filename or 'while writing'}."
    return 1, f"a bug, {type(error).__name__}: {error}\nRun again with debug=true for the traceback."


def _near(word: str, options: Sequence[str]) -> tuple[str, str]:
    near = get_close_matches(word, options, 1, 0.0)
    return near[0] if near else options[0], ", ".join(sorted(options))
