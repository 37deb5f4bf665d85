"""Runs the stages of a composed config: one after the other, each computed or cached."""

import contextlib
import copy
import functools
import gc
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from zelo import annotations, units
from zelo.errors import PriceUnknown
from zelo.facts import Facts
from zelo.pipeline.identity import identity, stage_recipe
from zelo.pipeline.instantiate import build, described, refuse
from zelo.pipeline.order import key_of, needed, ordered, with_inputs
from zelo.pipeline.plain import plain
from zelo.progress import watched_by
from zelo.protocols import (
    NOTHING_TO_DO,
    Executor,
    PassingStage,
    ProcessesExecutor,
    ProcessesStage,
    SpreadStage,
    StageWithCheck,
    StageWithInputCheck,
    StageWithOptionalInputs,
    StageWithUnread,
)
from zelo.store.hashing import hash_json
from zelo.store.shards import keep_made_of
from zelo.store.store import Store
from zelo.store.table import MADE_OF, Table, contents, made_of
from zelo.training import launch
from zelo.units import HERE

RECIPE, UNITS = "recipe", "units"  # of a manifest
LONG = 1.0  # seconds; what has taken less has loaded little, and a collection takes a third of a second

Watch = Callable[[str, int, Mapping[str, float]], None]


def unwatched(name: str, done: int, figures: Mapping[str, float]) -> None:
    """A Watch that does nothing."""


@dataclass(frozen=True)
class Step:
    """A stage that is ready to run: its object and the name of its table."""

    name: str
    stage: Any
    identity: str
    inputs: dict[str, str]
    node: Facts = field(default_factory=dict)  # its config, references to the environment kept
    key_of: Callable[[str], str] = field(
        default=str, compare=False, repr=False
    )  # from a place in the stage to the key that a user sets
    recipe: str = ""  # hash of what could change its table beside what it reads

    @property
    def kind(self) -> str:
        """The folder of the store that its tables live in."""
        return type(self.stage).__name__.removesuffix("Stage").lower()


@dataclass
class Result:
    """What a run computed or found cached, in order."""

    steps: list[Step] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)  # per stage: status, seconds, peak_memory_mb

    def upstream(self, name: str, *roles: str) -> str | None:
        """The stage that this one leads to along its inputs of these roles; None where one has no such input."""
        inputs = {step.name: step.inputs for step in self.steps}
        at: str | None = name
        for role in roles:
            at = inputs[at].get(role) if at in inputs else None
        return at

    def downstream(self, name: str, role: str) -> str | None:
        """The first finished stage that reads this one in that role; None where there is none."""
        return next(
            (step.name for step in self.steps if step.inputs.get(role) == name and step.name in self.tables), None
        )


def assemble(config: DictConfig, built: dict[str, tuple[Facts, Any]] | None = None) -> list[Step]:
    """The stages up to `until` in an order that has inputs first. Raises BadInput before anything runs.

    built: stage -> config and object, of an earlier call by the same command; one of the same config is used again.
    """
    built = {} if built is None else built
    stages = plain(config.stages, resolve=True)
    for name, node in stages.items():
        refuse(annotations.faults(node and node.get("inputs"), Facts | None, f"stages.{name}.inputs"))
    stages = {name: with_inputs(node) for name, node in stages.items() if node is not None}
    steps: dict[str, Step] = {}
    stand_in: dict[str, str] = {}  # a stage that has nothing to do -> the one whose table its readers get
    alongside = [name for name in config.get("alongside", []) if name in stages]
    for name in ordered(stages, config.until, alongside):
        keys = functools.partial(_key_below, config, name)
        if name not in built or built[name][0] != stages[name]:
            built[name] = (stages[name], build(stages[name], f"stages.{name}", lambda place: key_of(config, place)))
        stage = built[name][1]
        unread = stage.unread if isinstance(stage, StageWithUnread) else frozenset()
        sources: dict[str, str] = {
            role: source for role, source in stages[name]["inputs"].items() if role not in unread
        }
        inputs = {role: stand_in.get(source, source) for role, source in sources.items()}
        if isinstance(stage, PassingStage) and (passed := stage.passes):
            stand_in[name] = inputs[passed]
            continue
        if isinstance(stage, StageWithInputCheck):
            stage.check_inputs({role: steps[source].stage for role, source in inputs.items()})
        recipe = stage_recipe(stages[name], stage)
        named = identity(recipe, {role: steps[source].identity for role, source in inputs.items()})
        several = isinstance(stage, ProcessesStage) and stage.processes > 1  # what each of them is to be made from
        described_node = described(config)["stages"][name] if several else {}
        steps[name] = Step(name, stage, named, inputs, described_node, keys, hash_json(recipe))
    if config.until is None:
        return list(steps.values())
    graph = {name: set(step.inputs.values()) for name, step in steps.items()}
    until: str = config.until
    wanted = needed(graph, stand_in.get(until, until), [name for name in alongside if name in steps])
    return [step for step in steps.values() if step.name in wanted]


