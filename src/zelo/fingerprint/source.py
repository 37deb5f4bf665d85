"""A module as identity sees it: its definitions in canonical form, and what each of them names elsewhere."""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zelo.errors import BadInput
from zelo.fingerprint import canonical
from zelo.fingerprint.modules import find, first_party, submodules
from zelo.store.hashing import hash_file

WHOLE = "*"  # a module as an object: what is reached in it is written behind its name
ANYTHING = "**"  # a module of which no more is known
EFFECTS = ""  # statements of a module that are neither definitions nor imports: they run wherever it is imported
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
DECLARATION = re.compile(r"^AFFECTS_RESULTS = False\b", re.MULTILINE)


@dataclass
class Chunk:
    """A definition, or all that a module does besides defining."""

    statements: list[ast.stmt] = field(default_factory=list)  # stripped

    @functools.cached_property
    def texts(self) -> list[str]:
        """Its statements in canonical form."""
        return [canonical.text(item) for item in self.statements]

    @functools.cached_property
    def names(self) -> set[str]:
        """Every name in it, with dots as far as they are written."""
        return set().union(*map(_names, self.statements))


@dataclass
class Source:
    """A parsed module."""

    module: str
    chunks: dict[str, Chunk]
    bindings: dict[str, set[tuple[str, str]]]  # local name -> (module, name in it) that an import may bind to it
    affects_results: bool = True


@functools.cache  # what a process has loaded stays as it was, whatever becomes of the files
def read(module: str) -> Source:
    """The source of a first-party module. Raises BadInput where it cannot be found or read."""
    spec = find(module)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise BadInput(f"The source of {module} is not to be found; its code is part of a table's identity.")
    if not spec.origin.endswith(".py"):  # compiled
        hashed = ast.Expr(ast.Constant(hash_file(Path(spec.origin))))
        return Source(module, {EFFECTS: Chunk([hashed])}, {})
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    try:
        return parse(Path(spec.origin).read_bytes(), module, package)
    except SyntaxError as error:
        raise BadInput(f"{spec.origin}:{error.lineno}: {error.msg}. {module} is imported by a component.") from error


def parse(content: str | bytes, module: str, package: str) -> Source:
    """A module from what its file holds. package: the one that it lies in, or that it is. Raises SyntaxError."""
    tree = ast.parse(content)
    bindings: dict[str, set[tuple[str, str]]] = {}
    for item in ast.walk(tree):
        if isinstance(item, (ast.Import, ast.ImportFrom)):
            for local, target in _bound(item, module, package):
                bindings.setdefault(local, set()).add(target)
    beside = {local for local, targets in bindings.items() if all(_beside(source, module) for source, _ in targets)}
    return Source(module, _chunks(canonical.stripped(tree, beside), bindings), bindings, not _beside(module, module))


def _beside(module: str, importer: str) -> bool:
    """Whether a module says that it cannot change a result."""
    spec = find(module) if first_party(module, importer) else None
    return bool(spec and spec.origin and spec.origin.endswith(".py") and DECLARATION.search(_text(spec.origin)))


@functools.cache
def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _bound(item: ast.Import | ast.ImportFrom, module: str, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """(local name, (module, name in it)) for each name that an import binds; a module as a whole has the name "*"."""
    if isinstance(item, ast.Import):
        for alias in item.names:
            plain = alias.asname or "." not in alias.name  # else the name is that of the top package
            yield alias.asname or alias.name.partition(".")[0], (alias.name, WHOLE if plain else ANYTHING)
        return
    source = item.module or ""
    if item.level:
        above = package.split(".")[: len(package.split(".")) - item.level + 1]
        source = ".".join([*above, source] if source else above)
    for alias in item.names:
        if alias.name == "*":  # whatever it is, it is in one of these
            yield WHOLE, (source, ANYTHING)
            for name in submodules(source) if first_party(source, module) else ():
                yield WHOLE, (f"{source}.{name}", ANYTHING)
        elif first_party(source, module) and find(f"{source}.{alias.name}"):
            yield alias.asname or alias.name, (f"{source}.{alias.name}", WHOLE)
        else:
            yield alias.asname or alias.name, (source, alias.name)


def _chunks(tree: ast.Module, bindings: dict[str, set[tuple[str, str]]]) -> dict[str, Chunk]:
    found = {EFFECTS: Chunk()}
    for item in tree.body:
        if isinstance(item, (ast.Import, ast.ImportFrom)) or _is_command(item):
            continue
        defined = _defined(item)
        effect = not defined or any(
            _registers(decorator, bindings)
            for decorator in (item.decorator_list if isinstance(item, DEFINITIONS) else [])
        )
        for name in defined | ({EFFECTS} if effect else set()):
            found.setdefault(name, Chunk()).statements.append(item)
    for name in _bound_by_effects(tree) - found.keys():
        found[name] = found[EFFECTS]
    return found


def _defined(item: ast.stmt) -> set[str]:
    """Names that a definition or a plain assignment defines; none for a statement that does anything else."""
    if isinstance(item, DEFINITIONS):
        return {item.name}
    if isinstance(item, ast.Assign):
        parts = [
            part
            for target in item.targets
            for part in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])
        ]
        return {part.id for part in parts if isinstance(part, ast.Name)} if all(map(_is_name, parts)) else set()
    return set()


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _bound_by_effects(tree: ast.Module) -> set[str]:
    """Names that statements with other names inside bind, such as those of `try` or `if` at the top of a module."""
    return {
        part.id if isinstance(part, ast.Name) else part.name
        for item in tree.body
        if not _defined(item)
        for part in ast.walk(item)
        if (isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
        or isinstance(part, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
    }


def _registers(decorator: ast.expr, bindings: dict[str, set[tuple[str, str]]]) -> bool:
    """Whether a decorator may note its function somewhere: one of zelo's own."""
    name = canonical.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
    targets = bindings.get(name.partition(".")[0], set())
    return not targets or any(module.partition(".")[0] == "zelo" for module, _ in targets)


def _is_command(item: ast.stmt) -> bool:
    """Whether this is what a module does as a command only."""
    return isinstance(item, ast.If) and "__name__" in {
        part.id for part in ast.walk(item.test) if isinstance(part, ast.Name)
    }


def _names(item: ast.AST) -> set[str]:
    """Every name in a statement, with dots as far as they are written."""
    found: set[str] = set()

    def look(node: ast.AST) -> None:
        name = canonical.dotted(node)
        if name:
            found.add(name)
            return
        for child in ast.iter_child_nodes(node):
            look(child)

    look(item)
    return found
