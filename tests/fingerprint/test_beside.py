"""What modules with `AFFECTS_RESULTS = False` give is computed with nowhere, as far as the text of the others shows it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zelo
from zelo.fingerprint import source

TOP = Path(zelo.__file__).parent

# Calls that may be given what such a module says, by the name of what is called.
PLACES = {
    "to": "where a model lies",
    "Exported": "the device that an export is opened on",
    "ExportedPairs": "the device that an export is opened on",
}
# Keys of a dict that may hold it.
FACTS = {"parity": "a fact of the manifest", "code": "a part of a key"}
# What else is used, by module.
ALLOWED = {
    ("zelo.backbones.token_batches", "device.CPU"): "texts at once, each computed on its own",
    ("zelo.backbones.token_batches", "device.CUDA"): "texts at once, each computed on its own",
    ("zelo.backbones.encoder", "device.chosen()"): "texts at once, each computed on its own",
    ("zelo.backbones.published", "device.chosen()"): "texts at once, each computed on its own",
    ("zelo.backbones.encoding", "device.wanted()"): "texts at once, each computed on its own",
    ("zelo.backbones.prefix_cache", "device.CPU"): "numbers at once, each text computed on its own",
    ("zelo.backbones.prefix_cache", "device.CUDA"): "numbers at once, each text computed on its own",
    ("zelo.backbones.decoder", "device.fast_bfloat16()"): "a judge's content() says what it computes in",
    ("zelo.training.hardware", "device.CPU"): "the name of the device for a model",
    ("zelo.training.hardware", "device.CUDA"): "the name of the device for a model",
    ("zelo.training.placement", "ray_train.PLACED"): "several processes train as one, whoever starts them",
    ("zelo.training.placement", "ray.RayLightningEnvironment()"): "several processes train as one, whoever starts them",
    ("zelo.training.placement", "ray.RayDDPStrategy(find_unused_parameters=True)"): "as ddp of Lightning",
    ("zelo.pipeline.identity", "code_hash(Table.__module__, Table.__name__)"): "a part of a key",
    ("zelo.pipeline.identity", "code_hash(module_of(target))"): "a part of a key",
    ("zelo.pipeline.identity", "code_hash(type(built).__module__, type(built).__name__)"): "a part of a key",
    ("zelo.pipeline.identity", "code_hash(named)"): "a part of a key",
    ("zelo.reporting.model_card", "parity_in_words(parity)"): "words of a model card",
    ("zelo.reporting.notes", "parity_in_words(parity)"): "words of a report",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Place = tuple[ast.AST, str]  # a scope and a name in it; a module and `self.name` for an attribute


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP.parent).with_suffix("").parts).removesuffix(".__init__")


def parameters(function: Function) -> Iterator[ast.arg]:
    arguments = function.args
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from filter(None, (arguments.vararg, arguments.kwarg))


def takers(texts: dict[str, str]) -> set[str]:
    """Functions and classes with a parameter `advance`, by name: what they do with it is looked at where they are."""
    found = set[str]()
    for text in texts.values():
        for node in ast.walk(ast.parse(text)):
            parts = node.body if isinstance(node, ast.ClassDef) else [node]
            functions = [part for part in parts if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
            for function in functions:
                if any(given.arg == "advance" for given in parameters(function)):
                    found.add(getattr(node, "name", "") if function.name == "__init__" else function.name)
    return found


class Uses:
    """The names of a module that hold what a declared module gives, and where they are computed with."""

    def __init__(self, module: str, text: str, takers: set[str]) -> None:
        self.module, self.tree, self.takers = module, ast.parse(text), takers
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.bound: set[Place] = set()
        self.held: set[Place] = set()
        self.allowed: set[tuple[str, str]] = set()
        for node in ast.walk(self.tree):
            for name, beside in self._binds(node):
                self.bound.add((self._scope(node), name))
                if beside:
                    self.held.add((self._scope(node), name))

    def computed(self) -> list[str]:
        """Uses by whose value something else may change, with their lines."""
        before = -1
        found: list[str] = []
        while before < len(self.held):
            before = len(self.held)
            found = [
                f"{self.module}:{node.lineno}: {ast.unparse(node)}"
                for use in ast.walk(self.tree)
                if isinstance(use, (ast.Name, ast.Attribute)) and self._is_held(use)
                for node in self._lost(use)
            ]
        return found

    def _binds(self, node: ast.AST) -> Iterator[tuple[str, bool]]:
        """(name, whether a declared module gives it)."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            text = ast.unparse(node)
            package = self.module if self.module == "zelo" else self.module.rpartition(".")[0]
            for local, targets in source.parse(text, self.module, package).bindings.items():
                yield local, any(declared(there) for there, _ in targets)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, False
        elif isinstance(node, ast.arg):
            yield node.arg, node.arg == "advance"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, False

    def _scope(self, node: ast.AST) -> ast.AST:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, Function):
                break
        return node

    def _is_held(self, use: ast.Name | ast.Attribute) -> bool:
        if not isinstance(use.ctx, ast.Load):
            return False
        if isinstance(use, ast.Attribute):
            return (self.tree, ast.unparse(use)) in self.held
        scope = self._scope(use)
        while (scope, use.id) not in self.bound and scope is not self.tree:
            scope = self._scope(scope)
        return (scope, use.id) in self.held

    def _lost(self, use: ast.expr) -> Iterator[ast.expr]:
        """The expression that a use is, where its value goes into another; a name that it is put into is held from now on."""
        node, parent = use, self.parents[use]
        while True:
            if isinstance(parent, (ast.arg, ast.AnnAssign)) or getattr(parent, "returns", None) is node:
                return  # a type
            if isinstance(parent, (ast.BinOp, ast.Subscript)) and self._is_type(parent):
                return
            if (self.module, ast.unparse(node)) in ALLOWED:
                self.allowed.add((self.module, ast.unparse(node)))
                return
            if isinstance(parent, ast.keyword):
                node, parent = node, self.parents[parent]
            if isinstance(parent, ast.Call) and parent.func is not node:
                called = ast.unparse(parent.func).rpartition(".")[2]
                if called in PLACES or (called in self.takers and isinstance(node, (ast.Name, ast.Attribute))):
                    return
                if called not in ("nullcontext", "enter_context"):  # these pass on what they are given
                    break
            elif not isinstance(parent, (ast.Attribute, ast.Call, ast.IfExp)) or getattr(parent, "test", None) is node:
                break
            node, parent = parent, self.parents[parent]
        if isinstance(parent, ast.Expr) or (isinstance(parent, ast.If) and self._only_tells(parent)):
            return
        if isinstance(parent, ast.Dict):
            key = parent.keys[parent.values.index(node)] if node in parent.values else None
            if isinstance(key, ast.Constant) and key.value in FACTS:
                return
        targets = parent.targets if isinstance(parent, ast.Assign) else []
        if isinstance(parent, ast.withitem):
            targets = [parent.optional_vars] if parent.optional_vars else []
        names = [one for one in targets if isinstance(one, (ast.Name, ast.Attribute))]
        if isinstance(parent, (ast.withitem, ast.Assign)) and len(names) == len(targets):
            for one in names:
                place = (self._scope(one), one.id) if isinstance(one, ast.Name) else (self.tree, ast.unparse(one))
                self.held.add(place)
            return
        yield node

    def _is_type(self, node: ast.AST) -> bool:
        while isinstance(node, (ast.BinOp, ast.Subscript)):
            child, node = node, self.parents[node]
            if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is child:
                return True
        return False

    def _only_tells(self, node: ast.If) -> bool:
        """Whether what hangs on it are calls of what a declared module gives, and nothing else."""
        return not node.orelse and all(
            isinstance(item, ast.Expr)
            and isinstance(item.value, ast.Call)
            and isinstance(item.value.func, ast.Name)
            and self._is_held(item.value.func)
            for item in node.body
        )


