"""Runs the stages of a composed config: order, check, fingerprint, then take each from the store or run it.

A stage's table is named by its resolved recipe, the tables that it reads, the content (never the path) of whatever its components
name, and the code of the components. This is the only place where a config becomes objects, and only zelo's own components
and a short list of foreign classes may be made: a config travels with models, and `_target_` is arbitrary code.
"""

import contextlib
import copy
import functools
import gc
import graphlib
import importlib
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import hydra
import pyarrow as pa
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from zelo import annotations
from zelo.code_hash import ALLOW_VARIABLE, allowed_packages, code_hash, module_of
from zelo.errors import BadInput, ZeloError
from zelo.store import MADE_OF, Store, Table, contents, hash_json
from zelo.training import heartbeat, ranks

# A component of zelo is a class that its own module defines, in one of these packages.
OWN = re.compile(
    r"zelo\.(datasets|retrievers|backbones|graphs|judges|solvers|calibrators|targets|models|losses|metrics|acquisitions|training|stages|tracking|calls)"
    r"\.(\w+)\.([A-Z]\w*)"
)
FOREIGN = frozenset({"torch.optim.AdamW"})


@dataclass(frozen=True)
class Step:
    """A stage that is ready to run: its object and the name of its table."""

    name: str
    stage: Any
    identity: str
    inputs: dict[str, str]
    node: dict[str, Any] = field(default_factory=dict)  # its config, references to the environment kept

    @property
    def kind(self) -> str:
        """The folder of the store that its tables live in."""
        return type(self.stage).__name__.lower()


@dataclass
class Result:
    """What a run computed or found in the store, in order."""

    steps: list[Step] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # per stage: status, seconds, peak_memory_mb

    def of_kind(self, kind: str) -> list[str]:
        """Names of the stages of this class, in order."""
        return [step.name for step in self.steps if step.kind == kind]

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


def assemble(config: DictConfig) -> list[Step]:
    """The stages up to `until` in an order that has inputs first. Raises BadInput before anything runs."""
    stages = cast(dict[str, Any], OmegaConf.to_container(config.stages, resolve=True))
    for name, node in stages.items():
        _refuse(annotations.faults(node and node.get("inputs"), dict[str, Any] | None, f"stages.{name}.inputs"))
    stages = {name: _without_nulls(node) for name, node in stages.items() if node is not None}
    steps: dict[str, Step] = {}
    for name in _order(stages, config.until):
        stage = build(stages[name], f"stages.{name}", lambda place: _written(config, place))
        inputs = dict(stages[name]["inputs"])
        if hasattr(stage, "check_inputs"):
            stage.check_inputs({role: steps[source].stage for role, source in inputs.items()})
        recipe = _recipe({key: value for key, value in stages[name].items() if key != "inputs"}, stage)
        identity = hash_json(
            {"recipe": recipe, "inputs": {role: steps[source].identity for role, source in inputs.items()}}
        )
        several = getattr(stage, "processes", 1) > 1  # what each of them is to be made from
        steps[name] = Step(name, stage, identity, inputs, described(config)["stages"][name] if several else {})
    return list(steps.values())


def _without_nulls(node: dict[str, Any]) -> dict[str, Any]:
    """A stage without the inputs that an override has set to null."""
    return node | {
        "inputs": {role: source for role, source in (node.get("inputs") or {}).items() if source is not None}
    }


def described(config: DictConfig) -> Any:
    """The config as plain values, every reference resolved but those to the environment."""

    def keep(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: keep(item) for key, item in node.items()}
        if isinstance(node, list):
            return [keep(item) for item in node]
        # An escaped reference resolves to its own text, wherever it is copied to.
        return node.replace("${", r"\${") if isinstance(node, str) and "${oc.env:" in node else node

    plain: Any = OmegaConf.to_container(config)
    plain.pop("hydra", None)  # not ours
    return OmegaConf.to_container(OmegaConf.create(keep(plain)), resolve=True)


