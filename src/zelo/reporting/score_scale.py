"""What a score of an exported model means: the share of relevant documents by score, and where to cut.

From the labels of dev queries, or from the judges' ratings of them where there are no labels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.backbones.exported import CROSS_ENCODER
from zelo.records import DEV
from zelo.reporting import lineage, reliability_plot
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step

PARTS = 10
PICTURE = "score_scale.png"
LEAST = 50  # scored documents, and LEAST_RELEVANT relevant ones, below which nothing is said
LEAST_RELEVANT = 5


@dataclass(frozen=True)
class Part:
    """One of the equal parts of all scored documents, by score."""

    low: float
    high: float
    documents: int
    relevant: int


@dataclass(frozen=True)
class Threshold:
    """The score that parts relevant from other documents with the best F1."""

    score: float
    precision: float
    recall: float  # of the relevant documents among those scored


@dataclass(frozen=True)
class KnownRelevance:
    """Scored dev documents of which it is known whether they are relevant, and in words how."""

    score: np.ndarray  # [N] as the export gives them
    relevant: np.ndarray  # [N] bool
    words: str
    caution: str


def parts(score: np.ndarray, relevant: np.ndarray) -> list[Part]:
    """Best first. score: [N]; relevant: [N] bool."""
    order = np.argsort(-score, kind="stable")
    found = (rows for rows in np.array_split(order, PARTS) if len(rows))
    return [Part(float(score[rows[-1]]), float(score[rows[0]]), len(rows), int(relevant[rows].sum())) for rows in found]


def threshold(score: np.ndarray, relevant: np.ndarray) -> Threshold:
    """Between two neighbouring scores, so that equal scores fall on one side. At least one document must be relevant."""
    order = np.argsort(-score, kind="stable")
    score, hits = score[order], np.cumsum(relevant[order])
    taken = np.arange(1, len(score) + 1)
    last = np.append(score[1:] < score[:-1], True)
    f1 = np.where(last, 2 * hits / (taken + hits[-1]), -1.0)  # 2 P R / (P + R)
    best = int(np.argmax(f1))
    cut = score[best] if best + 1 == len(score) else (score[best] + score[best + 1]) / 2
    return Threshold(float(cut), float(hits[best] / taken[best]), float(hits[best] / hits[-1]))


def section(step: "Step", result: "Result", loader: str, folder: Path) -> str:
    """Markdown for the card of a trained model, its picture written into `folder`; nothing where too little is known.

    loader: the class that opens the export; its scores are what the figures are about. Called after the evaluation only.
    """
    scored = _scored(step, result, loader)
    data = result.tables.get(result.upstream(step.name, "data") or "")
    known = passages.read(data) if data else None
    found = None if scored is None else _labelled(scored, result, known) or _judged(scored, step, result)
    if found is None:
        return ""
    cut, shown = threshold(found.score, found.relevant), parts(found.score, found.relevant)
    low, high = (np.array([getattr(part, end) for part in shown]) for end in ("low", "high"))
    share = np.array([part.relevant / part.documents for part in shown])
    reliability_plot.draw(low, high, share, cut.score, loader == CROSS_ENCODER, folder / PICTURE)
    rows = [
        f"| {part.low:.3f} to {part.high:.3f} | {part.documents} | {part.relevant / part.documents:.1%} |"
        for part in shown
    ]
    return "\n".join(
        [
            "",
            "## What a score means",
            "",
            f"{found.words} {len(found.score):,} documents that it scored, {int(found.relevant.sum()):,} of them relevant."
            f"{found.caution}",
            "",
            f"![Share of relevant documents by score]({PICTURE})",
            "",
            "| score | documents | relevant |",
            "|---|---|---|",
            *rows,
            "",
            f"To tell relevant documents from others, cut at **{cut.score:.3f}** (best F1 on dev: of what is above,"
            f" {cut.precision:.0%} is relevant; of what is relevant, {cut.recall:.0%} is above). It holds for these documents"
            " and this first stage; measure it again for others.",
            "",
        ]
    )


def _scored(step: "Step", result: "Result", loader: str) -> pa.Table | None:
    """SCORED rows by this student alone, as the export gives them."""
    name = next(
        (
            name
            for name in lineage.checkpoint_readers(result, step.name)
            if result.tables[name].has("scored")
            and result.upstream(name, "checkpoint")  # else a sum with other scores
            and DEV in lineage.step_of(result, name).stage.splits  # not what a second pass looks at
        ),
        None,
    )
    if name is None:
        return None
    scored = result.tables[name].read("scored")
    score = scored["score"].to_numpy().astype(np.float64)
    score = 1 / (1 + np.exp(-score)) if loader == CROSS_ENCODER else score / _scale(result.tables[step.name])
    return scored.set_column(scored.schema.get_field_index("score"), "score", pa.array(score))


def _labelled(scored: pa.Table, result: "Result", known: pa.Table | None) -> KnownRelevance | None:
    evaluated = lineage.deepest(result, "per_query")
    labels = result.upstream(evaluated, "labels") if evaluated else None
    if labels is None:
        return None
    qrels = result.tables[labels].read("qrels")
    qrels = qrels.filter(pc.equal(qrels["split"], DEV))
    scored = scored.filter(pc.is_in(scored["query_id"], pc.unique(qrels["query_id"])))
    scored = passages.by_document(scored, known, "score")
    relevant = pc.is_in(_pairs(scored), pc.unique(_pairs(qrels.filter(pc.greater(qrels["relevance"], 0)))))
    words = "From the labels of {} dev queries, which the model has not learned from:"
    return _enough(
        scored, relevant, words, " A document without a label counts as not relevant, so the shares are lower bounds."
    )


def _judged(scored: pa.Table, step: "Step", result: "Result") -> KnownRelevance | None:
    examples = result.tables[step.inputs["examples"]].read("examples")
    examples = examples.filter(pc.equal(examples["split"], DEV))
    scored = scored.filter(pc.is_in(_pairs(scored), pc.unique(_pairs(examples))))
    relevant = pc.is_in(_pairs(scored), pc.unique(_pairs(examples.filter(pc.greater(examples["target"], 0.5)))))
    words = "Without labels, against judge ratings of {} dev queries:"
    return _enough(
        scored,
        relevant,
        words,
        " Relevant here means rated above one half by the judges, and the model was trained on these ratings.",
    )


def _enough(scored: pa.Table, relevant: pa.ChunkedArray, words: str, caution: str) -> KnownRelevance | None:
    flags = relevant.to_numpy().astype(bool)
    if len(scored) < LEAST or flags.sum() < LEAST_RELEVANT:
        return None
    words = words.format(len(pc.unique(scored["query_id"])))
    return KnownRelevance(scored["score"].to_numpy(), flags, words, caution)


def _pairs(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["query_id"], table["doc_id"], "\n")


def _scale(trained: Table) -> float:
    from safetensors import safe_open

    with safe_open(trained.path / "weights.safetensors", "np") as weights:
        return float(weights.get_tensor("scale"))
