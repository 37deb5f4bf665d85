"""What the import contracts cannot say: what is loaded when, and that components of one family are strangers."""

import ast
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zelo.places import config_folder

SHORT = 1000  # characters of a syntax tree: some five lines
HEAVY = (
    "torch",
    "pytorch_lightning",
    "transformers",
    "sentence_transformers",
    "wandb",
    "matplotlib",
    "numba",
    "scipy.stats",
)

START = f"""
import sys, time
start = time.perf_counter()
import importlib, pkgutil
import zelo.main, zelo.pipeline.run, zelo.stages, zelo.solvers, zelo.graphs, zelo.datasets, zelo.calibrators, zelo.targets
for package in (zelo.stages, zelo.solvers, zelo.graphs, zelo.datasets, zelo.calibrators, zelo.targets):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
seconds = time.perf_counter() - start
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(f"start-up without torch: {{seconds:.2f}} s")
sys.exit(f"loaded at start-up: {{', '.join(loaded)}}" if loaded else 0)
"""


def test_start_up_loads_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True)
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")
    assert done.returncode == 0, done.stderr


RATE = """
import sys, time
import zelo.main
start = time.perf_counter()
sys.argv = ["zelo", "until=rate", "retriever=bm25", "judge=lexical", "dataset=beir", "dataset.path=FOLDER", "graph.degree=2"]
status = zelo.main.main()
print(f"until=rate on a tiny corpus: {time.perf_counter() - start:.2f} s")
loaded = [name for name in ("torch", "pytorch_lightning", "transformers", "sentence_transformers") if name in sys.modules]
sys.exit(status or (f"loaded for ratings: {', '.join(loaded)}" if loaded else 0))
"""


@pytest.mark.usefixtures("tiny_beir")
def test_ratings_need_no_torch(tmp_path: Path) -> None:
    environment = os.environ | {"ZELO_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", RATE], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def component_modules() -> dict[str, set[str]]:
    """Group -> modules that its yaml files name."""
    found: dict[str, set[str]] = {}
    for path in config_folder().glob("*/*.yaml"):
        target = (yaml.safe_load(path.read_text()) or {}).get("_target_", "")
        if target.startswith("zelo."):
            found.setdefault(path.parent.name, set()).add(target.rpartition(".")[0])
    return found


@pytest.mark.parametrize("group", sorted(component_modules()))
def test_components_of_a_family_do_not_import_each_other(group: str) -> None:
    modules = component_modules()[group]
    for module in modules:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in modules - {module}, f"{module} imports its sibling {node.module}"


def test_no_function_is_written_twice() -> None:
    seen: dict[str, str] = {}
    top = Path(importlib.util.find_spec("zelo").origin or "").parent  # type: ignore[union-attr]
    for path in top.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = ast.dump(ast.Module(node.body[1:] if ast.get_docstring(node) else node.body, []))
                here = f"{path.relative_to(top)}:{node.name}"
                assert len(body) < SHORT or seen.setdefault(body, here) == here, f"{here} is {seen[body]} again"


def test_every_init_but_the_top_one_is_empty() -> None:
    top = Path(importlib.util.find_spec("zelo").origin or "")  # type: ignore[union-attr]
    for path in top.parent.rglob("__init__.py"):
        assert path == top or not path.read_text().strip(), f"{path} is not empty"


def test_nothing_is_imported_from_an_empty_package() -> None:
    """`from zelo.PACKAGE import name` names a module of it: what stands in a module is imported from there."""
    top = Path(importlib.util.find_spec("zelo").origin or "").parent  # type: ignore[union-attr]
    package = re.compile(r"^ *from zelo\.([a-z_.]+) import (\([^)]+\)|[\w, ]+)", re.MULTILINE)
    for path in [path for place in (top, Path(__file__).parent) for path in place.rglob("*.py")]:
        for name, imported in package.findall(path.read_text()):
            folder = top / name.replace(".", "/")
            for one in re.findall(r"(\w+)(?: as \w+)?", imported) if folder.is_dir() else ():
                assert (folder / one).is_dir() or (folder / f"{one}.py").is_file(), (
                    f"{path}: {one} is not in zelo.{name}"
                )


def test_no_room_without_a_subject() -> None:
    top = Path(importlib.util.find_spec("zelo").origin or "").parent  # type: ignore[union-attr]
    names = {path.stem for path in top.rglob("*.py")} | {path.name for path in top.rglob("*") if path.is_dir()}
    assert not names & {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def test_no_test_module_is_imported() -> None:
    """What tests share lies in tests/fakes, the only folder of theirs that is a place of imports."""
    modules = [path for path in Path(__file__).parent.rglob("*.py") if "__pycache__" not in path.parts]
    tests = {path.stem for path in modules if path.stem.startswith("test_")}
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {name.name for name in node.names} | {getattr(node, "module", None) or ""}
                assert not names & tests, (
                    f"{path} imports {', '.join(names & tests)}: move what they share to tests/fakes/"
                )


ADAPTERS = {  # files that ask a foreign object what it has -> why
    "backbones/pretrained.py": "configs of transformers, whose keys differ by architecture",
    "backbones/layers.py": "networks of transformers, whose methods differ by version",
    "backbones/lora.py": "modules of peft",
    "backbones/classifier.py": "modules of torch",
    "datasets/pydocs_reader": "modules of Python's own library",
    "ledger/database.py": "errors of sqlite3 and the system, whose codes not all have",
}


def test_no_capability_is_asked_for_by_a_string() -> None:
    """`isinstance` with a protocol instead: a misspelt string would silently answer no."""
    top, found = Path(importlib.util.find_spec("zelo").origin or "").parent, []  # type: ignore[union-attr]
    for path in sorted(top.rglob("*.py")):
        name = path.relative_to(top).as_posix()
        if not name.startswith(tuple(ADAPTERS)):
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            asked = (call for call in calls if ast.unparse(call.func) in ("hasattr", "getattr"))
            found += [
                f"{name}:{call.lineno} {ast.unparse(call)}" for call in asked if isinstance(call.args[1], ast.Constant)
            ]
    assert not found, "\n".join(found)


def test_folders_of_tests_are_packages() -> None:
    """tests/solvers/ tests zelo.solvers; what is of no package lies beside this file."""
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    top = Path(importlib.util.find_spec("zelo").origin or "").parent  # type: ignore[union-attr]
    assert folders - {"contracts"} <= {path.stem for path in top.iterdir()}


def test_one_name_is_one_class() -> None:
    """Only components may share a name, as `group=option` says which is meant."""
    top = Path(importlib.util.find_spec("zelo").origin or "").parent  # type: ignore[union-attr]
    yamls = config_folder().glob("*/*.yaml")
    components = {(yaml.safe_load(path.read_text()) or {}).get("_target_") for path in yamls}
    places: dict[str, list[str]] = {}
    for path in sorted(top.rglob("*.py")):
        module = ".".join(path.relative_to(top.parent).with_suffix("").parts)
        if "pydocs_reader" not in module:  # which runs alone, without zelo
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(f"{module}.{node.name}")
    several = [found for found in places.values() if len(found) > 1 and not components.issuperset(found)]
    assert not several, several
