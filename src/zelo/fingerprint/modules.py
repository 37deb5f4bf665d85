"""Where modules lie and which of them are first-party, without importing any.

First-party is zelo itself, the packages that ZELO_ALLOW names, and every module that lies neither in the standard library nor in
site-packages, such as a helper beside a component.
"""

import functools
import importlib.util
import os
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

ALLOW_VARIABLE = "ZELO_ALLOW"  # packages of a user's own components, separated by commas
LIBRARIES = {  # too large to read, even where they are allowed; their major versions count
    "torch": "torch",
    "transformers": "transformers",
    "sentence_transformers": "sentence-transformers",
    "bm25s": "bm25s",
    "py3langid": "py3langid",
}
INSTALLED = frozenset({"site-packages", "dist-packages"})


def allowed_packages() -> frozenset[str]:
    """What ZELO_ALLOW names."""
    return frozenset(filter(None, os.environ.get(ALLOW_VARIABLE, "").replace(" ", "").split(",")))


def module_of(target: str) -> str:
    """The module part of a dotted name: the longest that is a module, or its first part."""
    while "." in target and find(target) is None:
        target = target.rpartition(".")[0]
    return target


def find(name: str) -> ModuleSpec | None:
    """Where a module lies, without importing the packages around it."""
    return _found_once(name) if name.partition(".")[0] == "zelo" else _found(name)


def _found(name: str) -> ModuleSpec | None:
    name, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # __main__ has none
        return None
    folders = list(spec.submodule_search_locations or []) if spec else []
    for part in rest:
        name = f"{name}.{part}"
        try:
            spec = PathFinder.find_spec(name, folders) if folders else None
        except KeyError:  # a folder without __init__.py, in a package that is not imported
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(Path(folder) / part) for folder in folders]
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return spec


_found_once = functools.cache(_found)  # zelo stays where it is; a user's path may change


def submodules(name: str) -> set[str]:
    """Modules of a package, packages inside it left out."""
    spec = find(name)
    folders = (spec.submodule_search_locations if spec else None) or []
    return {path.stem for folder in folders for path in Path(folder).glob("*.py")} - {"__init__", "__main__"}


def first_party(name: str, module: str) -> bool:
    """Whether the code of what `module` imports by this name counts; zelo's modules import nothing of a user's."""
    top = name.partition(".")[0]
    if not top or top == "zelo" or module.partition(".")[0] == "zelo":
        return top == "zelo"
    return _own(top)


def _own(top: str) -> bool:
    spec = find(top)
    if spec is None or top in LIBRARIES:
        return False
    if top in allowed_packages():
        return True
    if spec.origin is not None and not spec.has_location:  # built in
        return False
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or [spec.origin or ""])]
    system = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return not any(
        INSTALLED & set(place.parts) or any(place.is_relative_to(folder) for folder in system) for place in places
    )
