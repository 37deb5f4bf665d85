"""Exported models as ONNX: the same scores in a process that has no torch, int8 near them, and refusals in one line."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_optimum
import numpy as np
import pyarrow as pa
import pytest
import tiny_models
import torch
from commands import STUDENTS, command
from components import component

from zelo.backbones import onnx_export
from zelo.backbones.exported import loader_of
from zelo.backbones.onnx_model import FLOAT32, INT8, OnnxModel
from zelo.errors import BadInput, ZeloError
from zelo.training import onnx_parity, parity

TEXTS = ["Sort the list in place.", "Read rows. " * 120, "", "  Grüße, 世界 🎉\n", "a file"]
DOCUMENTS = pa.table({"doc_id": [str(n) for n in range(5)], "title": ["", "csv", "", "", ""], "text": TEXTS})
READ = [f"csv\n{text}" if n == 1 else text for n, text in enumerate(TEXTS)]
ASKED = pa.table({"query_id": ["q0", "q1", "q2"], "text": ["how do I order a list", " delete ", "read rows " * 9]})
KINDS = {
    "pointwise xlm_r": ["model.onnx", "model_int8.onnx"],
    "pointwise modernbert": ["model.onnx", "model_int8.onnx"],
    "pointwise qwen3": ["model.onnx", "model_int8.onnx"],
    "pointwise llama": ["model.onnx", "model_int8.onnx"],
    "embedding modernbert": ["query.onnx", "query_int8.onnx", "document.onnx", "document_int8.onnx"],
    "both xlm_r": ["model.onnx", "model_int8.onnx"],
    "embedding qwen3": ["query.onnx", "query_int8.onnx", "document.onnx", "document_int8.onnx"],
    "late_interaction xlm_r": ["query.onnx", "query_int8.onnx", "document.onnx", "document_int8.onnx"],
}
YAML = {"qwen3": "qwen3_0_6b", "llama": "qwen3_0_6b"}
WITHOUT_TORCH = """
import importlib.abc, json, sys
class Forbidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "sentence_transformers"):
            raise ImportError(f"{name} is forbidden here")
sys.meta_path.insert(0, Forbidden())
import numpy as np
from pathlib import Path
from zelo.backbones.onnx_model import OnnxModel
folder, texts = Path(sys.argv[1]), json.loads(sys.stdin.read())
model = OnnxModel(folder, folder / "onnx", "float32", "the test")
query, doc = np.divmod(np.arange(len(texts["queries"]) * len(texts["documents"])), len(texts["documents"]))
print(json.dumps(model.scores(texts["queries"], texts["documents"], query, doc).tolist()))
"""


@pytest.fixture(
    scope="module",
    params=["pointwise xlm_r", *(pytest.param(kind, marks=pytest.mark.long) for kind in list(KINDS)[1:])],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, zelo_home: Path) -> Any:
    """(kind, model, folder of the export with onnx/ in it, what parity found): random weights of two layers."""
    kind, family = request.param.split()
    folder = tmp_path_factory.mktemp("onnx")
    decoder = {"lora_rank": None, "gradient_checkpointing": False} if family in YAML else {}
    decoder |= {"max_length": 100, "query_length": 64}
    backbone = component(
        f"backbone/{YAML.get(family, family)}", model=str(tiny_models.save(family, folder / "raw")), **decoder
    )
    changes = {"pointwise": {"max_length": 120}, "both": {"trains": "both"}}.get(kind, {})
    model = component(f"model/{'embedding' if kind == 'both' else kind}", **changes)
    torch.manual_seed(0)
    model.load(backbone, None)
    model.prepare(DOCUMENTS)
    with torch.no_grad():  # away from the start: both routes of a bi-encoder would be one otherwise
        for group in model.parameter_groups(1.0):
            for weight in group["params"]:
                weight.add_(0.01 * torch.randn_like(weight))
    model.export(folder / "export")
    measured = parity.measure(model, folder / "export", ASKED, DOCUMENTS, "cpu")
    onnx_export.write(folder / "export", folder / "export" / "onnx", "the test")
    onnx_export.link_sides(folder / "export")
    return request.param, model, folder / "export", measured


def test_it_scores_the_same_where_there_is_no_torch(exported: Any) -> None:
    kind, model, folder, _ = exported
    assert sorted(path.name for path in (folder / "onnx").iterdir()) == sorted(KINDS[kind])
    texts = json.dumps({"queries": ASKED["text"].to_pylist(), "documents": READ})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(folder)], input=texts, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        ours = model(model.collate(ASKED["text"].to_pylist(), np.tile(np.arange(5), (3, 1)))).numpy().ravel()
    ours = ours if kind.startswith("pointwise") else ours / model.scale.item()
    assert np.ptp(ours) > 0.05
    np.testing.assert_allclose(json.loads(done.stdout), ours, atol=2e-5)


def loaded(folder: Path, backend: Any) -> Any:
    import sentence_transformers

    opens = getattr(sentence_transformers, loader_of(folder, "the test"))
    return opens(str(folder), device="cpu", backend=backend, local_files_only=True)


def test_sentence_transformers_finds_the_graphs_and_scores_the_same(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own backend="onnx", at each place that a user may name."""
    kind, _, folder, _ = exported
    if kind.endswith(("qwen3", "llama")):
        pytest.skip("optimum gives a decoder position ids and a cache, which these graphs do not take")
    fake_optimum.install(monkeypatch)
    asked, places = ASKED["text"].to_pylist(), np.divmod(np.arange(15), 5)
    torch_model, onnx_model = (loaded(folder, name) for name in ("torch", "onnx"))
    if kind.startswith("pointwise"):
        pairs = [(asked[query], READ[doc]) for query, doc in zip(*places, strict=True)]
        found = [model.predict(pairs, show_progress_bar=False) for model in (torch_model, onnx_model)]
    else:
        found = [
            model.similarity(model.encode_query(asked), model.encode_document(READ)).numpy()
            for model in (torch_model, onnx_model)
        ]
    assert np.ptp(found[0]) > 0.02
    np.testing.assert_allclose(*found, atol=1e-5)
    for side, texts in (("query", asked), ("document", READ)) if (folder / "query").is_dir() else ():
        alone = [loaded(folder / side, name).encode(texts) for name in ("torch", "onnx")]
        np.testing.assert_allclose(*alone, atol=1e-5)


