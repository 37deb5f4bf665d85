"""A locale that is not UTF-8 changes nothing that is read or written, and a terminal that lacks a character is no error."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "zelo"
TEXT_MODE = {"read_text": 0, "write_text": 1}  # where the encoding stands when it is given by position


def bare(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text in whatever encoding the locale has."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or any(key.arg == "encoding" for key in call.keywords):
            continue
        if isinstance(call.func, ast.Attribute) and call.func.attr in TEXT_MODE:
            if len(call.args) <= TEXT_MODE[call.func.attr]:
                yield call
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "open":
            modes = [a.value for a in call.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            of_path = isinstance(call.func.value, (ast.Name, ast.Attribute, ast.BinOp))
            if of_path and modes and set(modes[0]) <= set("rwax+t"):
                yield call
        elif isinstance(call.func, ast.Name) and call.func.id == "open":
            yield call


def test_every_text_file_of_ours_is_utf8() -> None:
    found = [
        f"{path.relative_to(SOURCES)}:{call.lineno}"
        for path in sorted(SOURCES.rglob("*.py"))
        for call in bare(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "locale",
    [
        pytest.param({"LC_ALL": "C"}, marks=pytest.mark.long),  # Python then reads UTF-8 by itself
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_the_command_in_a_locale_of_ascii(locale: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "Bücher"
    (folder / "qrels").mkdir(parents=True)
    rows = {"corpus": [f"d{n}石" for n in range(6)], "queries": [f"q{n}é" for n in range(6)]}
    for name, ids in rows.items():
        lines = [{"_id": id_, "text": f"wörd {number % 5}"} for number, id_ in enumerate(ids)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    test = folder / "qrels/test.tsv"
    environment = {key: value for key, value in os.environ.items() if key not in ("LANG", "PYTHONUTF8")}
    environment |= {"ZELO_HOME": str(tmp_path / "home"), **locale}
    command = [sys.executable, "-m", "zelo", "dataset=beir", f"dataset.path='{folder}'", "until=labels"]

    def ran() -> tuple[int, str]:
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=-1, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout.decode("ascii" if "PYTHONIOENCODING" in locale else "utf-8")

    shown = (lambda text: text.encode("ascii", "backslashreplace").decode()) if "PYTHONIOENCODING" in locale else str
    test.write_text("q5é\td5石\t1\n", encoding="utf-8")
    status, said = ran()
    assert (status, shown("left out of training: q0é = q5é") in said) == (0, True), said
    test.write_text("q5é\tdß\t1\n", encoding="utf-8")
    status, said = ran()
    assert (status, shown(f"{test}:1: document 'dß' is not in corpus.jsonl") in said) == (2, True), said
