"""Makes objects of a config. No other module does: only zelo's own components and a short list of foreign classes may be made,
since a config travels with models, and `_target_` is arbitrary code. Lightning's loggers and Optuna's pruners are among
these.
"""

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from zelo import annotations
from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.fingerprint.modules import ALLOW_VARIABLE, allowed_packages
from zelo.pipeline.order import with_inputs
from zelo.pipeline.plain import plain

# A component of zelo is a class that its own module defines, in one of these packages.
OWN = re.compile(
    r"zelo\.(datasets|splitters|queries|retrievers|scorers|backbones|graphs|judges|solvers|calibrators|targets|models|losses|metrics|acquisitions|training|stages|executors|tracking|dashboards|budget|providers|auditing)"
    r"\.(\w+)\.([A-Z]\w*)"
)
FOREIGN = re.compile(r"(torch\.optim|torch\.optim\.lr_scheduler|pytorch_lightning\.callbacks)\.[A-Z]\w*")
LOGGER = re.compile(r"pytorch_lightning\.loggers\.[A-Z]\w*Logger")
PRUNER = re.compile(r"optuna\.pruners\.[A-Z]\w*Pruner")


def build(node: object, place: str, key_of: Callable[[str], str] = str) -> Any:
    """The object that a resolved config describes, if it may be made.

    place: where it stands, for the error. key_of: from there to the key that a user can set.
    """
    check_targets(node, place)
    check_values(node, place, key_of)
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, ZeloError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from error
        raise BadInput(f"{place} cannot be built: {' '.join(str(error).split())}") from error


def followed(node: Facts) -> Facts:
    """A part of a described config, its references to the environment followed."""
    return plain(OmegaConf.create(node), resolve=True)


def rebuild(node: Facts, place: str) -> Any:
    """The stage that a `Step.node` describes, in another process: references to the environment are followed there."""
    return build(with_inputs(followed(node)), place)


def described(config: DictConfig) -> Facts:
    """The config as plain values, every reference resolved but those to the environment."""

    def keep(node: object) -> object:
        if isinstance(node, dict):
            return {key: keep(item) for key, item in node.items()}
        if isinstance(node, list):
            return [keep(item) for item in node]
        # An escaped reference resolves to its own text, wherever it is copied to.
        return node.replace("${", r"\${") if isinstance(node, str) and "${oc.env:" in node else node

    values = plain(config)
    values.pop("hydra", None)  # not ours
    return plain(OmegaConf.create({key: keep(item) for key, item in values.items()}), resolve=True)


def check_targets(node: object, place: str) -> None:
    """Raises BadInput for a `_target_` that is neither a component of zelo nor allowed."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            check_targets(item, f"{place}[{number}]")
    elif isinstance(node, dict):
        if "_target_" in node and not allowed(node["_target_"]):
            raise BadInput(
                f"{place}: _target_ {node['_target_']!r} is not allowed: it is neither a component of zelo nor a class of"
                f" torch.optim or pytorch_lightning.callbacks. For a class of your own set {ALLOW_VARIABLE}=your_package."
            )
        for key, item in node.items():
            check_targets(item, f"{place}.{key}")


def check_values(node: object, place: str, key_of: Callable[[str], str] = str) -> None:
    """Raises BadInput for a value that is missing, or not what its class's annotation asks for, such as a text for a number."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            check_values(item, f"{place}[{number}]", key_of)
    elif isinstance(node, dict):
        hints = _hints(node["_target_"]) if "_target_" in node else {}
        for key, item in node.items():
            if item == "???":
                wanted = key_of(f"{place}.{key}")
                raise BadInput(f"{wanted} has no value yet; write {wanted}=...")
            refuse(annotations.faults(item, hints.get(key, object), f"{place}.{key}"), key_of)
            check_values(item, f"{place}.{key}", key_of)


def refuse(faults: Iterable[tuple[str, str]], key_of: Callable[[str], str] = str) -> None:
    """Raises BadInput for the first fault of a value, if there is one. faults: (place, what is wrong there)."""
    for place, fault in faults:
        raise BadInput(f"{key_of(place)}{fault}")


def _hints(target: str) -> dict[str, object]:
    if LOGGER.fullmatch(target):  # its import takes seconds, and only a run needs it
        return {}
    try:
        return annotations.of(hydra.utils.get_object(target))
    except (ImportError, ValueError):  # the error comes when it is made
        return {}


def allowed(target: str) -> bool:
    """Whether a config may make this class: the shape of the name first, so that nothing is imported to find out."""
    package = target.partition(".")[0]
    if any(kind.fullmatch(target) for kind in (FOREIGN, LOGGER, PRUNER)) or package in allowed_packages():
        return True
    if not OWN.fullmatch(target):
        return False
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return False
    return isinstance(found, type) and found.__module__ == module
