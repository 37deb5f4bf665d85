"""What a run leaves for a comparison with others: a figure of each stage, and the values per query of the system that selects.

Before anything is trained that system is the teacher: its ratings rank the candidates, and labels of dev measure the ranking.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import passages
from zelo.auditing.answers import COLUMNS, JudgedPairs
from zelo.evaluation import labels as labelled
from zelo.evaluation.measured import MeasuredSplit, by_labels
from zelo.evaluation.runs import run_of
from zelo.facts import Facts
from zelo.metrics.agreement import PREFIX
from zelo.metrics.ir_measure import IrMeasure
from zelo.metrics.judging import verdicts
from zelo.records import DEV, EXAMPLE
from zelo.reporting import judge_costs, lineage
from zelo.reporting.evaluation import Evaluation
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

FILE = "compared.json"
TEACHER = "teacher"
VALUES = "dev"  # of a training's table: the metric of each dev query
METRIC = IrMeasure(name="nDCG@10")
FIGURES = {  # column of sweep.csv -> what a table calls it
    "sd_target": "sd target",
    "held_out_log_loss": "log loss",
    "judges_agree": "agree",  # share of pairs on which two judges prefer the same document
    "pairs": "pairs",
    "judges_usd": "usd",  # what all answers cost, whichever run paid for them
    "judges_tokens": "tokens",  # of these answers, where there are any
    "calls": "calls",  # requests that were sent when the answers were made
    "questions": "questions",  # that judges were asked
    "curl": "curl",
    "mean_stderr": "stderr",
    "compute_seconds": "computed in",  # seconds of all stages, in whichever run they were computed
}


def of_run(result: "Result", evaluation: Evaluation | None, optimize: str | None) -> Facts:
    """{system, keys: split -> full name of its metric, values: full name -> value, per_query, against, figures}.

    per_query: split -> query_id -> value; against: split -> identity of the labels or ratings that measured: where it is the
    same, two runs may be compared query by query. system is None where nothing was measured.
    """
    found = _evaluated(result, evaluation, optimize) if evaluation else _trained(result) or _teacher(result)
    nothing: Facts = {"system": None, "keys": {}, "values": {}, "per_query": {}, "against": {}}
    return nothing | found | {"figures": _figures(result)}


def _evaluated(result: "Result", evaluation: Evaluation, system: str | None) -> Facts:
    rows, per_query, against = evaluation.table.read("per_query"), {}, {}
    for split, metric in evaluation.deciding.items():
        chosen = pc.and_(pc.equal(rows["split"], split), pc.equal(rows["metric"], metric))
        own = rows.filter(pc.and_(chosen, pc.equal(rows["system"], system or "")))
        per_query[split] = dict(zip(own["query_id"].to_pylist(), own["value"].to_pylist(), strict=True))
        examples = result.upstream(evaluation.stage, "examples")
        rated = evaluation.keys[split].startswith(f"{PREFIX}/") and examples in result.tables
        source = examples if rated else result.upstream(evaluation.stage, "labels")
        against[split] = result.tables[str(source)].identity
    known = {split: values for split, values in per_query.items() if values}
    return {
        "system": system,
        "keys": evaluation.keys,
        "values": evaluation.keyed,
        "per_query": known,
        "against": against,
    }


def _trained(result: "Result") -> Facts:
    """Of the last student, where the run stops before the evaluation: the dev figure that its training went by.

    A training of lists has a value of each dev query; one of pairs, or one that an earlier zelo cached, has none.
    """
    names = lineage.students(result)
    if not names:
        return {}
    stage, facts = lineage.step_of(result, names[-1]).stage, result.tables[names[-1]].manifest
    key, found = str(facts["metric"]), {}
    if (result.tables[names[-1]].path / f"{VALUES}.parquet").is_file():
        values, examples = result.tables[names[-1]].read(VALUES), result.upstream(names[-1], "examples")
        pairs = zip(values["query_id"].to_pylist(), values["value"].to_pylist(), strict=True)
        found = {"per_query": {DEV: dict(pairs)}, "against": {DEV: result.tables[str(examples)].identity}}
    return {"system": stage.name, "keys": {DEV: key}, "values": {f"{key}/{stage.name}": facts["best_dev"]}, **found}


def _teacher(result: "Result") -> Facts:
    """Of the ratings, against the labels of dev and test, where there are any."""
    rated, source = lineage.deepest(result, "ratings"), lineage.deepest(result, "qrels")
    data = rated and lineage.nearest(result, rated, "queries")
    if rated is None or source is None or data is None:
        return {}
    measured = teacher(result.tables[rated], result.tables[source], result.tables[data])
    keys = {split: one.key(METRIC.name) for split, one in measured.items()}
    return {
        "system": TEACHER if measured else None,
        "keys": keys,
        "values": {f"{keys[split]}/{TEACHER}": one.mean(TEACHER) for split, one in measured.items()},
        "per_query": {
            split: dict(zip(one.queries, one.of(TEACHER)[0].tolist(), strict=True)) for split, one in measured.items()
        },
        "against": dict.fromkeys(measured, result.tables[source].identity),
    }


def teacher(ratings: Table, labels: Table, data: Table) -> dict[str, MeasuredSplit]:
    """Split -> how the ratings rank that split's labelled queries; a split of which no query is rated is left out."""
    found = labelled.of_splits(labels, data)
    if not found:
        return {}
    truth = labelled.truth_of(found, EXAMPLE.empty_table())
    run = run_of(TEACHER, ratings, pc.unique(truth["query_id"]), truth, passages.read(data))
    rated = pc.unique(run["query_id"])
    return {
        split: by_labels({TEACHER: run}, split, qrels, {"": METRIC}, "")
        for split, qrels in found.items()
        if pc.any(pc.is_in(qrels["query_id"], rated)).as_py()
    }


