"""Entries of modules that are read from source, without importing them."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from .entry import Entry, clean, public
from .imported import IMPORTED

# GUI, side effects, absent from common installs, internal, or removed by 3.13.
SKIPPED = frozenset(
    """
    antigravity this idlelib turtledemo test lib2to3 tkinter turtle ensurepip pydoc_data encodings distutils asynchat
    asyncore imp smtpd aifc audioop cgi cgitb chunk crypt imghdr mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd
    sunau telnetlib uu xdrlib site-packages ntpath posixpath genericpath nturl2path sre_compile sre_constants sre_parse
    sitecustomize usercustomize lib-dynload
    """.split()  # noqa: SIM905
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass
class Source:
    """What a module's source says at its top level."""

    name: str
    is_package: bool
    tree: ast.Module
    defined: dict[str, Definition] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> module, name there
    starred: list[str] = field(default_factory=list)  # modules of `from X import *`
    listed: list[str] | None = None  # the literal part of `__all__`

    def read(self, body: list[ast.stmt]) -> None:
        """Takes in statements, also those inside `if`, `try` and `with`."""
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    before = self.defined.get(node.name)
                    if before is None or (not ast.get_docstring(before) and ast.get_docstring(node)):
                        self.defined[node.name] = node
                case ast.ImportFrom():
                    self.take_import(node)
                case ast.If() | ast.Try() | ast.With():
                    for part in ("body", "handlers", "orelse", "finalbody"):
                        for child in getattr(node, part, []):
                            self.read(child.body if isinstance(child, ast.ExceptHandler) else [child])
                case _:
                    self.take_all(node)

    def take_import(self, node: ast.ImportFrom) -> None:
        home = node.module or ""
        if node.level:
            parts = self.name.split(".")
            parts = parts[: len(parts) - node.level + self.is_package]
            home = ".".join([*parts, *([home] if home else [])])
        for alias in node.names:
            if alias.name == "*":
                self.starred.append(home)
            else:
                self.imported.setdefault(alias.asname or alias.name, (home, alias.name))

    def take_all(self, node: ast.stmt) -> None:
        """`__all__ = [...]`, `+=`, `.append(...)` and `.extend(...)` of literal strings."""
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                if isinstance(value, ast.List | ast.Tuple):
                    self.listed = strings(value)
            case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
                self.listed = [*(self.listed or []), *strings(value)]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="__all__")), args=[value])):
                self.listed = [*(self.listed or []), *strings(value)] or None


def strings(node: ast.expr) -> list[str]:
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def private(module: str) -> bool:
    return any(not public(part) for part in module.split("."))


