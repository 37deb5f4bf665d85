"""What a stage's key covers: every definition that runs is in it, an edit of any is another key, an edit of a message is none."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import zelo
from zelo.fingerprint import code_hash, source
from zelo.fingerprint.code_hash import modules, reach
from zelo.main import config_folder
from zelo.pipeline.run import Step, assemble, run_stages
from zelo.store.hashing import hash_json
from zelo.store.store import Store

TOP = Path(zelo.__file__).parent


def targets(node: object) -> Iterator[tuple[str, str]]:
    """(module, class) of whatever a stage's config makes."""
    if isinstance(node, dict) and str(node.get("_target_", "")).startswith("zelo."):
        module, _, name = node["_target_"].rpartition(".")
        yield module, name
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from targets(part)


def component_classes() -> list[tuple[str, str]]:
    """(module, class) of each yaml, and of each stage of the pipelines."""
    found = {root for path in config_folder().glob("*/*.yaml") for root in targets(yaml.safe_load(path.read_text()))}
    return sorted(root for root in found if root[0].split(".")[1] not in ("tracking", "budget"))


ROOTS = component_classes()


def mutated(tree: ast.Module, spot: tuple[int, int, type]) -> str:
    """The source with another constant or operator at that place."""
    for node in ast.walk(tree):
        if (getattr(node, "lineno", 0), getattr(node, "col_offset", 0), type(node)) != spot:
            continue
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, (int, float, str)), spot
            node.value = f"{node.value}?" if isinstance(node.value, str) else node.value + 1
        elif isinstance(node, ast.BinOp):
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        elif isinstance(node, ast.Compare):
            node.ops[0] = ast.Lt() if isinstance(node.ops[0], ast.Gt) else ast.Gt()
        return ast.unparse(tree)
    raise AssertionError(spot)


