"""The canonical form of a syntax tree: the same text on every Python, without what cannot change a result.

Left out are comments, layout, docstrings, annotations of functions and variables, what is passed to an exception in `raise`,
messages of `assert`, log lines, and what is under TYPE_CHECKING. `ast.dump` differs between versions of Python.

Needs the standard library only, so that any Python can run this file.
"""

import ast
from collections.abc import Set

SKIPPED = frozenset({"ctx", "type_comment", "kind", "type_params", "simple"})  # fields that vary, or say nothing more
STREAMS = frozenset({"sys.stderr", "sys.stdout"})
LOGS = frozenset({"print", "warnings.warn", "sys.stderr.write", "sys.stdout.write"})
FIELD_KINDS = ("ClassVar", "InitVar", "KW_ONLY")  # by these dataclasses tell fields from others


def stripped(tree: ast.Module, beside: Set[str] = frozenset()) -> ast.Module:
    """The syntax tree of a module, changed in place, without what cannot change a result.

    beside: names of the module whose values go nowhere, such as that of a progress bar; what they are called with is left out.
    """
    _Strip(beside).visit(tree)
    return tree


def text(node: object) -> str:
    """A stripped tree as text."""
    if isinstance(node, list):
        return f"[{', '.join(map(text, node))}]"
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__} {node.value!a}"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if name not in SKIPPED]
    inside = [f"{name}={text(value)}" for name, value in fields if value is not None and value != []]
    return f"{type(node).__name__}({', '.join(inside)})"


def dotted(node: ast.AST) -> str:
    """`a.b.c` of such an expression, "" of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (front := dotted(node.value)):
        return f"{front}.{node.attr}"
    return ""


class _Strip(ast.NodeTransformer):
    def __init__(self, beside: Set[str]) -> None:
        self.beside = beside
        self.bases: list[bool] = []  # of the classes around, innermost last: whether it has any; False in a function

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) or _logs(node.value):
            return None
        return self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.bases.append(bool(node.bases))
        found = self.generic_visit(node)
        self.bases.pop()
        return found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        around, self.bases = self.bases, []
        found = self.generic_visit(node)
        self.bases = around
        return found

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if not self.bases:  # of a module or a function
            if node.value is None:
                return None
            return self.generic_visit(ast.Assign([node.target], node.value))
        written = text(node.annotation)
        # A base class may read the annotations, as pydantic's does; they are data then, and name no code.
        kept = ast.Constant(written if self.bases[-1] else " ".join(kind for kind in FIELD_KINDS if kind in written))
        value = self.visit(node.value) if node.value else None
        return ast.AnnAssign(node.target, kept, value, 1)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(what and self.visit(what), None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Assert(self.visit(node.test), None)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        if dotted(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            return [kept for item in node.orelse for kept in _listed(self.visit(item))]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if dotted(node.func).partition(".")[0] in self.beside:
            return ast.Call(node.func, [], [])
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts: list[ast.expr] = []
        for part in node.values:  # Pythons cut the constant parts differently
            if isinstance(part, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
                parts[-1] = ast.Constant(f"{parts[-1].value}{part.value}")
            elif not isinstance(part, ast.Constant) or part.value:
                parts.append(part)
        return self.generic_visit(ast.JoinedStr(parts))

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        spec = node.format_spec
        kept = None if isinstance(spec, ast.JoinedStr) and not spec.values else spec
        return self.generic_visit(ast.FormattedValue(node.value, node.conversion, kept))


def _logs(node: ast.expr) -> bool:
    """Whether an expression only says something: a log line, or text on the terminal."""
    if not isinstance(node, ast.Call):
        return False
    name = dotted(node.func)
    if name not in LOGS and not name.startswith("logging."):
        return False
    files = [dotted(word.value) for word in node.keywords if word.arg == "file"]
    return set(files) <= STREAMS


def _listed(found: ast.AST | list[ast.AST] | None) -> list[ast.AST]:
    return found if isinstance(found, list) else [found] if found is not None else []
