"""What no student can be made of or trained with, through the command: one line, the fix in it, and no training step."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import zelo.main
from zelo.errors import BadInput
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.store.store import Store
from zelo.training.trainer import Trainer

Change = Callable[[Path], None]
RERANKER = ["until=train_reranker", "model@reranker.model=pointwise"]
LATE = ["until=train_reranker"]
EMBEDDING = ["until=train_embedding"]
PAIRWISE = ["pipeline=distilled", "until=train_pairwise"]
STUDENT = {str(RERANKER): "reranker", str(LATE): "reranker", str(EMBEDDING): "embedding", str(PAIRWISE): "pairwise"}
OPTION = {"qwen3": "qwen3_0_6b", "llama": "qwen3_0_6b"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {family: tiny_models.save(family, place / family) for family in ("qwen3", "llama", "xlm_r", "modernbert")}


@pytest.fixture
def small(tiny_beir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("a training has begun"))
    data = ["dataset=beir", f"dataset.path={tiny_beir}", "retriever=bm25", "judge=lexical"]
    return [*data, "graph.degree=4", "top_k=8"]


@cache
def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
    return config


@pytest.fixture
def refused(small: list[str], zelo_home: Path) -> Callable[..., str]:
    """What is said, in one line, of a run with these choices and values, before it judges or trains."""

    def run(choices: list[str], values: dict[str, Any]) -> str:
        config = deepcopy(composed(*choices, "dataset=beir", *small[2:]))
        for key, value in {"dataset.path": small[1].partition("=")[2], **values}.items():
            OmegaConf.update(config, key, value)
        before = judged()
        with pytest.raises(BadInput) as caught:
            list(run_stages(assemble(config), Store.default()))
        assert judged() == before
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return run


@pytest.fixture
def command(
    small: list[str],
    zelo_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """What `zelo` says, in one line, to arguments that it refuses."""

    def call(*arguments: str) -> str:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["zelo", *arguments, f"hydra.run.dir={tmp_path}/run"])
        status, said = zelo.main.main(), capsys.readouterr().err.strip()
        assert status == 2, said
        assert said.startswith("zelo: ")
        assert "\n" not in said
        return said

    return call


def judged() -> list[Path]:
    return sorted(Store.default().root.glob("judge/*"))


def changed(model: Path, place: Path, change: Change) -> Path:
    change(Path(shutil.copytree(model, place)))
    return place


def described(name: str, **values: Any) -> Change:
    """Other values in one of the JSON files; None takes one away."""

    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return change


def classifier(labels: int) -> Change:
    def change(folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels).save_pretrained(folder)

    return change


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def cut(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def one_lost(folder: Path) -> None:
    sorted(folder.glob("model-*"))[1].unlink()


UNKNOWN = described("config.json", model_type="never_heard_of")
BROKEN = {
    "another architecture, pointwise": (RERANKER, "xlm_r", UNKNOWN, "never_heard_of.*name another"),
    "another architecture, embedding": (EMBEDDING, "xlm_r", UNKNOWN, "never_heard_of.*name another"),
    "another architecture, late interaction": (LATE, "xlm_r", UNKNOWN, "never_heard_of.*name another"),
    "no token to pad with": (
        EMBEDDING,
        "xlm_r",
        described("tokenizer_config.json", pad_token=None, eos_token=None),
        r"no token to pad with.* pad_token into .*tokenizer_config\.json",
    ),
    "three labels": (RERANKER, "xlm_r", classifier(3), r"another architecture: .* is \[3.* Name a model"),
    "a reranker's vectors": (
        EMBEDDING,
        "xlm_r",
        classifier(1),
        "is a reranker .*ForSequenceClassification.* model=pointwise",
    ),
    "a reranker's token vectors": (LATE, "modernbert", classifier(1), "is a reranker .* model=pointwise"),
    "an adapter alone": (EMBEDDING, "xlm_r", adapter, "adapter without its backbone.* merge_and_unload"),
    "half of the weights": (RERANKER, "xlm_r", cut, "cannot read its weights .* Fetch the model again"),
    "one file of several": (
        RERANKER,
        "llama",
        one_lost,
        "cannot read its weights .*model-00002-of.* Fetch the model again",
    ),
    "no tokenizer in it": (
        RERANKER,
        "xlm_r",
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "cannot read its tokenizer .* save it whole",
    ),
    "no JSON": (
        EMBEDDING,
        "xlm_r",
        lambda folder: (folder / "config.json").write_text("{"),
        "not a valid JSON.* save it whole",
    ),
}


def on(family: str, model: Path, student: str) -> tuple[list[str], dict[str, Any]]:
    """Choices and values for this student to start from this model."""
    option = OPTION.get(family, family)
    values: dict[str, Any] = {f"{student}.backbone.model": str(model)}
    if option != family:
        values[f"{student}.backbone.lora_rank"] = None
    return [f"backbone@{student}.backbone={option}"], values


@pytest.mark.parametrize("case", BROKEN)
def test_a_backbone_that_cannot_be_read_is_refused_before_anything_is_judged(
    case: str, refused: Callable[..., str], models: dict[str, Path], tmp_path: Path
) -> None:
    arguments, family, change, words = BROKEN[case]
    folder = changed(models[family], tmp_path / "changed", change)
    choices, values = on(family, folder, STUDENT[str(arguments)])
    said = refused([*arguments, *choices], values)
    assert re.search(f"{folder}.*{words}", said) or re.search(f"{words}.*{folder}", said), said


SETTINGS = {
    "token": (
        RERANKER,
        "qwen3",
        {"backbone.token": "Yes, sir"},
        r"token='Yes, sir' is not one token .* Set backbone\.token",
    ),
    "pair of an encoder": (
        RERANKER,
        "xlm_r",
        {"model.max_length": 300},
        r"model\.max_length=300: .*at most 256 tokens; lower",
    ),
    "pair of a decoder": (
        RERANKER,
        "qwen3",
        {"model.max_length": 300},
        r"model\.max_length=300: .*at most 256 tokens; lower",
    ),
    "two documents": (PAIRWISE, "xlm_r", {}, r"model\.max_length=288: .*at most 256 tokens; lower"),
    "late interaction of a decoder": (LATE, "qwen3", {}, "late_interaction .*Decoder.* encoder: backbone=minilm"),
    "document": (
        EMBEDDING,
        "xlm_r",
        {"backbone.max_length": 300},
        r"backbone\.max_length=300: .*at most 256 tokens; lower",
    ),
    "query": (
        EMBEDDING,
        "xlm_r",
        {"backbone.query_length": 300},
        r"backbone\.query_length=300: .*at most 256 tokens; lower",
    ),
    "query of token vectors": (
        LATE,
        "xlm_r",
        {"backbone.query_length": 300},
        r"backbone\.query_length=300: .*at most 256 tokens; lower",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_the_backbone_cannot_have_are_refused_before_anything_is_judged(
    case: str, refused: Callable[..., str], models: dict[str, Path]
) -> None:
    arguments, family, settings, words = SETTINGS[case]
    student = STUDENT[str(arguments)]
    choices, values = on(family, models[family], student)
    said = refused([*arguments, *choices], values | {f"{student}.{key}": value for key, value in settings.items()})
    assert re.search(words, said), said


# --- Examples ---

OWN = """
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Odd:
    target: float
    kept: bool

    def targets(self, rated):
        ones = np.ones(len(rated.rating))
        return np.where(self.target < 0, np.nan, ones * self.target), ones * self.kept
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*LATE, "target.target=1.5"], r"Odd: target number 0 is 1\.5; losses take targets in \[0, 1\]: scale or clip"),
        ([*LATE, "target.target=-1"], r"Odd: target number 0 is nan; losses take targets in \[0, 1\]"),
        ([*EMBEDDING, "target.kept=false"], "no document is left to train on; choose selection@target.selection=all"),
    ],
)
def test_targets_that_cannot_be_trained_on_are_refused(
    arguments: list[str],
    words: str,
    command: Callable[..., str],
    small: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "odd_parts.py").write_text(OWN)
    (tmp_path / "conf/target").mkdir(parents=True)
    (tmp_path / "conf/target/odd.yaml").write_text("_target_: odd_parts.Odd\ntarget: 0.5\nkept: true\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ZELO_ALLOW", "odd_parts")
    assert re.search(words, command("--config-dir", f"{tmp_path}/conf", "target=odd", *arguments, *small))


def test_a_quorum_that_nobody_reaches_leaves_nothing_to_train_on(command: Callable[..., str], small: list[str]) -> None:
    said = command(*LATE, "quorum=2", *small)
    assert re.search(r"quorum=2 is above the number of judges of judge, 1 \(lexical\); set it to at most 1", said)


@pytest.mark.parametrize("arguments", [LATE, EMBEDDING])
def test_lists_of_one_document_are_refused_where_documents_are_compared(
    arguments: list[str], command: Callable[..., str], small: list[str]
) -> None:
    chosen = ["selection@target.selection=stratified", "target.selection.documents=1", "target.selection.top=1"]
    said = command(*arguments, *chosen, *small)
    assert re.search("ListwiseKL compares the documents .*two rated documents.*take a loss of single documents", said)


# --- Exported models ---


def test_an_adapter_is_no_exported_model(command: Callable[..., str], models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text('{"query": "a", "documents": ["b", "c"]}\n')
    folder = changed(models["xlm_r"], tmp_path / "adapter", adapter)
    said = command("pipeline=score", f"model_path={folder}", f"run={tmp_path}/run.jsonl")
    assert re.search(f"model_path={folder}: the folder holds an adapter without its backbone.* merge_and_unload", said)