def run(steps: list[Step], store: Store) -> Iterator[tuple[Result, str]]:
    """Runs or reuses one stage after another; yields the result so far and the stage's name after each."""
    result = Result(steps)
    several = any(step.node and step.stage.hardware.nodes > 1 for step in steps)
    with heartbeat.beating(_pulse(steps, store)) if several else contextlib.nullcontext():
        for step in steps:
            if hasattr(step.stage, "check") and not store.find(step.kind, step.identity):
                step.stage.check()  # what is missing is said before the stages above it spend any time
        for step in steps:
            start = time.monotonic()
            inputs = {role: result.tables[source] for role, source in step.inputs.items()}
            make = functools.partial(_make, step, inputs)
            unchanged = (
                None if step.node else store.unchanged(step.kind, step.identity, inputs)
            )  # other nodes wait for it
            table, cached = (unchanged, True) if unchanged else store.obtain(step.kind, step.identity, make)
            result.tables[step.name] = table
            result.facts[step.name] = {
                "status": "cached" if cached else "partial" if table.partial else "computed",
                "seconds": time.monotonic() - start,
                "peak_memory_mb": table.manifest.get("peak_memory_mb"),
            }
            yield result, step.name


def follow(steps: list[Step], store: Store) -> None:
    """What a node does that is not the first: takes its part in each training, as the first node comes to it.

    Both share the store. Raises ZeloError when the first node ends without having made a training, or gives no sign of life.
    """
    watch = heartbeat.Watch(_pulse(steps, store))
    trainings = [step for step in steps if step.node and not store.find(step.kind, step.identity)]
    for step in trainings:
        step.stage.check()
    done: dict[str, str] = {}
    while left := [step for step in trainings if not store.find(step.kind, step.identity)]:
        for step in left:
            folder = store.unfinished(step.kind, step.identity) / ranks.FOLDER
            job = ranks.text(folder)
            if job and job != done.get(step.name):
                print(f"{step.name}: node {step.stage.hardware.here} takes part", file=sys.stderr, flush=True)
                _take_part(step, folder, watch)
                done[step.name] = job
        ended = watch.ended()
        if ended == heartbeat.FINISHED:  # of a part of the judgements, the table is never whole
            return
        if ended and not store.find(left[-1].kind, left[-1].identity):
            names = ", ".join(step.name for step in left)
            raise ZeloError(f"Node 0 ended before this was made: {names}. Its own output says why.")
        time.sleep(ranks.POLL)


def _take_part(step: Step, folder: Path, watch: heartbeat.Watch) -> None:
    """This node's processes of a training. Raises ZeloError where they break off, as they do when those of node 0 are gone."""
    try:
        ranks.run(folder, step.stage.hardware, lambda line: None, watch.ended)
    except RuntimeError as error:
        raise ZeloError(f"{step.name}: this node's part broke off ({error}). The output of node 0 says why.") from error


def _pulse(steps: list[Step], store: Store) -> Path:
    """The file by which other nodes see that node 0 works on these trainings."""
    return store.root / heartbeat.FOLDER / hash_json([step.identity for step in steps if step.node])


def priced(steps: list[Step], store: Store) -> Iterator[tuple[str, list[Any]]]:
    """(stage, what it would ask and pay) for each stage that costs money, is still to be made and can be counted now.

    What such a stage reads is made first, where that is cheap: the questions depend on it. No other stage runs.
    """
    unknown = unpriced(steps, store)
    graph = {step.name: set(step.inputs.values()) for step in steps}
    for step in _to_pay(steps, store):
        if step.name not in unknown:
            above = _ancestors(graph, step.name) - {step.name}
            made = list(run([other for other in steps if other.name in above], store))[-1][0].tables
            yield step.name, step.stage.plan({role: made[source] for role, source in step.inputs.items()})


def unpriced(steps: list[Step], store: Store) -> dict[str, list[str]]:
    """Each stage that costs money and cannot be counted yet -> the stages that must run first: they judge, train or cost."""
    graph = {step.name: set(step.inputs.values()) for step in steps}
    costly = [
        step.name for step in steps if not (getattr(step.stage, "CHEAP", False) or store.find(step.kind, step.identity))
    ]
    found: dict[str, list[str]] = {}
    for step in _to_pay(steps, store):
        above = _ancestors(graph, step.name) - {step.name}
        if first := [name for name in costly if name in above]:
            found[step.name] = first
    return found


