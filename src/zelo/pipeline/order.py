"""The order of the stages, inputs first, and where in the config a user sets what a stage holds."""

import functools
import graphlib
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.pipeline.plain import plain


def ordered(stages: Facts, until: str | None, alongside: Sequence[str] = ()) -> list[str]:
    """Names of the stages up to `until`, inputs first. Raises BadInput for an input that is not there and for a circle.

    alongside: stages that run whatever `until` is if it needs one of their inputs, as soon as these are there.
    """
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
        raise BadInput(f"The stages {' -> '.join(error.args[1])} depend on each other in a cycle.") from error
    position = {name: number for number, name in enumerate(graph)}
    order.sort(key=lambda name: (_depth(graph, name), position[name]))
    for name in alongside:
        order.remove(name)
        order.insert(1 + max(order.index(source) for source in graph[name]), name)
    if until is None:
        return order
    if until not in graph:
        near = get_close_matches(until, graph, 1, 0.0)
        raise BadInput(f"until={until}: no such stage. Did you mean {near[0]!r}? There are: {', '.join(graph)}.")
    wanted = needed(graph, until, alongside)
    return [name for name in order if name in wanted]


def needed(graph: Mapping[str, set[str]], until: str, alongside: Sequence[str]) -> set[str]:
    """`until`, the stages that it reads, those alongside that read one of these, and what they read. graph: as of `ancestors`."""
    wanted = {until, *ancestors(graph, until)}
    beside = [name for name in alongside if graph[name] & wanted]
    return wanted.union(beside, *(ancestors(graph, name) for name in beside))


def ancestors(graph: Mapping[str, set[str]], name: str) -> set[str]:
    """Every stage that this one reads, directly or not. graph: stage -> the stages that it reads."""
    return set().union(*({source, *ancestors(graph, source)} for source in graph[name]))


def _depth(graph: Mapping[str, set[str]], name: str) -> int:
    return 1 + max((_depth(graph, source) for source in graph[name]), default=0)


def with_inputs(node: Facts) -> Facts:
    """A stage without the inputs that an override has set to null."""
    return node | {
        "inputs": {role: source for role, source in (node.get("inputs") or {}).items() if source is not None}
    }


def key_of(config: DictConfig, place: str) -> str:
    """The key whose value a place below `stages` has: references are followed to where a user can set it."""
    raw = plain(config)
    path: list[str] = []
    for part in re.findall(r"[^.\[\]]+", place):
        path.append(part)
        while reference := re.fullmatch(r"\$\{(\.*)(\w[\w.]*)\}", str(functools.reduce(_item, path, raw))):
            above = path[: -len(reference[1])] if reference[1] else []  # one dot: beside it
            path = [*above, *reference[2].split(".")]
    return ".".join(path)


def keys_of_model(config: DictConfig, model: str) -> list[str]:
    """The keys that a user can set of every pretrained model of that name in the stages up to `until`."""
    found: dict[str, None] = {}

    def look(node: object, place: str) -> None:
        for key, item in enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ():
            if key == "model" and item == model:
                found[key_of(config, f"{place}.{key}")] = None
            look(item, f"{place}.{key}")

    stages = plain(config.stages, resolve=True)
    for name in ordered({name: with_inputs(node) for name, node in stages.items() if node}, config.until):
        look(stages[name], f"stages.{name}")
    return list(found)


def _item(node: Any, key: str) -> Any:
    return node[int(key)] if isinstance(node, list) else node[key]
