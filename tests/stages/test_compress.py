"""Vectors made smaller: known answers of each form, halvings that keep what can be kept, and the pipeline on a small corpus."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from zelo.errors import BadInput
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.reporting.terminal import print_results
from zelo.stages.compress import Compress
from zelo.stages.search import Search
from zelo.store.store import Store
from zelo.tracking.run_folder import RunFolder
from zelo.training.learned_projection import Fitting, fit, halved
from zelo.training.quantization import Ranges, bytes_of, coarse

PLAIN = Fitting(steps=0, queries=8, neighbours=8, temperature=0.05, lr=0.01)


def test_int8_is_the_nearest_of_256_numbers_in_a_dimensions_range() -> None:
    vectors = torch.tensor([[0.0, -1.0], [2.55, 1.55], [0.123, 0.0]])
    ranges = Ranges.of([vectors[:1], vectors[1:]])
    found = coarse(vectors, "int8", ranges)
    torch.testing.assert_close(found, torch.tensor([[0.0, -1.0], [2.55, 1.55], [0.12, 0.0]]))
    constant = torch.tensor([[0.3, 0.1], [0.3, 0.2]])
    torch.testing.assert_close(coarse(constant, "int8", Ranges.of([constant])), constant)
    many = torch.nn.functional.normalize(torch.randn(500, 64, generator=torch.manual_seed(0)), dim=1)
    ranges = Ranges.of([many])
    assert (coarse(many, "int8", ranges) - many).abs().max() <= (ranges.high - ranges.low).max() / 510 + 1e-6


def test_binary_is_the_sign_and_of_length_1() -> None:
    found = coarse(torch.tensor([[0.3, -0.2, 0.0, 0.9]]), "binary", None)
    assert found.tolist() == [[0.5, -0.5, -0.5, 0.5]]
    assert [bytes_of(384, numbers) for numbers in ("float32", "int8", "binary")] == [1536, 384, 48]
    assert bytes_of(20, "binary") == 3


def vectors(count: int, width: int, rank: int, seed: int) -> np.ndarray:
    """Of length 1, within a space of `rank` dimensions."""
    basis = np.linalg.qr(np.random.default_rng(9).normal(size=(width, rank)))[0]
    found = np.random.default_rng(seed).normal(size=(count, rank)) @ basis.T
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def chain(queries: np.ndarray, documents: np.ndarray, count: int, how: Fitting) -> list[torch.Tensor]:
    return list(fit(queries, documents, count, how, "cpu", 0, lambda _: None))


def test_vectors_of_a_narrow_space_are_halved_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 dimensions in 32: two halvings keep every cosine, a third cannot. The corpus comes in several chunks."""
    monkeypatch.setattr("zelo.backbones.nearest.CHUNK", 64)
    queries, documents = vectors(40, 32, 8, 0), vectors(200, 32, 8, 1)
    matrices = chain(queries, documents, 3, PLAIN)
    assert [tuple(matrix.shape) for matrix in matrices] == [(16, 32), (8, 16), (4, 8)]
    exact = queries @ documents.T
    for count, low, high in ((1, 0, 1e-5), (2, 0, 1e-5), (3, 0.05, 2)):
        left, right = (halved(torch.from_numpy(side), matrices[:count]) for side in (queries, documents))
        torch.testing.assert_close(left.norm(dim=1), torch.ones(40))
        error = np.abs((left @ right.T).numpy() - exact)
        assert low <= error.max() <= high
    again = chain(queries, documents, 3, PLAIN)
    assert all(torch.equal(one, other) for one, other in zip(matrices, again, strict=True))


def test_what_is_learned_keeps_more_of_the_nearest_documents_than_the_principal_components() -> None:
    """Most variance of these documents lies where no query looks. New queries of the same kind tell the two apart."""
    rng = np.random.default_rng(0)
    size = np.concatenate([np.full(8, 3.0), np.full(8, 1.0)])  # of documents
    look = np.concatenate([np.full(8, 0.2), np.full(8, 1.0)])  # of queries

    def unit(values: np.ndarray) -> np.ndarray:
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    documents = unit(rng.normal(size=(600, 16)) * size)
    queries, held_out = unit(rng.normal(size=(400, 16)) * look), unit(rng.normal(size=(100, 16)) * look)

    def kept(how: Fitting) -> float:
        """Share of the ten nearest documents that are among the ten nearest by half vectors."""
        [matrix] = chain(queries, documents, 1, how)
        left, right = (halved(torch.from_numpy(side), [matrix]).numpy() for side in (held_out, documents))
        best, found = (np.argsort(-scores, axis=1)[:, :10] for scores in (held_out @ documents.T, left @ right.T))
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best, found, strict=True)]))

    learned = Fitting(steps=200, queries=64, neighbours=16, temperature=0.05, lr=0.01)
    assert kept(learned) > kept(PLAIN) + 0.05