def _to_pay(steps: list[Step], store: Store) -> list[Step]:
    """Those that ask judges who cost money and are still to be made."""
    return [step for step in steps if getattr(step.stage, "paid", None) and not store.find(step.kind, step.identity)]


def _make(step: Step, inputs: dict[str, Table], out: Path, partial: Table | None) -> dict[str, Any]:
    with contextlib.suppress(
        OSError
    ):  # Linux: forget the high-water mark of the stages before (man 5 proc, clear_refs)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    if step.node:
        ranks.write(out / ranks.FOLDER, step.name, step.node, inputs, step.stage.hardware)
    stage = copy.deepcopy(step.stage)  # what it loads, models above all, goes when it ends
    figures = stage.run(inputs | ({"partial": partial} if partial else {}), out)
    del stage
    gc.collect()  # Lightning's objects name each other in circles
    if any(table.partial for table in inputs.values()):  # what is made of a part is not what the whole would make
        figures = ({} if figures.get("partial") else {MADE_OF: contents(inputs)}) | figures | {"partial": True}
    reads = {role: table.identity for role, table in inputs.items()}
    return {"stage": step.name, "inputs": reads, "peak_memory_mb": _peak_memory_mb(), **figures}


def _peak_memory_mb() -> int:
    """Most memory that the process held, in MB: since the stage began on Linux, since the process began elsewhere."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
        if found:
            return int(found[1]) // 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1_000_000 if sys.platform == "darwin" else 1000)


def _order(stages: Mapping[str, Any], until: str | None) -> list[str]:
    graph = {name: set(node["inputs"].values()) for name, node in stages.items()}
    for name, sources in graph.items():
        for source in sources - graph.keys():
            raise BadInput(
                f"stage {name} reads {source!r}, none of this pipeline's {', '.join(graph)}. Name one of these, or, where the"
                f" stage can do without, set stages.{name}.inputs.ROLE=null."
            )
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise BadInput(f"The stages {' -> '.join(error.args[1])} read each other in a circle.") from error
    position = {name: number for number, name in enumerate(graph)}
    order.sort(key=lambda name: (_depth(graph, name), position[name]))
    if until is None:
        return order
    if until not in graph:
        near = get_close_matches(until, graph, 1, 0.0)
        raise BadInput(f"until={until}: no such stage. Did you mean {near[0]!r}? There are: {', '.join(graph)}.")
    return [name for name in order if name in _ancestors(graph, until)]


def _depth(graph: Mapping[str, set[str]], name: str) -> int:
    return 1 + max((_depth(graph, source) for source in graph[name]), default=0)


def _ancestors(graph: Mapping[str, set[str]], name: str) -> set[str]:
    return {name}.union(*(_ancestors(graph, source) for source in graph[name]))


def _written(config: DictConfig, place: str) -> str:
    """The key whose value a place below `stages` has: references are followed to where a user can set it."""
    raw: Any = OmegaConf.to_container(config)
    path: list[str] = []
    for part in re.findall(r"[^.\[\]]+", place):
        path.append(part)
        while reference := re.fullmatch(r"\$\{(\w[\w.]*)\}", str(functools.reduce(_item, path, raw))):
            path = reference[1].split(".")
    return ".".join(path)


def places_of_model(config: DictConfig, model: str) -> list[str]:
    """The keys that a user can set of every pretrained model of that name in the stages up to `until`."""
    found: dict[str, None] = {}

    def look(node: Any, place: str) -> None:
        for key, item in enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ():
            if key == "model" and item == model:
                found[_written(config, f"{place}.{key}")] = None
            look(item, f"{place}.{key}")

    stages: Any = OmegaConf.to_container(config.stages, resolve=True)
    for name in _order({name: _without_nulls(node) for name, node in stages.items() if node}, config.until):
        look(stages[name], f"stages.{name}")
    return list(found)


def _item(node: Any, key: str) -> Any:
    return node[int(key)] if isinstance(node, list) else node[key]


def restored(node: dict[str, Any], place: str) -> Any:
    """The stage that a `Step.node` describes, in another process: references to the environment are followed there."""
    return build(_without_nulls(cast(Any, OmegaConf.to_container(OmegaConf.create(node), resolve=True))), place)


def build(node: Any, place: str, written: Callable[[str], str] = str) -> Any:
    """The object that a resolved config describes, if it may be made.

    place: where it stands, for the error. written: from there to the key that a user can set.
    """
    check_targets(node, place)
    check_values(node, place, written)
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, ZeloError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from error
        raise BadInput(f"{place} cannot be built: {' '.join(str(error).split())}") from error


def check_targets(node: Any, place: str) -> None:
    """Raises BadInput for a `_target_` that is neither a component of zelo nor allowed."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            check_targets(item, f"{place}[{number}]")
    elif isinstance(node, dict):
        if "_target_" in node and not allowed(node["_target_"]):
            raise BadInput(
                f"{place}: _target_ {node['_target_']!r} may not be made: it is neither a component of zelo nor one of"
                f" {', '.join(sorted(FOREIGN))}. For a class of your own set {ALLOW_VARIABLE}=your_package."
            )
        for key, item in node.items():
            check_targets(item, f"{place}.{key}")