def _key_below(config: DictConfig, name: str, place: str) -> str:
    return key_of(config, f"stages.{name}.{place}")


def check_stages(steps: list[Step], store: Store, executor: Executor = HERE) -> None:
    """Raises BadInput for what the stages that are to run, or who runs their units, are missing, before any time is spent."""
    todo = [step.stage for step in steps if not store.find(step.kind, step.identity)]
    with store.active():
        for stage in todo:
            if isinstance(stage, StageWithCheck):
                stage.check()
        if any(_elsewhere(stage, executor) for stage in todo):
            executor.check()
        for stage in todo:
            if isinstance(stage, ProcessesStage):
                stage.check_room(executor)


def _elsewhere(stage: object, executor: Executor) -> bool:
    """Whether the executor runs units of a stage, or starts its processes."""
    if isinstance(stage, ProcessesStage):
        return stage.processes > 1 and isinstance(executor, ProcessesExecutor)
    return isinstance(stage, SpreadStage) and stage.spreads


def run_stages(
    steps: list[Step], store: Store, watch: Watch = unwatched, executor: Executor = HERE
) -> Iterator[tuple[Result, str]]:
    """Runs or reuses one stage after another; yields the result so far and the stage's name after each.

    executor: runs the units of the stages that have such; watch: gets the name of a stage, and what is done and figures of
    its progress, where the stage has figures to show.

    Where the table of a stage says that what follows is left out, the stages that read it do not run, nor those that read these;
    one with optional inputs runs with the others.
    """
    result, left_out = Result(steps), set[str]()
    check_stages(steps, store, executor)
    for step in steps:
        start = time.monotonic()
        if falls_away(step, left_out):
            left_out.add(step.name)
            continue
        inputs = {role: result.tables[source] for role, source in step.inputs.items() if source not in left_out}
        make = functools.partial(_make, step, inputs, watch, executor)
        unchanged = store.unchanged(step.kind, step.identity, inputs)
        table, cached = (unchanged, True) if unchanged else store.obtain(step.kind, step.identity, make)
        result.tables[step.name] = table
        left_out |= {step.name} if table.manifest.get(NOTHING_TO_DO) else set()
        result.facts[step.name] = {
            "status": "cached" if cached else "partial" if table.partial else "computed",
            "seconds": time.monotonic() - start,
            "peak_memory_mb": table.manifest.get("peak_memory_mb"),
        }
        yield result, step.name


def falls_away(step: Step, left_out: set[str]) -> bool:
    """Whether a stage does not run since stages that it reads are left out."""
    return bool(left_out & set(step.inputs.values())) and not isinstance(step.stage, StageWithOptionalInputs)


def _make(
    step: Step, inputs: dict[str, Table], watch: Watch, executor: Executor, out: Path, partial: Table | None
) -> Facts:
    _forget_peak_memory()
    keep_made_of(out, made_of(inputs))
    if step.node:
        launch.write(out / launch.FOLDER, step.name, step.node, inputs)
    start, anew = time.monotonic(), not any(out.rglob("*.parquet"))
    stage = copy.deepcopy(step.stage)  # what it loads, models above all, goes when it ends
    try:
        with watched_by(functools.partial(watch, step.name)), units.active(executor):
            tables = inputs | ({"partial": partial} if partial else {})
            spread = isinstance(stage, SpreadStage | ProcessesStage)
            figures = stage.run(tables, out, executor) if spread else stage.run(tables, out)
    except PriceUnknown as error:
        raise PriceUnknown(step.key_of(error.place), error.reason, error.plan, error.prices) from error
    timed = _timed(stage, inputs, executor) if anew else {}
    del stage
    if time.monotonic() - start > LONG:
        gc.collect()  # Lightning's objects name each other in circles
    if any(table.partial for table in inputs.values()):  # what is made of a part is not what the whole would make
        figures = ({} if figures.get("partial") else {MADE_OF: contents(inputs)}) | figures | {"partial": True}
    reads = {role: table.identity for role, table in inputs.items()}
    return {
        "stage": step.name,
        "inputs": reads,
        "peak_memory_mb": _peak_memory_mb(),
        RECIPE: step.recipe,
        **timed,
        **figures,
    }


def _timed(stage: object, inputs: dict[str, Table], executor: Executor) -> Facts:
    """How many units a table took that was made in one go: a plan expects the time of others by them."""
    count = stage.units(inputs, {}) if isinstance(stage, SpreadStage) and stage.spreads else None
    return {UNITS: {"count": count, "workers": executor.workers}} if count and executor.workers else {}


def _forget_peak_memory() -> None:
    """On Linux, takes the high-water mark of the stages before away (man 5 proc, clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _peak_memory_mb() -> int:
    """Most memory that the process held, in MB: since the stage began on Linux, since the process began elsewhere."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        if found:
            return int(found[1]) // 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1_000_000 if sys.platform == "darwin" else 1000)
