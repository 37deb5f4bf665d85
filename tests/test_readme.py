"""README to the letter: its commands run, its component works, its lists are complete."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

import zelo.main
import zelo.store
from zelo.ledger import transfer
from zelo.ledger.ledger import FILE, Ledger

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
CONF = zelo.main.config_folder()


def commands(program: str) -> list[str]:
    """Every line of README's shell blocks that starts this program, environment settings before it included."""
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)).splitlines()
    return [line for line in lines if re.search(rf"^([A-Z_]+=\S+ )*(\.venv/bin/)?{program}\b", line)]


@pytest.fixture
def folder(tmp_path: Path, tiny_beir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with the files that README speaks of."""
    (tmp_path / "FIRST_STAGE.trec").write_text(
        "".join(f"q{q} Q0 d{d} {d + 1} {9 - d} me\n" for q in range(8) for d in range(9))
    )
    Ledger(tmp_path / "LEDGER.sqlite").close()
    for path, text in re.findall(r"^`(my_\S+)`:\n\n```\w+\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("line", [line for line in commands("zelo") if "PYTHONPATH" not in line])
def test_each_command_can_be_planned(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = shlex.split(line)[1:]
    plan = [] if {"--help", "plan=true"} & set(arguments) else ["plan=true"]
    if re.search(r"judge=(chat|frontier)", line):  # their plan counts questions, so it retrieves: from little here
        plan += ["dataset=beir", f"dataset.path={folder / 'FOLDER'}", "retriever=bm25"]
    monkeypatch.setattr(sys, "argv", ["zelo", *arguments, *plan])
    GlobalHydra.instance().clear()
    try:
        status = zelo.main.main()
    except SystemExit as end:  # of --help
        status = end.code
    assert not status


def test_the_component_of_ones_own_works(folder: Path) -> None:
    [line] = [line for line in commands("zelo") if "PYTHONPATH" in line]
    small = " dataset=beir dataset.path=FOLDER retriever=bm25 judge=lexical graph.degree=4"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(line + small, shell=True, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    forbidden = subprocess.run(
        (line + small).replace("ZELO_ALLOW=my_parts ", ""), shell=True, env=environment, capture_output=True, text=True
    )
    assert forbidden.returncode == 2
    assert "my_parts.certain.Certain" in forbidden.stderr


def test_make_has_every_verb() -> None:
    verbs = {shlex.split(line)[1] for line in commands("make")}
    known = set(re.findall(r"^([a-z-]+):.*## ", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "test-long", "check", "bench", "help", "install"} <= verbs <= known


def test_the_store_and_the_ledger_have_every_verb(folder: Path) -> None:
    lines = commands("python")
    assert len(lines) == 5
    Ledger(folder / "home" / FILE).close()
    for line in lines:
        _, _, module, *arguments = shlex.split(line)
        assert {"zelo.store": zelo.store, "zelo.ledger.transfer": transfer}[module].main(arguments) == 0


def test_every_group_and_option_is_named_and_the_first_is_the_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    defaults = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    chosen = {group: option for item in defaults if isinstance(item, dict) for group, option in item.items()}
    for group in sorted(path.name for path in CONF.iterdir() if path.is_dir()):
        named = re.findall(r"`(\w+)`", rows.get(group, ""))
        assert set(named) == {path.stem for path in (CONF / group).glob("*.yaml")}, f"README on {group}"
        if chosen.get(group):
            assert named[0] == chosen[group]


def test_links_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (TOP / path).exists() or path == "docs/report.png", path
