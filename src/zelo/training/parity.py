"""Whether an exported folder scores as the model that was trained: measured on a few pairs, before anybody relies on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.exported import CROSS_ENCODER, Exported
from zelo.errors import ZeloError
from zelo.protocols import Model
from zelo.records import document_texts

PAIRS = 20
# Largest difference of two scores in [-1, 1] by the coarsest number format that our own document vectors went through.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 2e-2}
SENTENCE_TRANSFORMERS, TRANSFORMERS, NUMPY = "sentence-transformers", "transformers", "numpy"


def measure(model: Model, folder: Path, queries: pa.Table, documents: pa.Table, device: str) -> dict[str, Any]:
    """Largest difference between the model and what others read from `folder`, the same pairs of different lengths.

    queries: QUERY; documents: DOCUMENT rows as `model` has prepared them; device: of torch, for all of them. Returns what
    the manifest says: pairs, tolerance, and the largest difference by library. Raises ZeloError naming the pair where one
    is above the tolerance or no number.
    """
    query_row, doc_row = spread(queries["text"], PAIRS), spread(documents_text(documents), PAIRS)[::-1]
    texts = queries["text"].take(pa.array(query_row)).to_pylist()
    read = document_texts(documents.take(pa.array(doc_row)))
    places = np.arange(len(doc_row))
    ours = _ours(model, texts, doc_row, device)
    if (by_file := _by_file(model, folder, texts, doc_row)) is not None:
        ours, others = ours / model.scale.item(), {NUMPY: by_file}
    else:
        exported = Exported(folder, device, f"the export {folder}", batch_size=8)
        ours = 1 / (1 + np.exp(-ours)) if exported.loader == CROSS_ENCODER else ours / model.scale.item()
        others = {SENTENCE_TRANSFORMERS: exported.scores(texts, read, places, places)}
        if exported.loader == CROSS_ENCODER and _is_classifier(folder):
            others[TRANSFORMERS] = _classified(model, folder, texts, read, device)
    tolerance = _tolerance(getattr(model, "backbone", None))
    for library, theirs in others.items():
        difference = np.abs(ours - theirs)
        worst = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
        if not difference[worst] <= tolerance:
            query, document = queries["query_id"][query_row[worst]], documents["doc_id"][doc_row[worst]]
            raise ZeloError(
                f"The export does not score as the trained model: query {query.as_py()!r} with document"
                f" {document.as_py()!r} scores {ours[worst]:.6g} here and {theirs[worst]:.6g} in {library}, a difference of"
                f" {difference[worst]:.2g} where {tolerance:g} is allowed. Nothing was exported; please report it."
            )
    largest = {library: float(np.abs(ours - theirs).max()) for library, theirs in others.items()}
    return {"pairs": len(places), "tolerance": tolerance, "largest_difference": largest}


def told(parity: dict[str, Any]) -> str:
    """What `measure` found, in words."""
    found = " and ".join(f"{value:.1g} in {library}" for library, value in parity["largest_difference"].items())
    return f"the exported model scores {parity['pairs']} pairs as the trained one, largest difference {found}"


def documents_text(documents: pa.Table) -> pa.ChunkedArray:
    """Title and text together, for their length alone."""
    return pc.binary_join_element_wise(documents["title"], documents["text"], "\n")


def spread(texts: pa.ChunkedArray, count: int) -> np.ndarray:
    """[count] rows from the shortest text to the longest, at equal steps of rank; some more than once where there are few."""
    order = np.argsort(pc.utf8_length(texts).to_numpy(), kind="stable")
    return order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)]


def _ours(model: Model, queries: list[str], doc_rows: np.ndarray, device: str) -> np.ndarray:
    import torch

    model.to(device).eval()
    with torch.no_grad():
        batch = model.collate(queries, doc_rows[:, None])
        return model({key: value.to(device) for key, value in batch.items()})[:, 0].float().cpu().numpy()


def _by_file(model: Any, folder: Path, queries: list[str], doc_rows: np.ndarray) -> np.ndarray | None:
    """[N] scores by an export that is no model of a library's, such as a matrix alone; None where it is one."""
    return model.exported_scores(folder, queries, doc_rows) if hasattr(model, "exported_scores") else None


def _is_classifier(folder: Path) -> bool:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return any("ForSequenceClassification" in name for name in config.get("architectures") or [])


def _classified(model: Any, folder: Path, queries: list[str], documents: list[str], device: str) -> np.ndarray:
    """[N] sigmoid of the one logit, by transformers alone: what TEI and vLLM read, too."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    network = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
    network = network.eval().to(device)
    read = model.backbone.pairs(tokenizer, queries, documents, model.max_length)  # a decoder's go through its template
    tokens = tokenizer.pad(read, return_tensors="pt").to(device)
    with torch.no_grad():
        return torch.sigmoid(network(**tokens).logits[:, 0].float()).cpu().numpy()


def _tolerance(backbone: Any) -> float:
    formats = ("float32", getattr(backbone, "precision", ""), getattr(backbone, "storage", ""))
    return max(TOLERANCE.get(name, 0.0) for name in formats)
