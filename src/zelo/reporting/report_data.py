"""What the report of a run shows, gathered from the facts that the stages wrote beside their tables."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.records import DEV
from zelo.reporting import (
    acquired,
    browser_sources,
    by_domain,
    data_card,
    disagreements,
    judge_costs,
    lineage,
    rating_facts,
    rerankers,
    run_header,
    side_by_side_page,
)
from zelo.reporting.audit_page import Audited
from zelo.reporting.disagreements import DisputedPair
from zelo.reporting.evaluation import Evaluation
from zelo.reporting.gains import pick
from zelo.reporting.notes import notes
from zelo.reporting.query_browser import QueryBrowser, query_browser
from zelo.reporting.rating_facts import RatingFacts, rows_of
from zelo.reporting.side_by_side_page import SideBySideResult
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

MATRICES = 6  # queries of which the report shows every preference


@dataclass(frozen=True)
class ReportData:
    """All that the report shows, free of store and config.

    browser: None where no query was evaluated or rated.
    header: what was run, (subject, words).
    verdicts: {system, baseline, metric, split, value, baseline_value, difference, ci_low, ci_high, p_value, verdict, text};
        the interval is that of the difference; verdict is one of evaluation/verdict.py's words. A student's first one
        is its main one: the others are shown small, without a picture of gains. `protocol` "judge": agreement, not quality.
    groups: system -> one of figures.GROUPS.
    metrics: rows with the keys of records.METRIC; the interval is that of the value.
    per_query: system, metric, split, query_id, value.
    curves: student -> {step, epoch, train_loss, dev, metric}, the first point being the untuned model; None where not measured.
    stages: {name, status: computed|cached|partial, seconds, megabytes, peak_memory_mb, identity, rows}, None where not known, and
        perhaps computed_in: the seconds that a cached stage took when it was computed.
    audit: audit.json, of a pipeline that audits instead of training.
    judges: what judge_costs.rows found, one a judge.
    disagreements: None where a single judge answered; judged_by: the stage that asked, where several did.
    ratings: None where nothing was rated.
    card: what the data is like, (subject, words).
    domains: what by_domain.view found; None where queries are not from several domains.
    rerankers: rerankers.json, of a pipeline that compares them over several first stages.
    side_by_side: rankings that judges compared blind, one for each stage that did.
    probabilities: probabilities.json, where dev and test have labels.
    """

    title: str
    verdicts: list[Facts]
    metrics: list[Facts]
    per_query: pa.Table | None
    curves: dict[str, list[Facts]]
    stages: list[Facts]
    config: str
    notes: list[str]
    query_texts: dict[str, str] = field(default_factory=dict)
    browser: QueryBrowser | None = None
    header: list[tuple[str, str]] = field(default_factory=list)
    audit: Facts | None = None
    judges: list[Facts] = field(default_factory=list)
    disagreements: list[DisputedPair] | None = None
    judged_by: str = ""
    ratings: RatingFacts | None = None
    groups: dict[str, str] = field(default_factory=dict)
    card: list[tuple[str, str]] = field(default_factory=list)
    rerankers: Facts | None = None
    side_by_side: list[SideBySideResult] = field(default_factory=list)
    domains: Facts | None = None
    probabilities: Facts = field(default_factory=dict)


def of_run(result: "Result", evaluation: Evaluation | None, manifest: Facts, config: str, folder: Path) -> ReportData:
    """Of the stages that have ended. manifest: the run's; config: composed, without secrets; folder: of the run."""
    audited = Audited.of(result)
    anchor = evaluation.stage if evaluation else audited.stage if audited else list(result.tables)[-1]
    data = result.tables[str(lineage.nearest(result, anchor, "documents"))]
    queries = data.read("queries")
    per_query = evaluation.table.read("per_query") if evaluation else None
    rated = _rated_by(result, evaluation)
    sources = browser_sources.of_run(result, evaluation, data, rated)
    asked = [audited.judged] if audited else lineage.holding(result, "outcomes")
    widest = max(asked, key=lambda name: len(result.tables[name].manifest.get("judges", {})))
    chosen = audited.table.read("disagreements") if audited else None
    stages = manifest["stages"]
    return ReportData(
        title=_title(result, evaluation, audited),
        header=run_header.lines(result, manifest, data, folder),
        verdicts=evaluation.verdicts if evaluation else [],
        metrics=json.loads((evaluation.table.path / "metrics.json").read_text("utf-8")) if evaluation else [],
        per_query=per_query,
        browser=query_browser(sources) if sources else None,
        curves={
            lineage.step_of(result, name).stage.name: json.loads(
                (result.tables[name].path / "curve.json").read_text(encoding="utf-8")
            )
            for name in lineage.students(result)
        },
        stages=[{"name": name, "megabytes": (stage["bytes"] or 0) / 1e6, **stage} for name, stage in stages.items()],
        config=config,
        notes=[*acquired.lines(result), *notes(result)],
        query_texts=_texts(queries, per_query),
        audit=audited.found if audited else None,
        judges=[row for name in asked for row in _asked(result, name, several=len(asked) > 1)],
        disagreements=disagreements.of_run(result.tables[widest], chosen, queries, data),
        judged_by=widest if len(asked) > 1 else "",
        ratings=_ratings(result, evaluation, rated, queries) if rated else None,
        groups=evaluation.groups if evaluation else {},
        card=data_card.card_of(result),
        rerankers=rerankers.of_run(result),
        side_by_side=side_by_side_page.of_run(result),
        domains=by_domain.view(evaluation) if evaluation else None,
        probabilities=evaluation.probabilities if evaluation else {},
    )


