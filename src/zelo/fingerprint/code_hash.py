"""The code of a component as a hash: its module, and whatever first-party code that imports, directly or not.

First-party is zelo itself, the packages that ZELO_ALLOW names, and every module that lies neither in the standard library nor in
site-packages, such as a helper beside a component. Nothing is imported to find out.
"""

import ast
import functools
import importlib.util
import os
import re
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from zelo.errors import BadInput
from zelo.store import hash_file, hash_json

ALLOW_VARIABLE = "ZELO_ALLOW"  # packages of a user's own components, separated by commas
# Modules that cannot change what comes out. An answer is known by its request, however it was paid for and fetched.
BESIDE = re.compile(
    r"zelo\.(errors|protocols|store|progress|backbones\.device|training\.(hardware|ranks|json_log)|(budget|ledger)\.\w+|providers\.(client|retry|secrets))"
)
LIBRARIES = frozenset(
    {"torch", "transformers", "sentence_transformers"}
)  # too large to read, even where they are allowed
INSTALLED = frozenset({"site-packages", "dist-packages"})


def allowed_packages() -> frozenset[str]:
    """What ZELO_ALLOW names."""
    return frozenset(filter(None, os.environ.get(ALLOW_VARIABLE, "").replace(" ", "").split(",")))


@functools.cache  # what a process has loaded stays as it was, whatever becomes of the files
def code_hash(module: str) -> str:
    """Hash of the syntax trees of a module and of the first-party modules that it imports, docstrings and layout left out.

    Raises BadInput where its source cannot be found or read.
    """
    return hash_json({name: _read(name)[0] for name in sorted(reach(module))})


def module_of(target: str) -> str:
    """The module part of a dotted name: the longest that is a module, or its first part."""
    while "." in target and _find(target) is None:
        target = target.rpartition(".")[0]
    return target


def reach(module: str) -> set[str]:
    """A module and every first-party module that it imports, directly or not, but for those that stand beside the results."""
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(imported for imported in _read(name)[1] if not BESIDE.fullmatch(imported))
    return seen


@functools.cache
def _read(module: str) -> tuple[str, frozenset[str]]:
    """A module's syntax tree as text, and the first-party modules that it imports."""
    spec = _find(module)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise BadInput(f"The source of {module} cannot be found; its code is part of the cache key.")
    if not spec.origin.endswith(".py"):  # compiled
        return hash_file(Path(spec.origin)), frozenset()
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except SyntaxError as error:
        raise BadInput(f"{spec.origin}:{error.lineno}: {error.msg}. {module} is imported by a component.") from error
    imports: set[str] = set()
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    for item in ast.walk(tree):
        if isinstance(item, (ast.Import, ast.ImportFrom)):
            imports.update(_imported(item, module, package))
        if isinstance(item, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            item
        ):
            item.body = item.body[1:]
    return ast.dump(tree), frozenset(imports - {module})


def _imported(item: ast.Import | ast.ImportFrom, module: str, package: str) -> Iterator[str]:
    """The first-party modules that a statement of `module` brings in."""
    if isinstance(item, ast.Import):
        for alias in item.names:
            yield from _with_packages(alias.name, module)
        return
    source = item.module or ""
    if item.level:
        above = package.split(".")[: len(package.split(".")) - item.level + 1]
        source = ".".join([*above, source] if source else above)
    if not _first_party(source, module):
        return
    spec = _find(source)
    if spec is None or spec.submodule_search_locations is None:
        yield from _with_packages(source, module)
        return
    for alias in item.names:
        if alias.name == "*":  # whatever it is, it is in one of these
            yield from _with_packages(source, module)
            yield from (f"{source}.{name}" for name in _submodules(spec))
        elif _find(f"{source}.{alias.name}"):
            yield from _with_packages(f"{source}.{alias.name}", module)
        elif source == "zelo":  # which only passes on what others define
            yield _passed_on().get(alias.name, source)
        else:
            yield from _with_packages(source, module)


def _with_packages(name: str, module: str) -> Iterator[str]:
    """A module and the packages that it lies in, whose code runs before it; zelo's own have none."""
    if not _first_party(name, module):
        return
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        part = ".".join(parts[:count])
        spec = _find(part)
        if spec and spec.origin and (count == len(parts) or parts[0] != "zelo"):
            yield part


def _submodules(spec: ModuleSpec) -> set[str]:
    folders = spec.submodule_search_locations or []
    return {path.stem for folder in folders for path in Path(folder).glob("*.py")} - {"__init__", "__main__"}


@functools.cache
def _passed_on() -> dict[str, str]:
    """The names that the package zelo has from a module of its own -> that module."""
    body = ast.parse((Path(__file__).parents[1] / "__init__.py").read_bytes()).body
    found = [item for item in body if isinstance(item, ast.ImportFrom) and (item.module or "").startswith("zelo.")]
    return {alias.asname or alias.name: str(item.module) for item in found for alias in item.names}


def _first_party(name: str, module: str) -> bool:
    """Whether the code of what `module` imports by this name counts; zelo's modules import nothing of a user's."""
    top = name.partition(".")[0]
    if not top or top == "zelo" or module.partition(".")[0] == "zelo":
        return top == "zelo"
    return _own(top)


def _own(top: str) -> bool:
    spec = _find(top)
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


def _find(name: str) -> ModuleSpec | None:
    """Where a module lies, without importing the packages around it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ has none
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{spec.name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec
