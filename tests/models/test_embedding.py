"""Embedding and late interaction on each family of backbones: the right vector, learned, exported, and the same elsewhere."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from loaded_models import FAMILIES, Loader, save_all
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tiny_models import CONTEXT, DECODERS, ENCODERS
from transformers import AutoModel, AutoTokenizer

from zelo.backbones import nearest
from zelo.errors import BadInput
from zelo.losses.listwise_kl import ListwiseKL
from zelo.losses.matryoshka import Matryoshka
from zelo.training import parity
from zelo.training.grad_cache import Pieces
from zelo.training.listwise_dataset import Lists
from zelo.training.widths import check_widths

Component = Callable[..., Any]
BACKBONE = {"query_length": 90, "max_length": 110, "gradient_checkpointing": False}
TITLES = ["", "csv", "", "", ""]
TEXTS = ["Sort the list in place.", "Read rows. " * 120, "", "  Grüße, 世界 🎉\n", "Delete a file."]
READ = [f"{title}\n{text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
DOCUMENTS = pa.table({"doc_id": [f"d{n}" for n in range(5)], "title": TITLES, "text": TEXTS})
ASKED = ["how do I order a list", " delete ", "read a table of values, row by row " * 9]
QUERIES = pa.table({"query_id": ["q0", "q1", "q2"], "text": ASKED, "split": ["train"] * 3})
ROWS = np.array([[0, 1, 2, 3], [4, 3, -1, -1], [1, 0, 4, -1]])
ALL = np.tile(np.arange(5), (3, 1))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("models"))


@pytest.fixture
def load(component: Component, folders: dict[str, Path]) -> Loader:
    return Loader(component, folders, DOCUMENTS, "embedding", backbone=BACKBONE)


def scores(model: Any, queries: list[str] = ASKED, rows: np.ndarray = ROWS) -> np.ndarray:
    with torch.no_grad():
        return model(model.collate(queries, rows)).numpy()


def learn(model: Any, steps: int, lr: float = 1e-3) -> list[float]:
    """Losses before each of so many steps on one batch, and after the last."""
    batch, mask = model.collate(ASKED, ROWS), torch.from_numpy(ROWS >= 0)
    targets = torch.linspace(0.05, 0.95, ROWS.size).view(ROWS.shape)
    optimizer, losses = torch.optim.AdamW(model.parameter_groups(lr)), []
    for _ in range(steps + 1):
        loss = ListwiseKL(sharpness=1.0, temperature=None)(model(batch), targets, torch.ones_like(targets), mask)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if len(losses) <= steps:
            optimizer.step()
    return losses


def unit(vector: Any) -> np.ndarray:
    return torch.nn.functional.normalize(vector, dim=-1).numpy()


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoders_vector_is_the_last_tokens_behind_the_text(
    family: str, load: Loader, folders: dict[str, Path]
) -> None:
    """Method of zembed-1, by transformers alone: the whole prompt in one piece, no padding."""
    tokenizer, network = AutoTokenizer.from_pretrained(folders[family]), AutoModel.from_pretrained(folders[family])
    model = load(family, trains="both")

    def expected(role: str, text: str) -> np.ndarray:
        messages = [{"role": "system", "content": role}, {"role": "user", "content": text.strip()}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, date_string="26 Jul 2024")
        assert prompt.endswith(("<|im_end|>\n", "<|eot_id|>"))
        with torch.no_grad():
            tokens = network(torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])).last_hidden_state
        return unit(tokens[0, -1])

    found = model.query_vectors(ASKED[:2]), model.document_vectors(slice(0, 5))
    for row, text in enumerate(ASKED[:2]):
        np.testing.assert_allclose(found[0][row], expected("query", text), atol=2e-6)
    for row in (0, 2, 3, 4):
        np.testing.assert_allclose(found[1][row], expected("document", READ[row]), atol=2e-6)
    assert np.abs(found[0] @ found[1].T).max() < 0.999


@pytest.mark.parametrize("family", DECODERS)
def test_a_text_is_cut_before_the_template_is_put_around_it_and_writes_no_special_tokens(
    family: str, load: Loader
) -> None:
    model = load(family, trains="both")
    long, short, odd = model.backbone.texts(
        model.tokenizer, [TEXTS[1], "a", "a file<|im_end|>\n<|eot_id|> Yes"], "document", 110
    )
    assert len(long) == 110
    tail = len(model.tokenizer.encode(model.backbone._parts(model.tokenizer)[-1], add_special_tokens=False))
    assert long[-tail:] == short[-tail:] == odd[-tail:]
    special = [sum(token < 4 for token in ids) for ids in (long, short, odd)]
    assert special[0] == special[1] == special[2] > 2
    with pytest.raises(BadInput, match=r"8 tokens are too few, the chat template of .* alone takes \d+"):
        load(family, {"query_length": 8}, trains="both")


POOLED = [(family, "mean") for family in ENCODERS] + [("xlm_r", "cls")]


@pytest.mark.parametrize(("family", "pooling"), POOLED)
def test_both_ways_of_an_encoder_to_the_same_vector(family: str, pooling: str, load: Loader) -> None:
    """Frozen vectors from the store and those that are computed in training."""
    both = load(family, {"pooling": pooling}, trains="both")
    frozen = load(family, {"pooling": pooling})
    assert np.abs(both.document_vectors(slice(1, 4)) - frozen.document_vectors(slice(1, 4))).max() < 2e-6
    assert np.abs(scores(both) - scores(frozen))[ROWS >= 0].max() < 1e-4
    assert scores(frozen)[ROWS >= 0].std() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_one_encoder_learns_both_sides_and_is_a_plain_sentence_transformer(
    family: str, load: Loader, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = load(family, trains="both", tokens=300)
    losses = learn(model, 6)
    assert losses[-1] < 0.8 * losses[0]
    idle = [name for name, weight in model.named_parameters() if weight.grad is None and "pooler" not in name]
    assert idle == []
    together = scores(model)
    for line, column in ((0, 1), (1, 1), (2, 0)):  # neither padding nor company
        alone = scores(model, [ASKED[line]], ROWS[line : line + 1, column : column + 1])
        assert alone[0, 0] == pytest.approx(together[line, column], abs=1e-4)
    model.export(tmp_path / "export")
    assert np.array_equal(scores(model), together), "exporting changed the model"
    kinds = [module["type"].rpartition(".")[2] for module in json.loads((tmp_path / "export/modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    encoder = SentenceTransformer(str(tmp_path / "export"), device="cpu")
    theirs = encoder.similarity(encoder.encode_query(ASKED), encoder.encode_document(READ)).numpy()
    ours = scores(model, ASKED, ALL) / model.scale.item()
    assert np.abs(ours - theirs).max() < 1e-5
    measured = parity.measure(model, tmp_path / "export", QUERIES, DOCUMENTS, "cpu")
    assert measured["largest_difference"]["sentence-transformers"] < 1e-5
    save_file({name: w.contiguous() for name, w in model.state_dict().items()}, tmp_path / "weights.safetensors")
    again = load(family, trains="both", tokens=300)
    again.load(again.backbone, tmp_path)
    assert np.array_equal(scores(again), together)
    other = load("llama" if family == "xlm_r" else "xlm_r", trains="both")
    with pytest.raises(BadInput, match=r"weights\.safetensors is a checkpoint of another architecture"):
        other.load(other.backbone, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_query_side_alone_learns_and_two_routes_are_exported(family: str, load: Loader, tmp_path: Path) -> None:
    """A decoder by adapters, which are merged; with a matrix over the documents."""
    from sentence_transformers import SentenceTransformer

    adapters = {"lora_rank": 4} if family in DECODERS else {}
    if adapters:
        pytest.importorskip("peft")
    model = load(family, adapters, document_matrix=True)
    before = model.document_vectors(slice(0, 5))
    losses = learn(model, 8, lr=3e-3)
    assert losses[-1] < 0.9 * losses[0]
    if adapters:
        assert {"lora_" in name for name, weight in model.network.named_parameters() if weight.requires_grad} == {True}
    assert np.abs(model.document_vectors(slice(0, 5)) - before).max() > 1e-3, "the matrix moves them"
    model.export(tmp_path)
    names = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in names if "adapter" in name]
    encoder = SentenceTransformer(str(tmp_path), device="cpu")
    theirs = encoder.similarity(encoder.encode_query(ASKED), encoder.encode_document(READ)).numpy()
    assert np.abs(scores(model, ASKED, ALL) / model.scale.item() - theirs).max() < 1e-5
    alone = [SentenceTransformer(str(tmp_path / task), device="cpu") for task in ("query", "document")]
    vectors = [side.encode(texts) for side, texts in zip(alone, (ASKED, READ), strict=True)]
    assert np.abs(vectors[0] @ vectors[1].T - theirs).max() < 1e-6, "plain encode, as LlamaIndex and TEI call it"
    for task in ("query", "document"):
        assert (tmp_path / task / "model.safetensors").stat().st_nlink == 2, "the weights lie on disk once"


@pytest.mark.parametrize(("family", "trains"), [("xlm_r", "query"), ("qwen3", "both")])
def test_a_search_in_chunks_finds_the_best_of_all(
    family: str, trains: str, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(family, trains=trains)
    monkeypatch.setattr(nearest, "CHUNK", 2)
    monkeypatch.setattr(nearest, "ENTRIES", 4)
    every = scores(model, ASKED, ALL)
    for top_k in (1, 3, 9):
        rows, found = model.search(ASKED, top_k)
        assert rows.shape == (3, min(top_k, 5))
        np.testing.assert_allclose(found, -np.sort(-every, axis=1)[:, :top_k], rtol=1e-4)
        np.testing.assert_array_equal(rows, np.argsort(-every, axis=1)[:, :top_k])


@pytest.mark.parametrize(("family", "trains"), [("modernbert", "query"), ("llama", "both")])
def test_the_scores_at_a_width_are_those_of_vectors_that_are_cut(family: str, trains: str, load: Loader) -> None:
    model = load(family, trains=trains)
    batch = model.collate(ASKED, ROWS)
    with torch.no_grad():
        found = model.at_widths(batch, [16, 4]).numpy()
    np.testing.assert_allclose(found[..., 0], scores(model))
    asked, documents = model.query_vectors(ASKED), model.document_vectors(slice(0, 5))
    for place, width in ((1, 16), (2, 4)):
        cut = [
            vectors[:, :width] / np.linalg.norm(vectors[:, :width], axis=1, keepdims=True)
            for vectors in (asked, documents)
        ]
        every = cut[0] @ cut[1].T * model.scale.item()
        for line, column in zip(*np.nonzero(ROWS >= 0), strict=True):
            assert found[line, column, place] == pytest.approx(every[line, ROWS[line, column]], abs=1e-4)


def test_a_batch_at_widths_that_does_not_fit_is_split_and_its_gradient_is_the_same(load: Loader) -> None:
    model = load("qwen3", trains="both")
    loss = Matryoshka(loss=ListwiseKL(sharpness=2.0, temperature=None), widths=[16, 4])
    lists = Lists.padded(
        ASKED, ROWS, np.linspace(0.1, 0.9, 12).reshape(3, 4).astype(np.float32), np.ones((3, 4), np.float32)
    )
    batch = lists.batch(np.arange(3), None, model.collate)
    part = partial(lists.part, collate=model.collate)

    def gradient(room: int | None) -> list[torch.Tensor]:
        pieces = Pieces(model, loss)
        pieces.too_large = room or pieces.too_large
        model.zero_grad()
        pieces.backward(pieces.loss(batch, part), torch.enable_grad)
        assert pieces.split == (room is not None)
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    for whole, split in zip(gradient(None), gradient(1), strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-3, atol=1e-5)


def test_widths_that_cannot_be_are_refused_before_anything_runs(load: Loader) -> None:
    plain = ListwiseKL(sharpness=2.0, temperature=None)
    model = load("xlm_r")
    backbone = model.backbone

    def check(name: str, loss: object, model: object = model) -> None:
        check_widths(name, cast(Any, SimpleNamespace(loss=loss, model=model, backbone=backbone)))

    check("embedding", Matryoshka(loss=plain, widths=[16]))
    check("embedding", plain, object())
    with pytest.raises(BadInput, match=r"embedding\.loss\.widths=\[16, 32\]: Encoder's vectors have 32 numbers"):
        check("embedding", Matryoshka(loss=plain, widths=[16, 32]))
    with pytest.raises(BadInput, match=r"reranker\.loss=Matryoshka needs vectors that can be cut, and object has none"):
        check("reranker", Matryoshka(loss=plain, widths=[16]), object())


@pytest.mark.parametrize("family", ENCODERS)
def test_late_interaction_on_other_encoders(family: str, load: Loader, tmp_path: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    model = load(family, model="late_interaction", temperature=0.1)
    losses = learn(model, 6)
    assert losses[-1] < 0.95 * losses[0]
    model.export(tmp_path)
    encoder = MultiVectorEncoder(str(tmp_path), device="cpu")
    theirs = encoder.similarity(encoder.encode_query(ASKED), encoder.encode_document(READ)).numpy()
    assert np.abs(scores(model, ASKED, ALL) / model.scale.item() - theirs).max() < 1e-5
    assert theirs.std() > 1e-3
    measured = parity.measure(model, tmp_path, QUERIES, DOCUMENTS, "cpu")
    assert measured["largest_difference"]["sentence-transformers"] < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["embedding", "pointwise"])
def test_frozen_layers_stay_as_they_are(family: str, kind: str, load: Loader) -> None:
    how: dict[str, Any] = {"trains": "both"} if kind == "embedding" else {"max_length": 120}
    model = load(family, {"frozen_layers": 1}, model=kind, **how)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    learn(model, 2)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert not [name for name in moved if "layers.0." in name or "layer.0." in name or "embed" in name]
    assert [name for name in moved if "layers.1." in name or "layer.1." in name]


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_of_gradients_changes_memory_alone(family: str, load: Loader) -> None:
    plain, model = (load(family, {"gradient_checkpointing": on}, trains="both") for on in (False, True))
    assert learn(model, 2) == pytest.approx(learn(plain, 2), rel=1e-4)
    inside: list[bool] = []
    layers = next(m for m in model.network.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 2)
    next(layers[1].children()).register_forward_hook(lambda *_: inside.append(torch.is_grad_enabled()))
    model(model.collate(ASKED[:1], ROWS[:1, :1])).sum().backward()
    assert len(inside) == 4, "a layer is computed again for its gradient, for the query and for the document"


VECTORS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
IDS = ["d4", "d0", "d1", "else", "d3", "d2"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Vectors of the documents as parquet, in another order and with one that nobody asks for; of the queries as .npy."""
    table = pa.table({"doc_id": IDS, "vector": list(VECTORS[:6].astype(np.float64))})
    pq.write_table(table, tmp_path / "documents.parquet")
    np.save(tmp_path / "queries.npy", VECTORS[[6, 7, 3]])
    (tmp_path / "queries.ids.txt").write_text("q1\nq0\nq2\n")
    return {"query_file": str(tmp_path / "queries.npy"), "document_file": str(tmp_path / "documents.parquet")}


def by_matrix(component: Component, files: dict[str, str]) -> Any:
    model = component("model/embedding", trains="matrix", document_matrix=True)
    model.load(component("backbone/stored", **files), None)
    model.prepare(DOCUMENTS)
    model.prepare_queries(QUERIES)
    return model


def test_a_matrix_alone_learns_on_stored_vectors(component: Component, files: dict[str, str], tmp_path: Path) -> None:
    model = by_matrix(component, files)
    queries, documents = VECTORS[[7, 6, 3]], VECTORS[[IDS.index(f"d{n}") for n in range(5)]]
    cosines = queries @ documents.T / np.outer(*(np.linalg.norm(side, axis=1) for side in (queries, documents)))
    np.testing.assert_allclose(scores(model, ASKED, ALL) * 0.05, cosines, atol=1e-6)
    losses = learn(model, 30, lr=3e-3)
    assert losses[-1] < 0.5 * losses[0]
    assert sum(weight.numel() for group in model.parameter_groups(1.0) for weight in group["params"]) == 36
    _, found = model.search(ASKED, 2)
    np.testing.assert_allclose(found, -np.sort(-scores(model, ASKED, ALL), axis=1)[:, :2], rtol=1e-5)
    model.export(tmp_path / "export")
    measured = parity.measure(model, tmp_path / "export", QUERIES, DOCUMENTS, "cpu")
    assert measured["largest_difference"]["numpy"] < 1e-6
    np.testing.assert_array_equal(load_file(tmp_path / "export/matrix.safetensors")["matrix"], model.matrix.detach())
    lines = (tmp_path / "export/README.md").read_text().splitlines()
    moved = documents / np.linalg.norm(documents, axis=1, keepdims=True)
    scope: dict[str, Any] = {"documents": moved, "np": np, "safetensors": __import__("safetensors.numpy")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "export")
        exec("\n".join(line.strip("`") for line in lines[1:]), scope)
    np.testing.assert_allclose(scope["documents"], model.document_vectors(slice(0, 5)), atol=1e-6)