SETTINGS: dict[str, Any] = {
    "inputs": {},
    "halvings": 2,
    "exported": 1,
    "steps": 0,
    "queries": 8,
    "neighbours": 8,
    "temperature": 0.05,
    "lr": 0.001,
    "hardware": None,
    "seed": 0,
}


@pytest.mark.parametrize(
    "changes", [{"halvings": 0}, {"exported": 3}, {"exported": 0}, {"steps": -1}, {"queries": 1}, {"lr": 0.0}]
)
def test_settings_that_cannot_be_are_named(changes: dict[str, Any]) -> None:
    [(name, value)] = changes.items()
    with pytest.raises(BadInput, match=f"compress: .*{name}={value}"):
        Compress(**(SETTINGS | changes))


def test_a_search_with_more_halvings_than_there_are_is_refused() -> None:
    how: dict[str, Any] = {
        "numbers": "int8",
        "splits": ["test"],
        "top_k": 5,
        "hardware": None,
        "keep_own_document": False,
    }
    with pytest.raises(BadInput, match="search: halvings=1"):
        Search(inputs={}, halvings=1, **how)
    stage = Search(inputs={"halvings": "compress"}, halvings=3, **how)
    with pytest.raises(BadInput, match="halvings=3 is above the 2"):
        stage.check_inputs({"halvings": Compress(**SETTINGS)})


@pytest.mark.long
def test_the_pipeline_measures_each_form_and_exports_the_halved_model(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    (tiny_beir / "qrels").mkdir()
    for split, queries in (("dev", (4, 5)), ("test", (6, 7))):
        rows = [f"q{q}\td{d}\t1\n" for q in queries for d in (q, q + 8)]
        (tiny_beir / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    GlobalHydra.instance().clear()
    small = ["pipeline=compress", "dataset=beir", f"dataset.path={tiny_beir}", "top_k=10", "graph.degree=4"]
    small += ["stages.evaluate.candidates_as=fusion", f"logger.folder={tmp_path}", "embedding.trainer.epochs=1"]
    small += ["reranker.trainer.epochs=1", "stages.compress.steps=5", "stages.compress.exported=2"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", small)
    *_, (result, _) = run_stages(assemble(config), Store.default())
    rows = json.loads((result.tables["evaluate"].path / "metrics.json").read_text())
    sizes = {row["system"]: row["bytes_per_document"] for row in rows}
    assert sizes["bm25"] is None
    sizes = {system: size for system, size in sizes.items() if size and system.startswith("zelo-")}
    assert sizes == {
        "zelo-embedding": 1536,
        "zelo-half": 768,
        "zelo-quarter": 384,
        "zelo-eighth": 192,
        "zelo-int8": 384,
        "zelo-half-int8": 192,
        "zelo-binary": 48,
    }
    assert result.tables["evaluate"].manifest["system"] == "zelo", "the main result stays what it was"
    verdicts = json.loads((result.tables["evaluate"].path / "verdicts.json").read_text())
    assert {row["system"] for row in verdicts if row["baseline"] == "zelo-embedding"} >= set(sizes) - {"zelo-embedding"}
    whole, coarse = (result.tables[name].read("scored") for name in ("embedding", "int8"))
    order = [("query_id", "ascending"), ("doc_id", "ascending")]
    assert (
        np.abs(whole.sort_by(order)["score"].to_numpy() * 0.05 - coarse.sort_by(order)["score"].to_numpy()).max() < 0.02
    )
    folder = RunFolder(tmp_path / "run", "", 0, "zelo", [])
    folder.write_manifest(result, {})
    folder.publish(result, "zelo")
    print_results(result, tmp_path / "run", "zelo")
    assert "bytes" in capsys.readouterr().out
    assert "bytes a document" in (tmp_path / "run" / "report.html").read_text()
    model = SentenceTransformer(str(tmp_path / "run" / "embedding-small"), device="cpu")
    assert model.encode_query(["red green"]).shape == (1, 96)
    assert np.linalg.norm(model.encode_document(["red green"])) == pytest.approx(1, abs=1e-5)