def test_the_cost_of_int8_is_measured_and_a_wrong_file_is_no_export(exported: Any) -> None:
    _, _, folder, measured = exported
    found = onnx_parity.measure(folder, folder / "onnx", ASKED, DOCUMENTS, measured)
    assert list(found["largest_difference"]) == ["ONNX float32", "ONNX int8"]
    assert found["largest_difference"]["ONNX float32"] < 1e-5 < found["largest_difference"]["ONNX int8"] < 0.1
    wrong = measured | {"scores": [score + 0.01 for score in measured["scores"]]}
    with pytest.raises(
        ZeloError, match=r"query 'q\d' with document '\d' scores .* in ONNX float32, a difference of 0\.01"
    ):
        onnx_parity.measure(folder, folder / "onnx", ASKED, DOCUMENTS, wrong)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    (tmp_path / "model.safetensors").write_text("")
    for precision, name in ((FLOAT32, "model.onnx"), (INT8, "model_int8.onnx")):
        with pytest.raises(BadInput, match=rf"model_path=x: .*/onnx has no {name}, .* pipeline=onnx"):
            OnnxModel(tmp_path, tmp_path / "onnx", precision, "model_path=x")
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else known(name))
    with pytest.raises(BadInput, match=r"pipeline=onnx needs onnxscript: pip install 'zelo\[onnx\]'"):
        onnx_export.check_installed()


@pytest.mark.long
def test_the_pipeline_puts_them_beside_the_models(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    raw = tiny_models.save("xlm_r", tmp_path / "raw")
    changes = {"model": raw, "max_length": 60}
    mounts = ("embedding", "reranker")
    backbone = ["backbone=xlm_r", *(f"{at}.backbone.{key}={to}" for at in mounts for key, to in changes.items())]
    students = ["model@reranker.model=pointwise", "reranker.model.max_length=80"]
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    data = [
        "dataset=beir",
        "dataset.path=FOLDER",
        "judge=lexical",
        "retriever=bm25",
        "stages.dense=null",
        "stages.evaluate.inputs.dense=null",
        "stages.evaluate.resamples=100",
    ]
    assert command("pipeline=onnx", *data, *STUDENTS, *backbone, *students) == 0
    [run] = tmp_path.glob("multirun/zelo/*")
    assert {path.name for path in (run / "reranker" / "onnx").iterdir()} == set(KINDS["pointwise xlm_r"])
    assert {path.name for path in (run / "embedding" / "onnx").iterdir()} == set(KINDS["embedding modernbert"])
    for name in ("reranker", "embedding"):  # the card's lines, where there is no torch
        [code] = re.findall(r"^```python\n(import numpy.*?)^```", (run / name / "README.md").read_text(), re.M | re.S)
        blind = "import sys\nfor name in ('torch', 'transformers', 'zelo'): sys.modules[name] = None\n" + code
        done = subprocess.run([sys.executable, "-c", blind], capture_output=True, text=True, cwd=run)
        assert done.returncode == 0, done.stderr
        if name == "reranker":
            pair = [("how do I read a file", "open() gives a file object.")]
            [score] = CrossEncoder(str(run / name), device="cpu").predict(pair)
            assert float(done.stdout.strip("[] \n")) == pytest.approx(score, abs=1e-6)
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    assert stages["onnx_reranker"]["parity"]["largest_difference"]["ONNX float32"] < 1e-5
