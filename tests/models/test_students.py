"""Every model: gradients everywhere, blind to padding, the same after saving, and the same in sentence-transformers."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny_models
import torch
from components import component
from safetensors.torch import load_file, save_file

from zelo.backbones.encoder import Encoder
from zelo.errors import ZeloError
from zelo.training import parity

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted({path.stem for path in (CONF / "model").glob("*.yaml")} - {"pairwise"})  # it has tests of its own
TITLES = ["list.sort", "csv.reader", "math.sqrt", "", "os.remove"]
TEXTS = ["Sort the list in place.", "Read rows. " * 30, "The square root.", "A page without a title.", "Delete a file."]
DOCUMENTS = pa.table({"doc_id": [str(i) for i in range(5)], "title": TITLES, "text": TEXTS})
QUERIES = ["how do I order a list", "delete", "read a table of comma separated values from a file on disk, row by row"]
ROWS = np.array([[0, 1, 2, 3], [4, 3, -1, -1], [1, 0, 4, -1]])


@pytest.fixture(scope="module")
def backbone(zelo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """MiniLM's architecture with two layers and random weights."""
    return component(
        "backbone/minilm", model=str(tiny_models.save("bert", tmp_path_factory.mktemp("bert"))), sha256=None
    )


@pytest.fixture(scope="module", params=[*MODELS, "embedding with a matrix", "embedding of cls"])
def model(request, backbone: Encoder):
    torch.manual_seed(0)
    changes = {"document_matrix": True} if request.param == "embedding with a matrix" else {}
    backbone = replace(backbone, pooling="cls") if request.param == "embedding of cls" else backbone
    model = component(f"model/{request.param.partition(' ')[0]}", **changes)
    model.load(backbone, None)
    model.prepare(DOCUMENTS)
    with torch.no_grad():  # away from the start, so that what is saved is not what is loaded anyway
        for group in model.parameter_groups(1.0):
            for parameter in group["params"]:
                parameter.add_(0.003 * torch.randn_like(parameter))
    return model


def scores(model, queries: list[str], rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(model.collate(queries, rows)).numpy()


def test_every_trainable_parameter_gets_a_gradient(model) -> None:
    model = copy.deepcopy(model)
    batch = model.collate(QUERIES, ROWS)
    found = model(batch)
    assert found.shape == ROWS.shape
    found.masked_fill(torch.from_numpy(ROWS < 0), 0.0).square().sum().backward()
    used = {parameter for group in model.parameter_groups(1e-3) for parameter in group["params"]}
    without = [name for name, weight in model.named_parameters() if weight in used and weight.grad is None]
    assert [name for name in without if "pooler" not in name] == []


def test_it_scores_and_learns_in_bfloat16(model) -> None:
    model = copy.deepcopy(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(model.collate(QUERIES, ROWS))
        found.masked_fill(torch.from_numpy(ROWS < 0), 0.0).sum().backward()
    exact = scores(model, QUERIES, ROWS)[ROWS >= 0]
    assert np.abs(found.detach().float().numpy()[ROWS >= 0] - exact).max() < 0.05 * model.scale.item()


def test_padding_and_company_do_not_change_a_score(model) -> None:
    together = scores(model, QUERIES, ROWS)
    for line, query in enumerate(QUERIES):
        for column in np.flatnonzero(ROWS[line] >= 0):
            alone = scores(model, [query], ROWS[line : line + 1, column : column + 1])
            assert alone[0, 0] == pytest.approx(together[line, column], abs=2e-5)


def test_saved_and_loaded_it_gives_the_same_scores(model, backbone: Encoder, tmp_path: Path) -> None:
    save_file(
        {name: weight.contiguous() for name, weight in model.state_dict().items()}, tmp_path / "weights.safetensors"
    )
    again = copy.deepcopy(model)  # load() makes its modules again
    again.load(model.backbone, tmp_path)
    again.prepare(DOCUMENTS)
    np.testing.assert_array_equal(scores(again, QUERIES, ROWS), scores(model, QUERIES, ROWS))


def test_the_exported_folder_gives_the_same_scores_elsewhere(model, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer

    model.export(tmp_path)
    ours = scores(model, QUERIES, np.tile(np.arange(5), (3, 1)))
    texts = [f"{title}\n{text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
    if type(model).__name__ == "Pointwise":
        encoder = CrossEncoder(str(tmp_path), device="cpu")
        theirs = encoder.predict([(query, text) for query in QUERIES for text in texts]).reshape(3, 5)
        ours = 1 / (1 + np.exp(-ours))
    else:
        kind = {"Embedding": SentenceTransformer, "LateInteraction": MultiVectorEncoder}[type(model).__name__]
        encoder = kind(str(tmp_path), device="cpu")
        theirs = encoder.similarity(encoder.encode_query(QUERIES), encoder.encode_document(texts)).numpy()
        ours = ours / model.scale.item()
    assert np.abs(ours - theirs).max() < 1e-5


def test_parity_fails_where_a_weight_of_the_export_was_changed(model, tmp_path: Path) -> None:
    model.export(tmp_path)
    queries = pa.table({"query_id": ["q0", "q1", "q2"], "text": QUERIES})
    measured = parity.measure(model, tmp_path, queries, DOCUMENTS, "cpu")
    assert measured["pairs"] == 20
    libraries = ["sentence-transformers", "transformers", "pipeline=score"]
    libraries = libraries if type(model).__name__ == "Pointwise" else libraries[:1]
    libraries += ["query/ and document/"] * (type(model).__name__ == "Embedding")
    assert list(measured["largest_difference"]) == libraries
    assert max(measured["largest_difference"].values()) < 1e-5
    routed = list(tmp_path.glob("query_0_*/model.safetensors"))
    [path] = routed or [path for path in tmp_path.rglob("model.safetensors") if "document" not in str(path)]
    weights = load_file(path)
    [name] = [name for name in weights if name.endswith("encoder.layer.1.output.dense.bias")]
    weights[name] = weights[name] + 0.3 * torch.randn(weights[name].shape, generator=torch.manual_seed(0))
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(
        ZeloError, match=r"query 'q\d' with document '\d' scores .* in sentence-transformers, a difference"
    ):
        parity.measure(model, tmp_path, queries, DOCUMENTS, "cpu")


def test_embedding_search_agrees_with_its_scores(backbone: Encoder) -> None:
    model = component("model/embedding", document_matrix=True)
    model.load(backbone, None)
    model.prepare(DOCUMENTS)
    for spread in (0.0, 0.05):  # the untuned matrix, and one that moves documents
        with torch.no_grad():
            model.matrix.normal_(0, spread)
            rows, found = model.search(QUERIES, 3)
        every = scores(model, QUERIES, np.tile(np.arange(5), (3, 1)))
        np.testing.assert_allclose(found, -np.sort(-every, axis=1)[:, :3], rtol=1e-5)
        np.testing.assert_array_equal(rows, np.argsort(-every, axis=1)[:, :3])
