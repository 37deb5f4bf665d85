"""The quick way through a plain classifier gives the scores and the gradients of the slow one, and a notebook finds it."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from components import component

import zelo
from zelo.backbones import pair_scorer
from zelo.backbones.exported import Exported
from zelo.backbones.first_token import first_token_only
from zelo.errors import BadInput, ZeloError
from zelo.training.parity import Sample

QUERIES = ["how do I order a list", " delete ", "read rows " * 30]
DOCUMENTS = ["Sort the list in place.", "Read rows. " * 120, "", "  Grüße, 世界 🎉\n", "a file", "Read " * 40]
QUERY_ROW, DOC_ROW = np.divmod(np.random.default_rng(0).permutation(18), 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, zelo_home: Path) -> dict[str, Path]:
    found = {}
    for family in ("xlm_r", "modernbert", "qwen3"):
        folder = tmp_path_factory.mktemp(family)
        decoder = {"lora_rank": None, "gradient_checkpointing": False} if family == "qwen3" else {}
        yaml = "qwen3_0_6b" if decoder else family
        backbone = component(f"backbone/{yaml}", model=str(tiny_models.save(family, folder / "raw")), **decoder)
        model = component("model/pointwise", max_length=120)
        torch.manual_seed(0)
        model.load(backbone, None)
        model.export(folder / "export")
        found[family] = folder / "export"
    return found


@pytest.mark.parametrize("family", ["xlm_r", "modernbert", "qwen3"])
@pytest.mark.parametrize("chunk", [512, 5])
def test_it_scores_as_sentence_transformers(
    family: str, chunk: int, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import CrossEncoder

    monkeypatch.setattr(pair_scorer, "CHUNK", chunk)
    model = Exported(folders[family], "cpu", "the test", batch_size=4)
    assert (model.classifier is not None) == (family != "qwen3"), "a chat template is no plain classifier's"
    told: list[int] = []

    def advance(n: int, note: str = "") -> None:
        told.append(n)

    ours = model.scores(QUERIES, DOCUMENTS, QUERY_ROW, DOC_ROW, advance)
    pairs = [(QUERIES[query], DOCUMENTS[doc]) for query, doc in zip(QUERY_ROW, DOC_ROW, strict=True)]
    theirs = CrossEncoder(str(folders[family]), device="cpu").predict(pairs)
    assert np.abs(ours - theirs).max() < 1e-6 < np.ptp(theirs)
    assert sum(told) == len(pairs)


def test_the_first_token_of_the_last_layer_is_enough(folders: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    whole = AutoModelForSequenceClassification.from_pretrained(folders["xlm_r"]).eval()
    short = copy.deepcopy(whole)
    first_token_only(short)
    short = copy.deepcopy(short)  # as the pipeline does with components
    seen: list[torch.Size] = []
    short.base_model.encoder.layer[-1].output.register_forward_hook(lambda *found: seen.append(found[2].shape))
    batch = {
        "input_ids": torch.randint(4, 300, (3, 9)),
        "attention_mask": torch.arange(9) < torch.tensor([[9], [4], [2]]),
    }
    batch["input_ids"][~batch["attention_mask"]] = 1
    logits = []
    for network in (whole, short):
        logits.append(network(**batch).logits)
        logits[-1].square().sum().backward()
    assert seen == [torch.Size([3, 1, 32])]
    torch.testing.assert_close(logits[0], logits[1])
    weights = dict(whole.named_parameters())
    assert list(weights) == [name for name, _ in short.named_parameters()]
    for name, weight in short.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, weights[name].grad, rtol=1e-4, atol=1e-5)  # rounding; they reach 1


def test_three_lines_of_python(folders: dict[str, Path], tmp_path: Path) -> None:
    found = zelo.rerank(folders["xlm_r"], QUERIES[0], DOCUMENTS)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert sorted(place for place, _ in found) == list(range(6))
    assert found == zelo.load(folders["xlm_r"]).rank(QUERIES[0], DOCUMENTS)
    for query, documents in ((QUERIES[0], "text"), (QUERIES[0], [1, 2]), (QUERIES, DOCUMENTS)):
        with pytest.raises(TypeError, match="give"):
            zelo.load(folders["xlm_r"]).rank(query, documents)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"load\('.*'\): there is no such folder"):
        zelo.load(tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_text("")
    with pytest.raises(BadInput, match="holds an adapter without its backbone"):
        zelo.load(tmp_path)


def test_to_import_zelo_loads_nothing() -> None:
    heavy = ("torch", "transformers", "numpy", "pyarrow", "hydra")
    script = f"import sys, zelo; sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    done: Any = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(("family", "served"), [("xlm_r", True), ("modernbert", True), ("qwen3", False)])
def test_a_card_says_what_serves_the_folder(family: str, served: bool, folders: dict[str, Path]) -> None:
    from zelo.reporting import serving

    words = serving.section(folders[family], "CrossEncoder")
    assert ("text-embeddings-inference:" in words) == served
    assert ("Text Embeddings Inference does not load it" in words) != served
    assert "vllm serve export --runner pooling" in words
    assert ("--chat-template export/chat_template.jinja" in words) == (family == "qwen3")
    assert ("does not list ModernBertForSequenceClassification" in words) == (family == "modernbert")
    assert "hf upload USER/NAME export" in words
    assert str(folders[family].parent) not in words


def test_a_licence_is_read_and_never_guessed(tmp_path: Path) -> None:
    from zelo.reporting import model_card

    assert model_card._said([tmp_path], "license") is None
    head = "language: en\nlicense: mit\nbase_model: owner/name"
    for text, found in ((f"---\n{head}\n---\n# A\n", ["mit", "owner/name"]), (f"# A\n{head}\n", [None, None])):
        (tmp_path / "README.md").write_text(text)
        assert [model_card._said([tmp_path / "no", tmp_path], field) for field in ("license", "base_model")] == found
    assert "names no licence" in model_card._terms(None, "owner/name")
    assert model_card._public("/home/somebody/outcomes.parquet") == "outcomes.parquet"
    assert model_card._public("BAAI/bge-m3") == "BAAI/bge-m3"


def test_what_a_score_means_from_labels_or_else_from_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zelo.pipeline.run import Result, Step
    from zelo.reporting import score_scale
    from zelo.store.table import Table

    ids = {"query_id": ["q1"] * 60, "doc_id": [f"d{n}" for n in range(60)]}
    score = np.linspace(-3, 3, 60)
    scored = pa.table({**ids, "score": score})
    examples = pa.table({**ids, "split": ["dev"] * 60, "target": np.where(score > 1, 0.9, 0.1)})
    qrels = pa.table({"query_id": ["q1"] * 8, "doc_id": ids["doc_id"][-8:], "split": ["dev"] * 8, "relevance": [1] * 8})

    def table(kind: str, name: str, rows: pa.Table) -> Table:
        (tmp_path / kind).mkdir()
        pq.write_table(rows, tmp_path / kind / f"{name}.parquet")
        return Table(kind, "", tmp_path / kind, {})

    train = Step("train", None, "", {"examples": "target"})
    steps = [train, Step("evaluate", None, "", {"labels": "labels"})]
    tables = {"target": table("target", "examples", examples), "labels": table("labels", "qrels", qrels)}
    result = Result(steps, tables | {"evaluate": table("evaluate", "per_query", qrels)})
    monkeypatch.setattr(score_scale, "_scored", lambda *_: scored)
    words = score_scale.section(train, result, "CrossEncoder", tmp_path)
    assert "From the labels of 1 dev queries" in words
    assert "60 documents that it scored, 8 of them relevant" in words
    assert (tmp_path / score_scale.PICTURE).read_bytes().startswith(b"\x89PNG")
    del result.tables["evaluate"]
    words = score_scale.section(train, result, "CrossEncoder", tmp_path)
    assert (
        f"against judge ratings of 1 dev queries: 60 documents that it scored, {(score > 1).sum()} of them relevant"
        in words
    )
    assert "rated above one half by the judges" in words


@pytest.mark.parametrize(("ours", "theirs"), [(np.nan, 0.5), (0.5, np.nan), (np.nan, np.nan), (0.5, 0.6)])
def test_what_is_no_number_or_too_far_off_is_no_parity(ours: float, theirs: float) -> None:
    sample = Sample(["q", "q"], ["a", "b"], np.arange(2), [("q1", "a"), ("q1", "b")])
    with pytest.raises(ZeloError, match="query 'q1' with document 'b'"):
        sample.differences(np.array([0.1, ours]), {"elsewhere": np.array([0.1, theirs])}, 1e-4)
    assert sample.differences(np.array([0.1, 0.5]), {"elsewhere": np.array([0.1, 0.5])}, 1e-4) == {"elsewhere": 0.0}
