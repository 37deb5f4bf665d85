"""How what is served is computed: hybrid.json of a run, and the same as a table for the cards of its models."""

import json
from typing import TYPE_CHECKING

from zelo.facts import Facts
from zelo.hybrid_score import BM25, EMBEDDING, FILE, RERANKER
from zelo.reporting import lineage

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

_SCORES = {
    BM25: "BM25, k1 {k1:g}, b {b:g}, of title and text, stemmer {stemmer}, stop words {stopwords}",
    EMBEDDING: "cosine, as the model in `{model}/` gives it",
    RERANKER: "score of the model in `{model}/`, a cross-encoder's before its sigmoid",
}


def said(result: "Result", trained: str | None = None) -> Facts | None:
    """What hybrid.json of a run says: of the last pass, or of that with the model of the stage `trained`; None without one."""
    stages = [step for step in result.steps if step.name in result.tables]
    stages = [step for step in stages if (result.tables[step.name].path / FILE).is_file()]
    stages = [step for step in stages if trained is None or trained in step.inputs.values()]
    if not stages:
        return None
    last = max(stages, key=lambda step: len(lineage.above(result, step.name)))
    inputs = last.inputs
    found = json.loads((result.tables[last.name].path / FILE).read_text(encoding="utf-8"))
    for role in (EMBEDDING, RERANKER):
        found["parts"][role]["model"] = lineage.step_of(result, inputs[role]).stage.name
    data = result.tables[inputs["data"]]
    return found | {"documents": f"{data.kind}/{data.identity}"}


def section(result: "Result", trained: str) -> str:
    """Markdown for the card of a model; empty where no hybrid of the run has it."""
    found = said(result, trained)
    if found is None:
        return ""
    lines = [
        "## Hybrid search",
        "",
        "A document's score is the sum of factor * score over three parts, for all that BM25 or the embedding has among its"
        f" {found['pool']} best. A factor is the part's weight over its scale, the deviation of its scores within a query."
        f" Weights were learned from the judges' ratings of {found['learned_from']['queries']} queries and"
        f" {found['learned_from']['known_items']} known items, no human labels.",
        "",
        "| part | score | weight | scale | factor |",
        "|---|---|---|---|---|",
    ]
    for name, part in found["parts"].items():
        score = _SCORES[name].format(**found["bm25"], **part)
        lines.append(f"| {name} | {score} | {part['weight']:.3f} | {part['scale']:g} | {part['factor']:g} |")
    return "\n".join([*lines, "", ""])
