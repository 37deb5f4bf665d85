"""What of a command and its config is refused before anything runs."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from zelo import annotations
from zelo.errors import BadInput
from zelo.places import config_folder

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
BUDGET = ("usd", "tokens", "calls", "lifetime_usd")


def check_settings(config: DictConfig) -> None:
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


def refuse_lists(arguments: list[str]) -> None:
    """Raises BadInput for a group that is given a list: Hydra would merge its options, and the last one's class would win."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if "[" in value and group and not group.startswith("hydra") and (config_folder() / group).is_dir():
            raise BadInput(_one_option(argument, group))


def refuse_merged(config: DictConfig) -> None:
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


def refuse_run_of_launcher() -> None:
    """Raises BadInput for a single run of what is for sweeps: Hydra would run it here, in silence."""
    hydra = HydraConfig.get()
    launcher = hydra.runtime.choices.get("hydra/launcher", "basic")
    if hydra.mode == RunMode.RUN and launcher == "slurm":
        raise BadInput("hardware=slurm sends the jobs of a sweep to SLURM, and this is a single run: write zelo -m ...")
    if hydra.mode == RunMode.RUN and launcher != "basic":
        raise BadInput(
            f"hydra/launcher={launcher} runs the jobs of a sweep, and this is a single run: write zelo -m ..."
        )


def check_optimize(optimize: str | None, systems: Sequence[str]) -> None:
    """Raises BadInput, before anything runs, where `optimize` is none of the systems that are measured, if any are."""
    if optimize is not None and systems and optimize not in systems:
        near = get_close_matches(optimize, systems, 1, 0.0)[0]
        raise BadInput(
            f"optimize={optimize}: no system has that name. Did you mean {near!r}? There are: {', '.join(systems)}."
        )


def check_sweeper(config: DictConfig, measures: bool) -> None:
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


def refuse_unread(config: DictConfig) -> None:
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