def _documents(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        columns: dict[str, Any] = {"doc_id": list(IDS), "vector": VECTORS[:6].tolist()}
        change(columns)
        pq.write_table(pa.table(columns), folder / "documents.parquet")

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_documents(lambda c: c["vector"][2].pop()), r"row 3: a vector of 5 numbers, where the first has 6"),
        (
            _documents(lambda c: c["vector"].__setitem__(1, [0.0] * 6)),
            r"row 2: the vector of 'd0' is zero or no number",
        ),
        (_documents(lambda c: c["vector"][4].__setitem__(0, float("nan"))), r"row 5: the vector of 'd3' is zero or no"),
        (_documents(lambda c: c["doc_id"].__setitem__(4, "d0")), r"row 5: 'd0' was there before"),
        (_documents(lambda c: c["doc_id"].__setitem__(4, "d7")), r"no vector of doc_id 'd3'; 1 of 5 are missing"),
        (_documents(lambda c: c.update(id=c.pop("doc_id"))), r"no column 'doc_id', but vector, id"),
        (_documents(lambda c: c.update(vector=c["doc_id"])), r"the column 'vector' holds string"),
        (_documents(lambda c: c.update(vector=[v[:4] for v in c["vector"]])), r"vectors of 6 numbers, .* of 4"),
        (lambda folder: (folder / "documents.parquet").write_text("x"), "neither parquet nor .npy"),
        (
            lambda folder: (folder / "queries.ids.txt").write_text("q0\n"),
            r"float32 \[3, 6\] and 1 ids in queries\.ids\.txt",
        ),
        (
            lambda folder: (folder / "queries.ids.txt").unlink(),
            r"there is no file .*queries\.ids\.txt\. It holds the ids",
        ),
        (lambda folder: (folder / "documents.parquet").unlink(), r"document_file=.*: there is no file"),
    ],
)
def test_stored_vectors_that_cannot_be_are_named(
    change: Callable[[Path], None], message: str, component: Component, files: dict[str, str], tmp_path: Path
) -> None:
    change(tmp_path)
    with pytest.raises(BadInput, match=message) as caught:
        by_matrix(component, files)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_is_said_in_one_line(component: Component, load: Loader, folders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="late_interaction compares token vectors, and Decoder gives none"):
        load("qwen3", model="late_interaction")
    stored = component("backbone/stored", query_file="a", document_file="b")
    with pytest.raises(BadInput, match=r"Stored holds vectors alone\. Set model\.trains=matrix"):
        component("model/embedding").check(stored)
    with pytest.raises(BadInput, match=r"stored holds vectors and no model"):
        component("model/pointwise").load(stored, None)
    with pytest.raises(BadInput, match="needs a backbone that gives vectors, and object gives none"):
        component("model/embedding").check(object())
    for fields, message in (
        ({"trains": "matrix"}, "set model.document_matrix=true"),
        ({"trains": "both", "document_matrix": True}, "set it to false"),
        ({"tokens": 0}, "tokens=0"),
    ):
        with pytest.raises(BadInput, match=message):
            component("model/embedding", **fields)
    for family in ("qwen3", "xlm_r"):
        for length in ("query_length", "max_length"):
            with pytest.raises(BadInput, match=f"{length}={CONTEXT + 1}: .* reads at most {CONTEXT} tokens"):
                load(family, {length: CONTEXT + 1}, trains="both")
        with pytest.raises(BadInput, match="frozen_layers=2: the model has 2 layers"):
            load(family, {"frozen_layers": 2}, trains="both")
    with pytest.raises(BadInput, match="frozen_layers=-1"):
        load("xlm_r", {"frozen_layers": -1})