def declared(module: str) -> bool:
    return module in DECLARED


TEXTS = {module_of(path): path.read_text(encoding="utf-8") for path in sorted(TOP.rglob("*.py"))}
DECLARED = {name for name, text in TEXTS.items() if source.DECLARATION.search(text)}
TAKERS = takers(TEXTS)


def test_what_is_beside_the_results_is_computed_with_nowhere() -> None:
    assert {"zelo.progress", "zelo.backbones.device", "zelo.training.parity", "zelo.fingerprint.code_hash"} <= DECLARED
    every = [Uses(module, text, TAKERS) for module, text in TEXTS.items() if module not in DECLARED]
    computed = [place for uses in every for place in uses.computed()]
    assert not computed, "\n".join(computed)
    assert sum(bool(uses.held) for uses in every) > 20
    unused = ALLOWED.keys() - set[tuple[str, str]]().union(*(uses.allowed for uses in every))
    assert not unused, f"no longer used: {sorted(unused)}"


PARITY, PROGRESS, DEVICE = (
    "from zelo.training.parity import measure\n",
    "from zelo.progress import progress\n",
    "from zelo.backbones import device\n",
)


@pytest.mark.parametrize(
    "text",
    [
        PARITY + "def run(weights):\n    return weights * measure(weights)['largest_difference']",
        PARITY + "def run(weights):\n    parity = measure(weights)\n    weights *= parity['scale']",
        PARITY + "def run(weights):\n    found = measure(weights)\n    again = found\n    return {'scale': again}",
        PARITY + "def run(weights):\n    if measure(weights):\n        weights = weights / 2",
        "import zelo.training.parity as exported\nscale = 2 * exported.PAIRS",
        PROGRESS + "def run(rows):\n    with progress('a', 1, 'b') as advance:\n        rows[0] = advance(1)",
        PROGRESS + "def run(rows):\n    with progress('a', 1, 'b') as shown:\n        return sum(rows, shown.done)",
        PROGRESS
        + "class A:\n    def run(self):\n        self.shown = progress('a', 1, 'b')\n        return self.shown.n + 1",
        "def run(rows, advance):\n    return rows if advance else rows[1:]",
        DEVICE + "def run(rows):\n    return rows[1:] if device.chosen() == 'cuda' else rows",
        DEVICE + "def run(rows):\n    return [row * len(device.CUDA) for row in rows]",
    ],
)
def test_a_value_that_is_computed_with_is_found(text: str) -> None:
    assert Uses("zelo.stages.invented", text, TAKERS).computed()


def test_what_shows_places_and_records_is_let_through() -> None:
    text = (
        f"{PARITY}{PROGRESS}{DEVICE}"
        "def run(model, rows, advance: 'Advance | None' = None):\n"
        "    silent = [row + 1 for row in rows]\n"
        "    model.to(device.chosen())\n"
        "    with progress('a', len(rows), 'b') as advance:\n"
        "        advance(len(silent))\n"
        "    parity = measure(model)\n"
        "    return {'parity': parity}\n"
    )
    assert not Uses("zelo.stages.invented", text, TAKERS).computed()