def _figures(result: "Result") -> Facts:
    """Column of FIGURES -> value, of what is known."""
    found: Facts = {}
    if (rated := lineage.deepest(result, "fits")) is not None:
        table = result.tables[rated]
        fit = table.manifest["fit"]
        judged = [result.tables[name] for name in lineage.judged(result, rated)]
        found |= {"pairs": table.manifest.get("pairs"), **_asked(judged), "judges_agree": judges_agree(judged)}
        found |= {name: fit.get(name) for name in ("held_out_log_loss", "curl")}
        found["mean_stderr"] = pc.mean(table.read("ratings", ["stderr"])["stderr"]).as_py()
    if (made := lineage.deepest(result, "examples")) is not None:
        found["sd_target"] = result.tables[made].manifest.get("sd_target")
    found["compute_seconds"] = sum(table.manifest["seconds"] for table in result.tables.values())
    return {name: found[name] for name in FIGURES if found.get(name) is not None}


def _asked(judged: list[Table]) -> Facts:
    rows = [row for table in judged for row in judge_costs.rows(table)]
    calls = [row["calls"]["calls"] for row in rows if "calls" in row["calls"]]
    unknown = any(row["usd_per_preference"] is None and row["tokens"] for row in rows)
    return {
        "questions": sum(row["asked"] for row in rows),
        "calls": sum(calls) if calls else None,
        "judges_tokens": sum(row["tokens"] for row in rows) or None,
        "judges_usd": None if unknown else sum(row["usd"] for row in rows),
    }


def judges_agree(judged: list[Table]) -> float | None:
    """Share of the comparisons of two judges' verdicts on one pair that are equal; None where no pair has two."""
    equal = compared = 0
    for path in (path for table in judged for path in table.shards("outcomes")):
        said = verdicts(JudgedPairs.of(pq.read_table(path, columns=COLUMNS)).averaged())  # [J, E]
        for place, one in enumerate(said):
            both = ~np.isnan(one) & ~np.isnan(said[place + 1 :])
            equal += int((both & (one == said[place + 1 :])).sum())
            compared += int(both.sum())
    return equal / compared if compared else None
