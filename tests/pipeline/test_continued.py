"""Training goes on from an export: texts are read as its folder says, and before the first step it scores as the export does."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_models
import torch
from omegaconf import OmegaConf

import zelo
from zelo.backbones.exported import Exported
from zelo.errors import BadInput
from zelo.pipeline import instantiate
from zelo.pipeline.plain import plain
from zelo.store.store import Store

Component = Callable[..., Any]
TEXTS = ["Sort the list in place.", "Read rows. " * 60, "Delete a file.", "Today"]
DOCUMENTS = pa.table({"doc_id": [f"d{n}" for n in range(4)], "title": ["", "csv", "", ""], "text": TEXTS})
READ = [f"csv\n{text}" if n == 1 else text for n, text in enumerate(TEXTS)]
ASKED = ["how do I order a list", "read rows from a file"]
ALL = np.tile(np.arange(4), (2, 1))
DECODER = {"lora_rank": None, "gradient_checkpointing": False, "max_length": 90, "query_length": 30}
ENCODER = {"query_prompt": "query: ", "document_prompt": "document: ", "max_length": 40, "query_length": 8}
KINDS = {  # -> option of model, family of the backbone, changes of both
    "embedding": ("embedding", "xlm_r", ENCODER | {"pooling": "cls"}, {"document_matrix": True}),
    "pointwise": ("pointwise", "xlm_r", {}, {"max_length": 50}),
    "late_interaction": ("late_interaction", "modernbert", ENCODER, {}),
    "of a decoder": ("embedding", "qwen3", DECODER, {"document_matrix": True}),
    "both of a decoder": ("embedding", "qwen3", DECODER, {"trains": "both"}),
    "pointwise of a decoder": ("pointwise", "qwen3", DECODER, {"max_length": 80}),
}
AS_DECODER = [
    "backbone@embedding.backbone=qwen3_0_6b",
    "backbone@reranker.backbone=qwen3_0_6b",
    "embedding.backbone.lora_rank=null",
    "reranker.backbone.lora_rank=null",
]
POINTWISE = "model@reranker.model=pointwise"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, zelo_home: Path) -> Callable[[str], Path]:
    """Kind of student -> the folder of what it exports after a step in any direction."""
    from components import component

    @cache
    def made(kind: str) -> Path:
        option, family, reads, changes = KINDS[kind]
        folder = tmp_path_factory.mktemp("exports")
        raw = tiny_models.save(family, folder / "raw")
        yaml = "qwen3_0_6b" if family == "qwen3" else family
        model = component(f"model/{option}", **changes)
        model.load(component(f"backbone/{yaml}", model=str(raw), **reads), None)
        with torch.no_grad():
            for group in model.parameter_groups(1.0):
                for weight in group["params"]:
                    weight.add_(0.02 * torch.randn_like(weight))
        model.export(folder / "export")
        return folder / "export"

    return made


def student(config: Any, name: str) -> Any:
    node: Any = plain(OmegaConf.create({"it": config.stages[f"train_{name}"].student}), resolve=True)
    return instantiate.build(node["it"], name)


def scores(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(model.collate(ASKED, ALL)).numpy()


@pytest.mark.parametrize(
    ("kinds", "overrides"),
    [
        (("embedding", "pointwise"), [POINTWISE]),
        pytest.param(("embedding", "late_interaction"), [], marks=pytest.mark.long),
        pytest.param(("of a decoder", "pointwise of a decoder"), [*AS_DECODER, POINTWISE], marks=pytest.mark.long),
        pytest.param(
            ("both of a decoder", "pointwise of a decoder"),
            [*AS_DECODER, POINTWISE, "embedding.model.trains=both"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_it_begins_where_the_export_ended(
    kinds: tuple[str, str], overrides: list[str], exported: Callable[[str], Path], tmp_path: Path
) -> None:
    named = dict(zip(("embedding", "reranker"), kinds, strict=True))
    models = [f"{name}.backbone.model={exported(kind)}" for name, kind in named.items()]
    config = zelo.compose([*models, *overrides, "embedding.backbone.max_length=39"])
    assert config.embedding.backbone.max_length == 39, "what the command line gives stays"
    config.embedding.backbone.max_length = KINDS[kinds[0]][2]["max_length"]
    query, doc = np.divmod(np.arange(8), 4)
    for name, kind in named.items():
        again = student(config, name)
        with Store.default().active():
            again.load(None)
            again.prepare(pa.table({"query_id": ["q0", "q1"], "text": ASKED}), DOCUMENTS)
        found = scores(again.model)
        if KINDS[kind][0] == "pointwise":
            found = torch.from_numpy(found).sigmoid().numpy()
        else:
            found /= again.model.scale.item()
        again.model.export(tmp_path / name)
        for folder in (exported(kind), tmp_path / name):
            theirs = Exported(folder, "cpu", "the test", 8).scores(ASKED, READ, query, doc).reshape(2, 4)
            np.testing.assert_allclose(found, theirs, atol=2e-6)
            assert theirs.std() > 1e-3


def quantise(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "gptq"}}))


def only_onnx(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.onnx")


def dense(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"idx": 3, "path": "3", "type": "x.Dense"}]))


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("embedding", None, r"an encoder for queries and another for documents.* such as .*/query"),
        ("pointwise", None, r"an encoder for queries and another for documents, .* such as .*/query"),
        ("embedding", quantise, r"its weights are quantised \(gptq\), so they do not learn"),
        ("embedding", only_onnx, "in ONNX files alone, which run and do not learn"),
        ("embedding", dense, "its vectors go through Dense modules"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    model: str, change: Any, message: str, exported: Callable[[str], Path], component: Component, tmp_path: Path
) -> None:
    folder = exported("embedding")
    if change:
        folder = shutil.copytree(folder / "query", tmp_path / "query")
        change(folder)
    made = component(f"model/{model}", **({"trains": "both"} if model == "embedding" else {}))
    with pytest.raises(BadInput, match=message) as caught:
        made.load(component("backbone/xlm_r", model=str(folder)), None)
    assert "\n" not in str(caught.value)
