"""Which code is part of a component's identity: its own, and whatever first-party code that imports."""

import importlib
import sys
from pathlib import Path

import pytest
from commands import command

from zelo.errors import BadInput
from zelo.fingerprint import source
from zelo.fingerprint.code_hash import code_hash, modules
from zelo.fingerprint.modules import ALLOW_VARIABLE
from zelo.pipeline import identity

PARTS = {
    "parts/__init__.py": "",
    "parts/mine.py": "import json\nimport numpy as np\nimport zelo.errors\nfrom zelo import BadInput, errors\n"
    "from . import near\nfrom .deep.down import depth\nimport beside\n"
    "class Mine:\n    def work(self):\n        from parts import late\n        return late\n",
    "parts/near.py": "HERE = 1\n",
    "parts/late.py": "HERE = 1\n",
    "parts/other.py": "HERE = 1\n",
    "parts/deep/__init__.py": "",
    "parts/deep/down.py": "from ..cousin import *\nfrom zelo.likelihood import links\n",
    "parts/cousin.py": "HERE = 1\n",
    "beside.py": "HERE = 1\n",
    "elsewhere.py": "HERE = 1\n",
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package, with a module beside it."""
    for name, text in PARTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(ALLOW_VARIABLE, "parts")
    return tmp_path


def key(name: str = "parts.mine") -> str:
    """As another process would find it."""
    source.read.cache_clear()
    source._text.cache_clear()
    code_hash.cache_clear()
    importlib.invalidate_caches()
    return code_hash(name)


@pytest.mark.parametrize(
    "name",
    ["parts/near.py", "parts/late.py", "parts/deep/down.py", "parts/cousin.py", "parts/__init__.py", "beside.py"],
)
def test_an_edit_of_what_a_component_imports_is_another_key(name: str, parts: Path) -> None:
    plain = key()
    (parts / name).write_text(PARTS[name] + "HERE = 2\n")
    assert key() != plain
    (parts / name).write_text(PARTS[name] + "# a remark\n\n")
    assert key() == plain


@pytest.mark.parametrize("name", ["parts/other.py", "elsewhere.py"])
def test_an_edit_of_what_it_does_not_import_is_the_same_key(name: str, parts: Path) -> None:
    plain = key()
    (parts / name).write_text("HERE = 2\n")
    assert key() == plain


def test_libraries_and_what_stands_beside_results_are_outside(parts: Path) -> None:
    key()
    expected = {"parts", "parts.mine", "parts.near", "parts.late", "parts.deep", "parts.deep.down", "parts.cousin"}
    assert modules("parts.mine") == expected | {"beside", "zelo.errors", *modules("zelo.likelihood.links")}


def test_an_installed_package_is_followed_only_where_it_is_allowed(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = parts / "site-packages"
    (site / "bought").mkdir(parents=True)
    (site / "bought/__init__.py").write_text("HERE = 1\n")
    monkeypatch.syspath_prepend(site)
    (parts / "parts/near.py").write_text("import bought\n")
    key()
    assert "bought" not in modules("parts.mine")
    monkeypatch.setenv(ALLOW_VARIABLE, "parts, bought")
    key()
    assert "bought" in modules("parts.mine")


def test_what_zelo_passes_on_is_followed_to_where_it_is_defined(parts: Path) -> None:
    (parts / "parts/near.py").write_text("from zelo import load\n")
    key()
    assert "zelo.backbones.exported" in modules("parts.mine")


def test_the_error_of_invalid_source_names_the_line(parts: Path) -> None:
    (parts / "parts/late.py").write_text("HERE = 1\nHERE =\n")
    with pytest.raises(BadInput, match=r"parts/late\.py:2: .*parts\.late is imported by a component"):
        key()


def test_a_class_that_is_made_later_has_its_code_in_the_key(parts: Path) -> None:
    """An optimizer is a partial: it has no object yet whose module could be asked."""
    recipe = identity.recipe_of({"_target_": "parts.mine.Mine", "_partial_": True, "lr": 1}, None)
    assert isinstance(recipe, dict)
    assert recipe["_code_"] == key()


SOLVER = """
from zelo import BadInput
import shares
from zelo.solvers.thurstone import Thurstone
class Mine(Thurstone):
    def fit(self, comparisons):
        if shares.SCALE < 0:
            raise BadInput("shares.SCALE: at least 0.")
        return super().fit(comparisons)
"""


@pytest.mark.usefixtures("tiny_beir")
def test_a_users_component_runs_and_its_helper_is_part_of_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_solver.py").write_text(SOLVER)
    given = ["until=rate", "dataset=beir", "dataset.path=FOLDER", "top_k=6", "graph.degree=2", "retriever=bm25"]
    given += ["judge=lexical", "solver._target_=my_solver.Mine"]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ALLOW_VARIABLE, "my_solver")
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))

    def rated(helper: str) -> str:
        (tmp_path / "shares.py").write_text(helper)
        for name in ("my_solver", "shares"):
            sys.modules.pop(name, None)
        key("my_solver")  # a command in this process finds the files as another process would
        assert command(*given) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("rate"))

    assert "computed" in rated("SCALE = 1.0")
    assert "cached" in rated("SCALE = 1.0  # the same")
    assert "computed" in rated("SCALE = 2.00")
