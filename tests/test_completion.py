"""Completion: what a shell is told of a line, that it is told soon, and that bash puts it in the right place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zelo import completion

QUERY = """
import json, os, sys, time
from zelo.__main__ import main

for line in json.loads(sys.stdin.read()):
    os.environ["COMP_LINE"], sys.argv = line, ["zelo", "-sc", "query=bash"]
    print(f"> {line}")
    assert main() == 0
print("> seconds", time.process_time(), [name for name in ("torch", "transformers", "scipy") if name in sys.modules])
"""
LINES = {
    "zelo solver=": ["solver=bradley_terry", "solver=thurstone"],
    "zelo -m solver=thurstone,b": ["solver=thurstone,bradley_terry"],
    "zelo embedding.": ["embedding.backbone.", "embedding.loss.", "embedding.model.", "embedding.trainer."],
    "zelo pipeline=annotate until=": ["until=rate", "until=calibrate"],
    "zelo backbone@": ["backbone@embedding.backbone=", "backbone@reranker.backbone="],
    "zelo model@reranker.model=p": ["model@reranker.model=pairwise", "model@reranker.model=pointwise"],
    "zelo +scorer@baselines.bge=cr": ["+scorer@baselines.bge=cross_encoder"],
    "zelo pipeline=score run=RUN": ["run=RUN_FOLDER/"],
    "zelo solver=nosuch top": ["top_k="],
    "zelo 'logger=[local,csv]' logger.loggers.": ["logger.loggers.local.", "logger.loggers.csv."],
}


def test_what_fits_is_known_without_a_model_and_soon(tmp_path: Path) -> None:
    (tmp_path / "RUN_FOLDER").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", QUERY], input=json.dumps(list(LINES)), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = {part.partition("\n")[0]: part.split("\n")[1:-1] for part in done.stdout.split("> ")[1:]}
    for line, wanted in LINES.items():
        word = line.split()[-1]
        assert set(wanted) <= set(found[line]), line
        assert all(one.startswith(word) for one in found[line]), line
    assert "until=train_embedding" not in found["zelo pipeline=annotate until="]
    [took] = [line for line in found if line.startswith("seconds")]
    assert took.endswith("[]"), "nothing heavy is imported"
    assert float(took.split()[1]) < 6, "five of the lines compose a config"


@pytest.mark.parametrize(
    ("line", "offers", "becomes"),
    [
        ("zelo until=r", ["until=rate", "until=reranker"], ["rate", "reranker"]),
        ("zelo backbone@emb", ["backbone@embedding.backbone="], ["embedding.backbone="]),
        ("zelo -m solver=thur", ["solver=thurstone"], ["thurstone"]),
        ("zelo embedding.", ["embedding.loss."], ["embedding.loss."]),
    ],
)
def test_bash_replaces_what_stands_behind_its_last_break(line: str, offers: list[str], becomes: list[str]) -> None:
    script = f"""{completion.SCRIPTS["bash"]}
    zelo() {{ [[ "$1 $2" == "-sc query=bash" && "$COMP_LINE" == "{line}" ]] && printf '%s\\n' {" ".join(offers)}; }}
    COMP_WORDBREAKS=$' \\t\\n"><=;|&(:@'
    COMP_LINE="{line} later=1" COMP_POINT={len(line)}
    _zelo zelo
    printf '%s\\n' "${{COMPREPLY[@]}}"
    complete -p zelo"""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.split("\n")[:-2] == becomes, done.stderr
    assert done.stdout.split("\n")[-2] == "complete -o default -o nospace -F _zelo zelo"


def test_each_shell_has_a_script_and_another_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in ("bash", "zsh", "fish"):
        monkeypatch.setattr(sys, "argv", ["zelo", "-sc", f"install={shell}"])
        assert completion.main() == 0
        assert f"-sc query={shell}" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["zelo", "-sc", "install=csh"])
    assert completion.main() == 2
    assert 'eval "$(zelo -sc install=bash)"' in capsys.readouterr().err
