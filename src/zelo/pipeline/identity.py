"""The name of a stage's table: its resolved recipe, the tables that it reads, the content (never the path) of whatever its
components name, and the code of the components.
"""

import functools
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from zelo.facts import Facts
from zelo.fingerprint.code_hash import code_hash
from zelo.fingerprint.modules import module_of
from zelo.pipeline.instantiate import FOREIGN, OWN
from zelo.protocols import Content, FieldsOutsideIdentity
from zelo.store.hashing import hash_json
from zelo.store.table import Table


def identity(recipe: object, inputs: dict[str, str]) -> str:
    """Hash of everything that could change the table of a stage. recipe: of the stage; inputs: role -> identity."""
    # A stage is handed tables, and so runs their code without naming it.
    return hash_json({"recipe": recipe, "inputs": inputs, "tables": code_hash(Table.__module__, Table.__name__)})


def stage_recipe(node: Facts, stage: object) -> object:
    """That of a stage, whatever it reads. node: its resolved config."""
    return recipe_of({key: value for key, value in node.items() if key != "inputs"}, stage)


def recipe_of(node: object, built: Any, without: frozenset[str] = frozenset()) -> object:
    """The part of a config that can change a result, with contents for paths and the code of each component.

    without: fields that the component's holder leaves out, beside its own OUTSIDE_IDENTITY.
    """
    if isinstance(node, list):
        return [recipe_of(item, part) for item, part in zip(node, built, strict=True)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: recipe_of(item, built[key]) for key, item in node.items()}
    target = node["_target_"]
    if FOREIGN.fullmatch(target):
        return node
    if node.get("_partial_"):
        return node | {"_code_": code_hash(module_of(target))}
    own = built.OUTSIDE_IDENTITY if isinstance(built, FieldsOutsideIdentity) else frozenset[str]()
    outside = without | own | {"_target_"}  # fields that cannot change the result
    content = built.content() if isinstance(built, Content) else {}
    recipe = {
        key: recipe_of(item, getattr(built, key), _below(outside, key))
        for key, item in node.items()
        if key not in outside
    }
    recipe |= content
    recipe |= {"_target_": target, "_code_": code_hash(type(built).__module__, type(built).__name__)}
    # What a user allows may be a function, or a name that its package passes on.
    if not OWN.fullmatch(target) and (named := module_of(target)) != type(built).__module__:
        recipe["_named_code_"] = code_hash(named)
    return recipe


def _below(places: frozenset[str], key: str) -> frozenset[str]:
    """`loss` of `student.loss`, for the key `student`."""
    return frozenset(place.removeprefix(f"{key}.") for place in places if place.startswith(f"{key}."))


@functools.cache  # what a process has loaded stays as it was
def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    packages = ("zelo", "hydra-core", "numpy", "scipy", "pyarrow", "torch", "pytorch-lightning", "transformers")
    found = {"python": sys.version.split()[0], "arrow": pa.cpp_version}
    for package in (*packages, "sentence-transformers", "bm25s", "ir-measures", "ir-datasets"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