def check_values(node: Any, place: str, written: Callable[[str], str] = str) -> None:
    """Raises BadInput for a value that is not what its class's annotation asks for, such as a text for a number."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            check_values(item, f"{place}[{number}]", written)
    elif isinstance(node, dict):
        hints = _hints(node["_target_"]) if "_target_" in node else {}
        for key, item in node.items():
            _refuse(annotations.faults(item, hints.get(key, Any), f"{place}.{key}"), written)
            check_values(item, f"{place}.{key}", written)


def _refuse(faults: Iterable[tuple[str, str]], written: Callable[[str], str] = str) -> None:
    for place, fault in faults:
        raise BadInput(f"{written(place)}{fault}")


def _hints(target: str) -> dict[str, Any]:
    try:
        return annotations.of(hydra.utils.get_object(target))
    except (ImportError, ValueError):  # told when it is made
        return {}


def allowed(target: str) -> bool:
    """Whether a config may make this class: the shape of the name first, so that nothing is imported to find out."""
    package = target.partition(".")[0]
    if target in FOREIGN or package in allowed_packages():
        return True
    if not OWN.fullmatch(target):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return False
    return isinstance(found, type) and found.__module__ == module


def _recipe(node: Any, built: Any) -> Any:
    """The part of a config that can change a result, with contents for paths and the code of each component."""
    if isinstance(node, list):
        return [_recipe(item, part) for item, part in zip(node, built, strict=True)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: _recipe(item, built[key]) for key, item in node.items()}
    target = node["_target_"]
    if node.get("_partial_"):
        return node if target in FOREIGN else node | {"_code_": code_hash(module_of(target))}
    outside = {"_target_", *getattr(type(built), "OUTSIDE_IDENTITY", ())}  # fields that cannot change the result
    recipe = {key: _recipe(item, getattr(built, key)) for key, item in node.items() if key not in outside}
    if hasattr(built, "content"):
        recipe |= built.content()
    recipe |= {"_target_": target, "_code_": code_hash(type(built).__module__)}
    # What a user allows may be a function, or a name that its package passes on.
    if not OWN.fullmatch(target) and (named := module_of(target)) != type(built).__module__:
        recipe["_named_code_"] = code_hash(named)
    return recipe


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    packages = ("zelo", "hydra-core", "numpy", "scipy", "pyarrow", "torch", "pytorch-lightning", "transformers")
    found = {"python": sys.version.split()[0], "arrow": pa.cpp_version}
    for package in (*packages, "sentence-transformers", "bm25s", "ir-measures"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