class Library:
    """The modules of a folder of sources, parsed when first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.source = cache(self._source)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Name -> file of every module that is documented, in sorted order."""
        found = {}
        for parent, folders, files in os.walk(self.folder):
            at = Path(parent)
            parts = at.relative_to(self.folder).parts
            folders[:] = sorted(f for f in folders if (at / f / "__init__.py").is_file() and self.wanted(*parts, f))
            for file in sorted(files):
                if file.endswith(".py"):
                    names = (*parts, file[:-3]) if file != "__init__.py" else parts
                    if names and self.wanted(*names):
                        found[".".join(names)] = at / file
        return found

    @staticmethod
    def wanted(*parts: str) -> bool:
        return parts[0] not in SKIPPED and not any(p.startswith("_") or p in ("test", "tests") for p in parts)

    def _source(self, name: str) -> Source | None:
        file = self.folder.joinpath(*name.split("."))
        paths = (file.with_name(file.name + ".py"), file / "__init__.py")
        path = next((path for path in paths if path.is_file()), None)
        if not name or path is None:
            return None
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return None
        source = Source(name, path.name == "__init__.py", tree)
        source.read(tree.body)
        return source

    def resolve(self, module: str, name: str, seen: frozenset = frozenset()) -> tuple[str, Definition] | None:
        """The module and node where a name is defined, followed through imports."""
        source = self.source(module)
        if source is None or (module, name) in seen:
            return None
        if name in source.defined:
            return module, source.defined[name]
        seen |= {(module, name)}
        if name in source.imported:
            found = self.resolve(*source.imported[name], seen)
            if found:
                return found
        return next(filter(None, (self.resolve(home, name, seen) for home in source.starred)), None)

    def names(self, module: str, seen: frozenset = frozenset()) -> set[str]:
        """The public names of a module."""
        source = self.source(module)
        if source is None or module in seen:
            return set()
        seen |= {module}
        names = set(source.defined if source.listed is None else source.listed)
        if source.listed is None or source.is_package:
            for home in source.starred:
                if self.near(module, home):
                    names |= self.names(home, seen)
        if source.is_package:
            names |= {name for name, (home, _) in source.imported.items() if self.near(module, home)}
        return {name for name in names if public(name)}

    @staticmethod
    def near(module: str, home: str) -> bool:
        return home.split(".")[0] == module.split(".")[0] or private(home)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """(id, entry) of every documented module, function, class and method."""
        for module in self.modules:
            source = self.source(module)
            if source is None:
                continue
            yield module, Entry(module, clean(raw_doc(source.tree)), ("module", module))
            if module in IMPORTED:
                continue
            for name in sorted(self.names(module)):
                found = self.resolve(module, name) or self.lazy(source, name)
                if found and self.near(module, found[0]):
                    yield from self.definition_entries(f"{module}.{name}", *found)

    def lazy(self, source: Source, name: str) -> tuple[str, Definition] | None:
        """A name that a package loads when it is first used: it is in one of its submodules."""
        if not source.is_package or name not in (source.listed or []):
            return None
        inside = sorted(file.stem for file in self.folder.joinpath(*source.name.split(".")).glob("*.py"))
        found = (self.resolve(f"{source.name}.{module}", name) for module in inside if module != "__init__")
        return next(filter(None, found), None)

    def definition_entries(self, id_: str, home: str, node: Definition) -> Iterator[tuple[str, Entry]]:
        if not isinstance(node, ast.ClassDef):
            yield id_, Entry(f"{id_}({ast.unparse(node.args)})", clean(raw_doc(node)), (home, node.name))
            return
        init = next((n for n in node.body if isinstance(n, Function) and n.name == "__init__"), None)
        arguments = f"({unparsed(init)})" if init else ""
        text = clean(raw_doc(node), clean(raw_doc(init)) if init else "")
        yield id_, Entry(id_ + arguments, text, (home, node.name))
        for owner_home, owner, method in self.methods(home, node):
            title = f"{id_}.{method.name}" + ("" if is_property(method) else f"({unparsed(method)})")
            subject = (owner_home, f"{owner.name}.{method.name}")
            yield f"{id_}.{method.name}", Entry(title, clean(raw_doc(method)), subject)

    def methods(self, home: str, node: ast.ClassDef) -> Iterator[tuple[str, ast.ClassDef, Function]]:
        """The public methods of a class and of its private bases, the first of each name."""
        seen: set[str] = set()
        owners = [(home, node)]
        for base in node.bases:
            name = ast.unparse(base).split(".")[-1]
            found = None if public(name) else self.resolve(home, name)
            if found and isinstance(found[1], ast.ClassDef):
                owners.append((found[0], found[1]))
        for at, owner in owners:
            for method in owner.body:
                if not isinstance(method, Function) or not public(method.name) or is_repeat(method):
                    continue
                if method.name not in seen:
                    seen.add(method.name)
                    yield at, owner, method


def raw_doc(node: Definition | ast.Module) -> str | None:
    return ast.get_docstring(node, clean=False)


def decorators(node: Function) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list}


def is_property(node: Function) -> bool:
    return any(name.endswith("property") or name == "DynamicClassAttribute" for name in decorators(node))


def is_repeat(node: Function) -> bool:
    return bool(decorators(node) & {"setter", "deleter", "overload"})


def unparsed(node: Function) -> str:
    """The arguments as written, without the object or class that a method is called on."""
    arguments = node.args
    if "staticmethod" not in decorators(node):
        for kind in (arguments.posonlyargs, arguments.args):
            if kind and kind[0].arg in ("self", "cls"):
                del kind[0]
                break
    return ast.unparse(arguments)
