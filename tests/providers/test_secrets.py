"""A key in the environment never reaches a file, the terminal or an error, however a run fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command
from fake_server import KINDS, FakeServer

from zelo.providers.request import names_variable

MARKER = "sk-marker-0123456789abcdefghijklmnop"
PLANTED = "Zq7-planted-Vw3kx9"  # in config values, of no known shape: a secret by the name of its variable
STOPS = ("http_401", "http_403", "http_404", "http_400", "http_422", "redirect", "quota", "no_credit")


def given(server: FakeServer, *overrides: str) -> list[str]:
    arguments = ["dataset=beir", "dataset.path=FOLDER", "retriever=bm25", "graph.degree=2", "top_k=6", "until=rate"]
    arguments += [
        "judge=chat",
        "judge.model=m",
        f"judge.base_url={server.base_url}",
        "judge.timeout=0.3",
        "judge.retries=0",
    ]
    return [
        *arguments,
        "judge.input_price=1",
        "judge.output_price=1",
        "budget.usd=50",
        "max_failure_rate=1",
        *overrides,
    ]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "OPENAI_API_KEY": MARKER,
        "TEAM_TOKEN": PLANTED,
        "ZELO_HOME": str(folder / "home"),
        "WANDB_DATA_DIR": str(folder),
    }
    program = [sys.executable, "-m", "zelo", *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path: Path, tiny_beir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data for a command in this process, which has the key in its environment."""
    monkeypatch.setenv("OPENAI_API_KEY", MARKER)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ZELO_COMMAND", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leaks(folder: Path, shown: str) -> list[str]:
    """Where the key, or most of it, can be read. shown: on the terminal."""
    parts = [MARKER[8:24].encode(), PLANTED[2:16].encode()]
    said = [("terminal", shown.encode())]
    files = [(str(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [name for name, content in said + files if any(part in content for part in parts)]


@pytest.mark.parametrize("logger", ["[local]", pytest.param("[wandb,csv,tensorboard]", marks=pytest.mark.long)])
def test_no_file_holds_the_key_after_every_kind_of_failure(logger: str, tmp_path: Path, tiny_beir: Path) -> None:
    kinds = [kind for kind in KINDS if kind not in STOPS]
    with FakeServer(plan=lambda seen: kinds[seen.number % len(kinds)]) as server:
        planted = [f"judge.extra_body.user={PLANTED}"]
        planted += [f"logger.loggers.wandb.notes={PLANTED}", "logger.loggers.wandb.texts=true"] * ("wandb" in logger)
        done = run(tmp_path, *given(server, f"logger={logger}", *planted))
        assert done.returncode == 0, done.stderr
        assert {seen.key for seen in server.seen} == {MARKER}
        assert set(kinds) == {seen.kind for seen in server.seen}
    assert leaks(tmp_path, done.stdout + done.stderr) == []
    assert list(tmp_path.rglob("report.html"))


@pytest.mark.parametrize(
    "options", [("debug=true",), ("-m", "seed=1,2"), ("-m", f"judge.api_key_env={MARKER},OPENAI_API_KEY")]
)
def test_a_key_in_place_of_its_variables_name_is_not_repeated(
    options: tuple[str, ...], here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with FakeServer() as server:
        status = command(*given(server, f"judge.api_key_env={MARKER}", *options))
    out, err = capfd.readouterr()
    assert status == 2, out + err
    assert "api_key_env is not the name of an environment variable" in err
    assert leaks(here, out + err) == []


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("OPENAI_API_KEY", True),
        ("_k2", True),
        ("AZURE_KEY_2026", True),
        ("sk-abc", False),
        ("", False),
        ("2KEY", False),
        ("gsk_a1b2c3d4e5f6g7h8", False),
        ("AIzaSyA1b2c3d4e5f6g7h8i9", False),
        ("a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6", False),
    ],
)
def test_what_may_be_the_name_of_a_variable(name: str, fits: bool) -> None:
    assert names_variable(name) == fits


@pytest.mark.parametrize("kind", [STOPS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in STOPS[1:])])
def test_no_error_repeats_the_key(kind: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with FakeServer(plan=lambda seen: kind) as server:
        status = command(*given(server, "debug=true"))
    out, err = capfd.readouterr()
    assert status in (2, 3), out + err
    assert "Traceback" in err
    assert leaks(here, out + err) == []