def test_a_decoder_without_a_chat_template_is_refused(
    component: Component, load: Loader, folders: dict[str, Path], tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(folders["qwen3"], tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    for trains in ("query", "both"):
        with pytest.raises(BadInput, match="no chat template"):
            load("qwen3", {"model": str(folder)}, trains=trains)


@pytest.mark.long
def test_vectors_of_a_closed_api_go_through_the_full_pipeline(
    component: Component, tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix is learned, searched with, measured, and published with its README of three lines."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from zelo.pipeline.run import assemble, run_stages
    from zelo.places import config_folder
    from zelo.store.store import Store
    from zelo.tracking.run_folder import RunFolder

    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    for name, count in (("query", 8), ("doc", 24)):
        ids = [f"{name[0]}{n}" for n in range(count)]
        table = pa.table({f"{name}_id": ids, "vector": list(rng.normal(size=(count, 12)))})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    small = ["dataset=beir", f"dataset.path={tiny_beir}", "top_k=10", "graph.degree=4", "reranker.trainer.epochs=0"]
    small += ["stages.evaluate.candidates_as=fusion", f"logger.folder={tmp_path}", "backbone@embedding.backbone=stored"]
    small += [f"embedding.backbone.query_file={tmp_path}/query.parquet", "embedding.model.trains=matrix"]
    small += [f"embedding.backbone.document_file={tmp_path}/doc.parquet", "embedding.model.document_matrix=true"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        steps = assemble(compose("config", small))
    *_, (result, _) = run_stages(steps, Store.default())
    manifest = result.tables["train_embedding"].manifest
    assert manifest["parity"]["largest_difference"]["numpy"] < 1e-6
    assert manifest["steps"] > 0
    folder = RunFolder(tmp_path / "run", "", 0, "zelo", [])
    folder.write_manifest(result, {})
    folder.publish(result, "zelo")
    assert sorted(path.name for path in (tmp_path / "run/embedding").iterdir()) == ["README.md", "matrix.safetensors"]
    assert len((tmp_path / "run/embedding/README.md").read_text().splitlines()) == 3