def _rated_by(result: "Result", evaluation: Evaluation | None) -> str | None:
    """The stage that made the ratings which the main student learned from; before an evaluation, the last that made any."""
    if evaluation is None:
        return lineage.deepest(result, "fits")
    main = evaluation.table.manifest["system"]
    source = evaluation.source(result, main) if main else evaluation.stage
    return lineage.nearest(result, source, "fits") if source else lineage.deepest(result, "fits")


def _ratings(result: "Result", evaluation: Evaluation | None, rated: str, queries: pa.Table) -> RatingFacts:
    per_query = evaluation.table.read("per_query") if evaluation else None
    examples = _rated(queries, result.tables[rated])
    shown = pick(per_query, evaluation.verdicts if evaluation else [], examples, MATRICES)
    asked = {name: rows_of(result.tables[name], "outcomes", shown) for name in lineage.judged(result, rated)}
    return rating_facts.of_run(result, rated, shown, queries, asked)


def _asked(result: "Result", name: str, several: bool) -> list[Facts]:
    """Rows of the table of judges for one stage, which is named where several stages asked."""
    return [row | {"stage": name * several} for row in judge_costs.of_stage(result, name)]


def _rated(queries: pa.Table, ratings: Table) -> list[str]:
    """Ids of rated queries, dev first: examples for the report where nothing was evaluated."""
    rated = queries.filter(pc.is_in(queries["query_id"], pc.unique(ratings.read("ratings", ["query_id"])["query_id"])))
    dev = pc.equal(rated["split"], DEV)
    return (
        pa.concat_tables([rated.filter(dev), rated.filter(pc.invert(dev))])["query_id"].slice(0, MATRICES).to_pylist()
    )


def _texts(queries: pa.Table, per_query: pa.Table | None) -> dict[str, str]:
    if per_query is None:
        return {}
    used = queries.filter(pc.is_in(queries["query_id"], pc.unique(per_query["query_id"].combine_chunks())))
    return dict(zip(used["query_id"].to_pylist(), used["text"].to_pylist(), strict=True))


def _title(result: "Result", evaluation: Evaluation | None, audited: Audited | None) -> str:
    """What was run on what, or how far."""
    if evaluation and evaluation.rows:
        return f"zelo on {evaluation.rows[0]['domain']}"
    return "zelo: an audit of the judges" if audited else f"zelo up to the stage {list(result.tables)[-1]}"