def spots(chunk: source.Chunk) -> Iterator[tuple[int, int, type]]:
    """Places in a definition where something can be changed that counts."""
    for statement in chunk.statements:
        inside = {id(part) for node in ast.walk(statement) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(statement):
            counts = isinstance(node, (ast.BinOp, ast.Compare)) or (
                isinstance(node, ast.Constant) and type(node.value) in (int, float, str)
            )
            if counts and isinstance(node, ast.expr) and hasattr(node, "lineno") and id(node) not in inside:
                yield node.lineno, node.col_offset, type(node)


def package_of(module: str) -> str:
    return module.rpartition(".")[0]


def path_of(module: str) -> Path:
    path = TOP.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_an_edit_in_any_definition_that_is_reached_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One constant or operator in each module of every stage's and component's closure."""
    owners: dict[str, tuple[tuple[str, str], str]] = {}
    closures = {root: reach(*root) for root in ROOTS}
    for root in sorted(ROOTS, key=lambda root: len(closures[root])):  # the smallest that has the module
        for module, name in closures[root]:
            if (
                module not in owners
                and name in source.read(module).chunks
                and any(spots(source.read(module).chunks[name]))
            ):
                owners[module] = (root, name)
    everywhere = {module for closure in closures.values() for module, _ in closure}
    assert len(owners) > 0.9 * len(everywhere), f"nothing to change in {sorted(everywhere - owners.keys())}"
    for module, (root, name) in owners.items():
        text = mutated(ast.parse(path_of(module).read_text()), next(spots(source.read(module).chunks[name])))
        other = source.parse(text, module, package_of(module))
        with monkeypatch.context() as patch:
            patch.setattr(
                code_hash, "read", lambda name, other=other: other if name == other.module else source.read(name)
            )
            assert hash_json(sorted(reach(*root).values())) != hash_json(sorted(closures[root].values())), (
                f"{module}:{name}"
            )


class Reworded(ast.NodeTransformer):
    """Other words in every docstring and in every message of an exception, and other annotations."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args = [ast.Constant("other words"), *node.exc.args]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Expr(ast.Constant(f"{node.value.value} Or so."))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = ast.Constant("another type")
        return self.generic_visit(node)


def test_other_words_are_the_same_key() -> None:
    for module in sorted({module for root in ROOTS for module in modules(*root)}):
        text = ast.unparse(Reworded().visit(ast.parse(path_of(module).read_text())))
        plain = source.read(module)
        other = source.parse(text, module, package_of(module))
        assert {name: chunk.texts for name, chunk in other.chunks.items()} == {
            name: chunk.texts for name, chunk in plain.chunks.items()
        }, module


def test_closures_hold_what_changes_results_and_no_more() -> None:
    for root in ROOTS:
        found = modules(*root)
        beside = [
            name
            for name in found
            if name.split(".")[1] in ("reporting", "tracking", "suggestions", "arguments", "main")
        ]
        assert not beside, f"{root} reaches {beside}"
        assert not found & {
            "zelo.progress",
            "zelo.backbones.device",
            "zelo.training.parity",
        }, root
    judge, train = modules("zelo.stages.judge", "Judge"), modules("zelo.stages.train", "Train")
    assert not judge & {"zelo.budget.session", "zelo.providers.client", "zelo.ledger.ledger", "zelo.judges.chat"}
    assert {"zelo.asking", "zelo.pools", "zelo.likelihood.randomness", "zelo.records"} <= judge
    assert {"zelo.training.module", "zelo.backbones.pretrained"} <= train
    assert {
        "zelo.budget.request_batch",
        "zelo.providers.request",
        "zelo.judges.answer",
    } <= modules("zelo.judges.chat", "Chat")
    assert "zelo.likelihood.newton" in modules("zelo.solvers.thurstone", "Thurstone")


def test_libraries_count_by_major_version_where_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(module: str, name: str, version: str) -> str:
        monkeypatch.setattr(code_hash, "version", lambda distribution: version)
        code_hash.code_hash.cache_clear()
        return code_hash.code_hash(module, name)

    dense, solver = ("zelo.backbones.encoder", "Encoder"), ("zelo.solvers.thurstone", "Thurstone")
    assert key(*dense, "4.1") == key(*dense, "4.9.2") != key(*dense, "5.0")
    assert key(*dense, "0.2.1") == key(*dense, "0.2.9") != key(*dense, "0.3.0")
    assert key(*solver, "4.1") == key(*solver, "5.0")
    monkeypatch.undo()
    code_hash.code_hash.cache_clear()


class Ran:
    """The definitions of zelo that run, as (module, outermost name)."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(TOP)) and not code.co_qualname.startswith("<"):
            module = frame.f_globals.get("__name__")  # None where numba makes a function again of its own copy
            if module is not None:
                self.seen.add((module, code.co_qualname.partition(".")[0]))


OUTSIDE = (
    "zelo.pipeline.",
    "zelo.fingerprint.",
    "zelo.training.launch",
    "zelo.budget.budget",
)  # they run around a stage


@pytest.mark.parametrize("choices", [("judge=lexical",), ("judge=lexical", "graph=staged", "calibrator=offset")])
def test_whatever_runs_in_a_stage_is_in_its_key(
    choices: tuple[str, ...], tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    given = [f"dataset.path={tiny_beir}", "dataset=beir", "retriever=bm25", "until=target", "top_k=6", *choices]
    given += [] if "graph=staged" in choices else ["graph.degree=2"]

    def steps(seed: int) -> list[Step]:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("config", [*given, f"seed={seed}"], return_hydra_config=True)
            HydraConfig.instance().set_config(config)
        nodes.update(OmegaConf.to_container(config.stages, resolve=True))  # pyright: ignore[reportArgumentType,reportCallIssue]
        return assemble(config)

    nodes: dict[str, Any] = {}
    list(run_stages(steps(0), Store(tmp_path / "first")))  # so that everything is imported
    store, tables = Store(tmp_path / "second"), {}
    for step in steps(1):
        ran = Ran()
        inputs = {role: tables[place] for role, place in step.inputs.items()}

        def make(out: Path, _: object, step: Step = step, inputs: Any = inputs, ran: Ran = ran) -> dict[str, Any]:
            sys.setprofile(ran)
            try:
                return step.stage.run(inputs, out)
            finally:
                sys.setprofile(None)

        tables[step.name], _ = store.obtain(step.kind, step.identity, make)
        roots = [("zelo.store.table", "Table"), *targets(nodes[step.name])]
        covered = {key for root in roots for key in reach(*root)}
        lost = {
            (module, name)
            for module, name in ran.seen - covered
            if not module.startswith(OUTSIDE) and source.read(module).affects_results
        }
        assert len(ran.seen & covered) > 1
        assert not lost, f"{step.name} runs what is not in its key: {sorted(lost)}"
