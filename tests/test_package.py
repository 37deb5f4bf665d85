"""The wheel, in an environment of its own and away from the checkout, is the whole program."""

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

pytestmark = pytest.mark.long


def call(*command: str | Path, folder: Path, **environment: str) -> str:
    """Output of a command that must succeed."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, TOP, folder=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment that holds the wheel; what it depends on is read from ours, zelo itself is not."""
    folder = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    python = folder / "bin" / "python"
    call(
        sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--python", python, wheel, folder=folder
    )
    packages = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    # The .pth files in a folder that a .pth file names are not read: our editable install of zelo stays out.
    (Path(packages) / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    place = call(python, "-c", "import zelo; print(zelo.__file__)", folder=folder)
    assert Path(place.strip()).is_relative_to(packages)
    return folder / "bin"


def test_the_wheel_carries_the_configs_and_the_data(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"zelo/conf/{path.relative_to(TOP / 'conf').as_posix()}" for path in (TOP / "conf").rglob("*.*")}
    package = {path.relative_to(TOP / "src").as_posix() for path in (TOP / "src").rglob("*.*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert configs | package <= inside
    assert "zelo/py.typed" in inside, "type checkers read the types of a package that says it has them"
    assert any(name.endswith("/licenses/LICENSE") for name in inside)
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == {"zelo", "hydra_plugins"}


def test_the_installed_program_runs_from_another_folder(programs: Path, tiny_beir: Path, tmp_path: Path) -> None:
    assert "data=PATH" in call(programs / "zelo", "--help", folder=tmp_path)
    run = (
        "until=rate",
        "dataset=beir",
        f"dataset.path={tiny_beir}",
        "retriever=bm25",
        "judge=lexical",
        "graph.degree=4",
    )
    home = str(tmp_path / "home")
    first = call(programs / "zelo", *run, folder=tmp_path, ZELO_HOME=home)
    assert "rate" in first
    assert "cached" in call(programs / "zelo", *run, folder=tmp_path, ZELO_HOME=home)
    assert "rate " in call(programs / "python", "-m", "zelo.store", "list", folder=tmp_path, ZELO_HOME=home)
    manifests = list(tmp_path.glob("multirun/zelo/*/manifest.json"))
    assert len(manifests) == 2


def test_the_installed_program_reads_its_own_data(programs: Path, tmp_path: Path) -> None:
    call(programs / "zelo", "until=load", folder=tmp_path, ZELO_HOME=str(tmp_path / "home"))
