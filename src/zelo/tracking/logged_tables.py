"""What a run's tables say, in rows that a logger shows: read from tables that are there, and no more rows than allowed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.facts import Facts
from zelo.reporting import audit_page, judge_costs, lineage
from zelo.reporting.evaluation import Evaluation
from zelo.reporting.excerpts import cut
from zelo.reporting.gains import gain_of
from zelo.store.table import Table
from zelo.texts import document_texts

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

MEASURED = ["split", "query_id", "system"]
ORDER = [("split", "descending"), ("query_id", "ascending"), ("system", "ascending")]  # test before dev
BATTLE = ["query_id", "doc_a", "doc_b", "judge", "p", "status", "swapped", "query_id_b", "criterion"]  # of OUTCOME
EXTREMES = 25  # queries with the largest gains, and as many with the largest losses, of each comparison
READ = 1 << 16  # rows of a file at a time


@dataclass(frozen=True)
class LoggedTable:
    """Some rows under one name. left_out: rows that there are beside these."""

    name: str
    rows: pa.Table
    left_out: int


def of_run(result: "Result", evaluation: Evaluation | None, most: int, texts: bool) -> Iterator[LoggedTable]:
    """All that a run has: per_query, gains, judges, battles, audit. most: rows of each; texts: of queries and documents too."""
    if evaluation:
        per_query = evaluation.table.read("per_query")
        yield _per_query(per_query, most)
        words = _query_texts(result, evaluation.stage) if texts else None
        yield _gains(evaluation.verdicts, per_query, words, most)
    judged = lineage.holding(result, "outcomes")
    if judged:
        yield _judges(result, judged, most)
        yield _battles(result, judged, most, texts)
    if audited := audit_page.Audited.of(result):
        yield _audit(audited.found, most)


def _per_query(per_query: pa.Table, most: int) -> LoggedTable:
    """A row per system and query, a column per metric."""
    named = {name: per_query[name].cast(pa.string()) for name in [*MEASURED, "metric"]}
    rows = pa.table(named | {"value": per_query["value"]})
    every = rows.group_by(MEASURED).aggregate([]).sort_by(ORDER)
    shown = every.slice(0, most)
    for metric in pc.unique(rows["metric"]).to_pylist():
        values = rows.filter(pc.equal(rows["metric"], metric)).select([*MEASURED, "value"])
        shown = shown.join(values.rename_columns([*MEASURED, metric]), MEASURED)
    return LoggedTable("per_query", shown.sort_by(ORDER), len(every) - len(shown))


def _gains(verdicts: list[Facts], per_query: pa.Table, texts: Mapping[str, str] | None, most: int) -> LoggedTable:
    """The queries on which a system gained and lost most against its baseline, the largest gain first."""
    rows, every = [], 0
    for verdict in verdicts:
        if (gain := gain_of(verdict, per_query)) is None:
            continue
        count = len(gain.queries)
        every += count
        for place in sorted({*range(min(EXTREMES, count)), *range(max(count - EXTREMES, 0), count)}):
            query = gain.queries[place]
            said = {name: verdict[name] for name in ("system", "baseline", "metric", "split")}
            values = {"baseline_value": gain.before[place], "value": gain.after[place]}
            row = said | {"query_id": query} | values | {"difference": gain.difference[place]}
            rows.append(row | ({} if texts is None else {"query": cut(texts.get(query, ""))}))
    return _limited("gains", rows, every, most)


def _judges(result: "Result", judged: list[str], most: int) -> LoggedTable:
    """What each judge was asked, and what its answers cost."""
    known = ("asked", "answered", "usable", "shown_first", "tokens", "usd", "usd_per_preference", "ndcg", "weight")
    rows = [
        {"stage": stage, "judge": row["name"]} | {name: row[name] for name in known}
        for stage in judged
        for row in judge_costs.of_stage(result, stage)
    ]
    return _limited("judges", rows, len(rows), most)


def _battles(result: "Result", judged: list[str], most: int, texts: bool) -> LoggedTable:
    """The first answers of each judge stage in turn. p: P(doc_a preferred to doc_b), null unless answered."""
    parts, every, room = [], 0, most
    for stage in judged:
        files = result.tables[stage].shards("outcomes")
        every += sum(pq.read_metadata(path).num_rows for path in files)
        if (found := _first(files, room)) is None:
            continue
        room -= len(found)
        columns = {name: found[name] for name in BATTLE}
        columns |= {name: found[name].cast(pa.string()) for name in ("judge", "status")}
        columns["p"] = pc.round(found["p"].cast(pa.float64()), 6)  # it is a float32
        rows = pa.table({"stage": pa.array([stage] * len(found), pa.string())} | columns)
        parts.append(_with_texts(result, stage, rows) if texts else rows)
    rows = pa.concat_tables(parts) if parts else pa.table({})
    return LoggedTable("battles", rows, every - len(rows))


def _first(files: list[Path], room: int) -> pa.Table | None:
    """The first rows of the files together; None where there is no room."""
    batches: list[pa.Table] = []
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(READ, columns=BATTLE):
                if room <= 0:
                    break
                batches.append(pa.Table.from_batches([batch.slice(0, room)]))
                room -= len(batches[-1])
    return pa.concat_tables(batches).unify_dictionaries() if batches else None


def _audit(audit: Facts, most: int) -> LoggedTable:
    """A row per judge and measure; the reason where it could not be measured."""
    parts = ("value", "ci_low", "ci_high", "not_measured")
    rows = [
        {"judge": judge, "measure": measure} | {name: measured.get(name) for name in parts}
        for judge, one in audit["judges"].items()
        for measure, measured in one["measures"].items()
    ]
    return _limited("audit", rows, len(rows), most)


def _limited(name: str, rows: list[Facts], every: int, most: int) -> LoggedTable:
    shown = rows[:most]
    return LoggedTable(name, pa.Table.from_pylist(shown), every - len(shown))


def _with_texts(result: "Result", stage: str, rows: pa.Table) -> pa.Table:
    queries = _query_texts(result, stage)
    holder = lineage.nearest(result, stage, "documents")
    documents = _document_texts(result.tables[holder], rows) if holder else {}
    for name, source, words in (("query", "query_id", queries), *((f"text_{x}", f"doc_{x}", documents) for x in "ab")):
        found = [cut(words.get(one, "")) for one in rows[source].to_pylist()]
        rows = rows.append_column(name, pa.array(found, pa.string()))
    return rows


def _query_texts(result: "Result", stage: str) -> dict[str, str]:
    holder = lineage.nearest(result, stage, "queries")
    queries = result.tables[holder].read("queries", ["query_id", "text"]) if holder else {"query_id": [], "text": []}
    return dict(zip(*(pa.array(queries[name]).to_pylist() for name in ("query_id", "text")), strict=True))


def _document_texts(data: Table, rows: pa.Table) -> dict[str, str]:
    """Only of documents that are shown: a corpus need not fit into memory."""
    shown = pc.field("doc_id").isin(pa.chunked_array([*rows["doc_a"].chunks, *rows["doc_b"].chunks], pa.string()))
    documents = pa.concat_tables([pq.read_table(path, filters=shown) for path in data.shards("documents")])
    return dict(zip(documents["doc_id"].to_pylist(), document_texts(documents), strict=True))
