"""Whether an exported folder scores as the model that was trained: measured on a few pairs, before anybody relies on it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from zelo.backbones.exported import CROSS_ENCODER, Exported, opened
from zelo.backbones.exported_pairs import ExportedPairs, settings
from zelo.errors import ZeloError
from zelo.facts import Facts
from zelo.protocols import ExportedScores, Model, PairwiseModel, Precision, TokenVectorSource
from zelo.texts import document_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AFFECTS_RESULTS = False  # What is measured is a fact of the manifest; no table holds it.

PAIRS = 20
# Largest difference of two scores in [-1, 1] by the coarsest number format that our own document vectors went through;
# of a logit above 1 it is relative.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 2e-2}
SENTENCE_TRANSFORMERS, TRANSFORMERS, NUMPY = "sentence-transformers", "transformers", "numpy"
JUDGE = "judge=student"
SIDES = "query/ and document/"
PIPELINE = "pipeline=score"


@dataclass(frozen=True)
class Sample:
    """Pairs of a query and a document, of different lengths; the same for the same tables."""

    queries: list[str]
    documents: list[str]
    doc_rows: np.ndarray
    names: list[tuple[str, str]]  # query_id, doc_id

    @staticmethod
    def of(queries: pa.Table, documents: pa.Table) -> "Sample":
        """queries: QUERY; documents: DOCUMENT."""
        query_row, doc_row = spread(queries["text"], PAIRS), spread(documents_text(documents), PAIRS)[::-1]
        asked, read = queries.take(pa.array(query_row)), documents.take(pa.array(doc_row))
        names = list(zip(asked["query_id"].to_pylist(), read["doc_id"].to_pylist(), strict=True))
        return Sample(asked["text"].to_pylist(), document_texts(read), doc_row, names)

    def differences(self, ours: np.ndarray, others: dict[str, np.ndarray], tolerance: float) -> dict[str, float]:
        """The largest difference by library. ours, others: [N]. Raises ZeloError where one is too large or no number."""
        allowed = tolerance * np.maximum(1.0, np.abs(ours))
        for library, theirs in others.items():
            excess = np.abs(ours - theirs) - allowed
            worst = int(np.argmax(excess))  # the first that is no number, if there is one, ours or theirs
            if not excess[worst] <= 0:
                query, document = self.names[worst]
                raise ZeloError(
                    f"The export does not score as the trained model: query {query!r} with document {document!r} scores"
                    f" {ours[worst]:.6g} here and {theirs[worst]:.6g} in {library}, a difference of"
                    f" {abs(ours[worst] - theirs[worst]):.2g} where {allowed[worst]:.2g} is allowed. Nothing was exported;"
                    " please report it."
                )
        return {library: float(np.abs(ours - theirs).max()) for library, theirs in others.items()}


def measure(model: Model, folder: Path, queries: pa.Table, documents: pa.Table, device: str) -> Facts:
    """Largest differences between the model and what others read from `folder`, the same pairs of different lengths.

    queries: QUERY; documents: DOCUMENT rows as `model` has prepared them; device: of torch, for all of them. Returns what
    the manifest says: pairs, tolerance, our scores (a cross-encoder's are logits), and the largest difference by library;
    for a cross-encoder of the scores after its sigmoid, which hides a difference where it is flat, and of the logits. Raises
    ZeloError naming the pair where one is above the tolerance or no number.
    """
    sample, tolerance = Sample.of(queries, documents), _tolerance(model.backbone)
    facts, setting, places = {"pairs": PAIRS, "tolerance": tolerance}, f"the export {folder}", np.arange(PAIRS)
    if isinstance(model, PairwiseModel):
        return facts | _of_triples(model, folder, sample, documents, tolerance, device)
    ours = _ours(model, sample.queries, sample.doc_rows[:, None], device)
    if (by_file := _by_file(model, folder, sample)) is not None:
        return facts | _of_cosines(sample, ours / model.scale.item(), {NUMPY: by_file}, tolerance)
    exported = Exported(folder, device, setting, batch_size=8)
    theirs = exported.scores(sample.queries, sample.documents, places, places)
    if exported.loader != CROSS_ENCODER:
        found = {SENTENCE_TRANSFORMERS: theirs} | _by_sides(folder, sample, device)
        return facts | _of_cosines(sample, ours / model.scale.item(), found, tolerance)
    logits, scores = _predicted(opened(folder, device, setting), sample)
    others = {SENTENCE_TRANSFORMERS: logits}
    if _is_classifier(folder):
        # A decoder's go through its template.
        read = partial(model.backbone.pairs, queries=sample.queries, documents=sample.documents)  # type: ignore[attr-defined]
        others[TRANSFORMERS] = _classified(folder, partial(read, max_length=model.max_length), device)  # type: ignore[attr-defined]
    after = {library: expit(found) for library, found in others.items()} | {SENTENCE_TRANSFORMERS: scores}
    after[PIPELINE] = theirs
    return {
        **facts,
        "scores": ours.tolist(),
        "largest_logit_difference": sample.differences(ours, others, tolerance),
        "largest_difference": sample.differences(expit(ours), after, tolerance),
    }


def _by_sides(folder: Path, sample: Sample, device: str) -> dict[str, np.ndarray]:
    """[N] cosines by query/ and document/ of the folder, each with plain `encode`; nothing where it has no sides."""
    if not (folder / "query").is_dir():
        return {}
    texts = {"query": sample.queries, "document": sample.documents}
    query, document = (
        opened(folder / side, device, f"the export {folder / side}").encode(read, show_progress_bar=False)
        for side, read in texts.items()
    )
    return {SIDES: (query * document).sum(axis=1)}


def _of_cosines(sample: Sample, ours: np.ndarray, others: dict[str, np.ndarray], tolerance: float) -> Facts:
    return {"scores": ours.tolist(), "largest_difference": sample.differences(ours, others, tolerance)}


def _of_triples(model: Any, folder: Path, sample: Sample, documents: pa.Table, tolerance: float, device: str) -> Facts:
    """The same of a pairwise model: log odds of each document of the sample against another, and preferences."""
    rows = np.stack([sample.doc_rows, np.roll(sample.doc_rows, PAIRS // 3)], 1)
    second = document_texts(documents.take(pa.array(rows[:, 1])))
    ours = _ours(model, sample.queries, rows, device)
    read = partial(model.backbone.triples, queries=sample.queries, first=sample.documents, second=second)
    classified = _classified(folder, partial(read, max_length=model.max_length), device)
    judge = ExportedPairs(folder, device, f"the export {folder}")
    others = {
        JUDGE: judge.log_odds(sample.queries, sample.documents, second, model.tokens),
        TRANSFORMERS: classified - settings(folder, f"the export {folder}")["order_bias"],
    }
    after = {library: expit(found) for library, found in others.items()}
    return {
        "scores": ours.tolist(),
        "largest_logit_difference": sample.differences(ours, others, tolerance),
        "largest_difference": sample.differences(expit(ours), after, tolerance),
    }


def parity_in_words(parity: Facts) -> str:
    """What `measure` found, in words."""
    found = " and ".join(f"{value:.1g} in {library}" for library, value in parity["largest_difference"].items())
    logits = parity.get("largest_logit_difference", {})
    of_logits = f" (before the sigmoid {' and '.join(f'{value:.1g}' for value in logits.values())})" if logits else ""
    what = (
        "ONNX files score" if any("ONNX" in name for name in parity["largest_difference"]) else "exported model scores"
    )
    return f"the {what} {parity['pairs']} pairs as the trained one, largest difference {found}{of_logits}"


def documents_text(documents: pa.Table) -> pa.ChunkedArray:
    """Title and text together, for their length alone."""
    return pc.binary_join_element_wise(documents["title"], documents["text"], "\n")


def spread(texts: pa.ChunkedArray, count: int) -> np.ndarray:
    """[count] rows from the shortest text to the longest, at equal steps of rank; some more than once where there are few."""
    order = np.argsort(pc.utf8_length(texts).to_numpy(), kind="stable")
    return order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)]


def _ours(model: Model, queries: list[str], doc_rows: np.ndarray, device: str) -> np.ndarray:
    """[N] the first column of the scores. doc_rows: [N, D]."""
    import torch

    model.to(device).eval()
    with torch.no_grad():
        batch = model.collate(queries, doc_rows)
        return model({key: value.to(device) for key, value in batch.items()})[:, 0].float().cpu().numpy()


def _predicted(encoder: Any, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """[N] logits and [N] scores with its own activation, by a CrossEncoder."""
    import torch

    pairs, options = list(zip(sample.queries, sample.documents, strict=True)), {"batch_size": 8}
    options |= {"show_progress_bar": False}
    return encoder.predict(pairs, activation_fn=torch.nn.Identity(), **options), encoder.predict(pairs, **options)


def _by_file(model: Model, folder: Path, sample: Sample) -> np.ndarray | None:
    """[N] scores by an export that is no model of a library's, such as a matrix alone; None where it is one."""
    if not isinstance(model, ExportedScores):
        return None
    return model.exported_scores(folder, sample.queries, sample.doc_rows)


def _is_classifier(folder: Path) -> bool:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return any("ForSequenceClassification" in name for name in config.get("architectures") or [])


def _classified(
    folder: Path, read: "Callable[[PreTrainedTokenizerFast], dict[str, list[list[int]]]]", device: str
) -> np.ndarray:
    """[N] the one logit, by transformers alone: what TEI and vLLM read, too. read: what a tokenizer makes of the texts."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    options: dict[str, bool] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    network = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
    network = network.eval().to(device)
    tokens = tokenizer.pad(read(tokenizer), return_tensors="pt").to(device)
    with torch.no_grad():
        return network(**tokens).logits[:, 0].float().cpu().numpy()


def _tolerance(backbone: object) -> float:
    formats = ["float32"]
    formats += [backbone.precision] if isinstance(backbone, Precision) else []
    formats += [backbone.storage] if isinstance(backbone, TokenVectorSource) and backbone.storage else []
    return max(TOLERANCE.get(name, 0.0) for name in formats)
