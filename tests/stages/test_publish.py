"""What `pipeline=publish` sends to a hub on this machine: models and their cards alone, to repositories of the right names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import huggingface_hub
import pytest
import tiny_models
import yaml
from commands import command
from components import component

from zelo.backbones.exported import opened

CARD = """---
library_name: sentence-transformers
pipeline_tag: text-ranking
tags: [sentence-transformers, zelo]
---

# zelo reranker

```python
model = CrossEncoder("reranker")
```

## Upload

```sh
hf upload USER/NAME reranker
```

## Data

- 8 train queries
"""
WEIGHED = {".json", ".safetensors", ".md", ".jinja", ".txt", ".onnx", ".png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, zelo_home: Path) -> Path:
    """A run directory with two models, and files of a run that are nobody's business."""
    folder = tmp_path_factory.mktemp("run")
    raw = str(tiny_models.save("xlm_r", folder.parent / "raw"))
    for name, option, changes in (
        ("reranker", "pointwise", {"max_length": 60}),
        ("embedding", "embedding", {"trains": "both"}),
    ):
        model = component(f"model/{option}", **changes)
        model.load(component("backbone/xlm_r", model=raw, max_length=60, query_length=60), None)
        model.export(folder / name)
        (folder / name / "README.md").write_text(CARD.replace("reranker", name))
    (folder / "manifest.json").write_text(json.dumps({"status": "finished", "stages": {"train_reranker": {}}}))
    (folder / "training_examples.parquet").write_text("queries and documents")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("HF_TOKEN", hub_server.WRITER)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with hub_server.receiving() as (address, received):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.HfApi, "__init__", _told(address))
        yield received


def _told(address: str) -> Any:
    before = huggingface_hub.HfApi.__init__

    def begin(self: Any, endpoint: str | None = None, **options: Any) -> None:
        before(self, endpoint=endpoint or address, **options)

    return begin


def test_models_and_cards_are_sent_and_nothing_else(run: Path, hub: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("pipeline=publish", f"run={run}", "repo=lab/code") == 0, capfd.readouterr().err
    assert {
        name: asked["visibility"] for asked in hub.made if (name := f"{asked['organization']}/{asked['name']}")
    } == {
        "lab/code-reranker": "private",
        "lab/code-embedding": "private",
    }
    assert set(hub.sent) == {"lab/code-reranker", "lab/code-embedding"}
    for repo, files in hub.sent.items():
        name = repo.rpartition("-")[2]
        assert set(files) == {
            path.relative_to(run / name).as_posix() for path in (run / name).rglob("*") if path.is_file()
        }
        assert {Path(file).suffix for file in files} <= WEIGHED
        for file, content in files.items():
            for secret in (hub_server.WRITER, str(run), str(run.parent), str(Path.home()), "queries and documents"):
                assert secret.encode() not in content, f"{file} holds {secret}"
        card = files["README.md"].decode()
        assert f'("{repo}")' in card
        assert "Upload" not in card
        assert "## Data" in card
        assert yaml.safe_load(card.split("---")[1])["library_name"] == "sentence-transformers"
    assert re.search(r"reranker is sent: http://\S+/lab/code-reranker/commit/1", capfd.readouterr().out)
    assert '("reranker")' in (run / "reranker" / "README.md").read_text(), "the run's own card stays"
    opened(run / "reranker", "cpu", "the test")


def test_a_name_alone_is_the_tokens_owners_and_a_second_call_sends_again(run: Path, hub: Any) -> None:
    for _ in range(2):
        assert command("pipeline=publish", f"run={run}", "repo=code", "private=false") == 0
    assert [asked["visibility"] for asked in hub.made] == ["public"] * 4
    assert set(hub.sent) == {"someone/code-reranker", "someone/code-embedding"}


@pytest.mark.parametrize(
    ("token", "overrides", "message"),
    [
        (None, [], "needs a token of the Hugging Face hub .*: hf auth login, or HF_TOKEN"),
        ("hf_of_nobody", [], r"repo=lab/code: the hub did not take it \(.*403.*\)\. Nothing was sent\."),
        (hub_server.WRITER, ["run=null"], "run=None: that is no run directory"),
        (hub_server.WRITER, ["run=nowhere"], "run=nowhere: that is no run directory; name one with a manifest.json"),
        (
            hub_server.WRITER,
            ["run=empty"],
            "the run has no reranker and no embedding .* Its finished stages: load, rate",
        ),
        (hub_server.WRITER, ["repo=null"], "repo=None: name the repositories of the hub"),
        (hub_server.WRITER, ["repo=a/b/c"], "repo=a/b/c: name the repositories of the hub"),
    ],
)
def test_what_cannot_be_sent_is_said_in_one_line(
    token: str | None,
    overrides: list[str],
    message: str,
    run: Path,
    hub: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token or "")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "manifest.json").write_text(json.dumps({"stages": {"load": {}, "rate": {}}}))
    given = {"run": f"run={run}", "repo": "repo=lab/code"} | {line.partition("=")[0]: line for line in overrides}
    status = command("pipeline=publish", *given.values())
    said = capfd.readouterr().err.strip()
    assert status == (1 if token == "hf_of_nobody" else 2), said
    assert re.search(message, said)
    assert "\n" not in said
    assert not hub.sent
    assert not list(tmp_path.glob("multirun/*/*")) or token == "hf_of_nobody"
