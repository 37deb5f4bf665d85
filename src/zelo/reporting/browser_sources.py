"""What the report's query browser is made of, read from the tables of a run part by part."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from zelo import passages
from zelo.auditing.reasons import REASON
from zelo.records import DEV, QREL, RATING
from zelo.reporting import lineage
from zelo.reporting.evaluation import LABELS, Evaluation, shown
from zelo.reporting.query_browser import LISTED, BrowserSources
from zelo.reporting.shown_texts import LONGEST, SHORTEST, TEXT
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

BLOCK = 1 << 25  # bytes of a run file at a time
ROWS, DOCUMENTS = 1 << 18, 1 << 13  # at a time
CATEGORY = pa.dictionary(pa.int32(), pa.string())
ANSWER = ["query_id", "doc_a", "doc_b", "query_id_b", "criterion", "judge", "p", "status"]


def of_run(result: "Result", evaluation: Evaluation | None, data: Table, rated: str | None) -> BrowserSources | None:
    """Of the queries that were evaluated, or else of rated ones, dev first; None where there are neither.

    data: holds queries and documents; rated: the stage whose ratings are shown.
    """
    ratings = None if rated is None else lineage.ratings_of(result, rated)
    queries = data.read("queries")
    if evaluation:
        queries, values, metrics = _measured(evaluation, queries)
    else:
        queries, metrics = _rated(queries, ratings), {}
        values = np.empty((0, len(queries)))
    if not len(queries):
        return None
    before, after = _compared(evaluation)
    split = passages.read(data)
    ids = data.read("documents", ["doc_id"])["doc_id"] if split is None else split["doc_id"]
    asked = [] if rated is None else [result.tables[name] for name in lineage.judged(result, rated)]
    wanted = queries["query_id"]
    return BrowserSources(
        queries=queries,
        documents=ids,
        texts=lambda rows: _texts(data, rows),
        runs={} if evaluation is None else {name: _run(path) for name, path in _files(evaluation).items()},
        values=values,
        metrics=metrics,
        before=before,
        after=after,
        outcomes=_answers(asked),
        reasons=pa.concat_tables(
            [REASON.empty_table(), *(_about(table, "reasons", wanted) for table in asked if table.has("reasons"))]
        ),
        ratings=RATING.empty_table() if ratings is None else _about(ratings, "ratings", wanted),
        qrels=_labels(result, evaluation, wanted),
        homes=None if split is None else split["document_id"],
        labelled_by="labels" if evaluation is None or evaluation.protocol == LABELS else "grades of judges",
    )


def _measured(evaluation: Evaluation, queries: pa.Table) -> tuple[pa.Table, np.ndarray, dict[str, str]]:
    """The queries that were measured, [S, Q] what each system got, and by split the metric."""
    rows = evaluation.table.read("per_query")
    plain = {name: rows[name].cast(pa.string()) for name in ("system", "metric", "split")}
    systems, metrics = list(_files(evaluation)), evaluation.deciding
    decides = pa.array(
        np.any(
            [
                np.asarray(pc.and_(pc.equal(plain["split"], split), pc.equal(plain["metric"], metric)))
                for split, metric in metrics.items()
            ],
            axis=0,
        )
    )
    rows = rows.filter(decides)
    measured = queries.filter(pc.is_in(queries["query_id"], pc.unique(rows["query_id"])))
    values = np.full((len(systems), len(measured)), np.nan)
    system = pc.index_in(rows["system"].cast(pa.string()), pa.array(systems, pa.string())).fill_null(-1).to_numpy()
    query = pc.index_in(rows["query_id"], measured["query_id"].combine_chunks()).fill_null(-1).to_numpy()
    known = (system >= 0) & (query >= 0)
    values[system[known], query[known]] = rows["value"].to_numpy()[known]
    return measured, values, {split: _in_words(metric) for split, metric in metrics.items()}


def _in_words(metric: str) -> str:
    kind, _, name = metric.rpartition("/")
    return f"{shown(name)}, agreement with judges" if kind else shown(name)


def _files(evaluation: Evaluation) -> dict[str, Path]:
    """System -> its run file, in the order of the results."""
    folder = evaluation.table.path / "runs"
    found = {system: folder / f"{system}.trec" for system in evaluation.groups}
    return {system: path for system, path in found.items() if path.is_file()}


def _compared(evaluation: Evaluation | None) -> tuple[str | None, str | None]:
    """Before and after: the main system of the evaluation and what it is held against first."""
    if evaluation is None:
        return None, None
    main = evaluation.table.manifest["system"]
    verdicts = sorted(evaluation.verdicts, key=lambda verdict: verdict["system"] != main)
    if verdicts:
        return verdicts[0]["baseline"], verdicts[0]["system"]
    systems = list(_files(evaluation))
    return (systems[0] if len(systems) > 1 else None), (systems[-1] if systems else None)


def _labels(result: "Result", evaluation: Evaluation | None, queries: pa.ChunkedArray) -> pa.Table:
    """QREL rows of these queries. Labels are opened after evaluation only."""
    source = result.upstream(evaluation.stage, "labels") if evaluation else None
    if source is None:
        return QREL.empty_table()
    table = result.tables[source]
    return _about(table, "graded" if table.has("graded") else "qrels", queries).select(QREL.names)


def _rated(queries: pa.Table, ratings: Table | None) -> pa.Table:
    """Rated queries, dev first, as many as get lists."""
    if ratings is None:
        return queries.slice(0, 0)
    rated = queries.filter(pc.is_in(queries["query_id"], pc.unique(ratings.read("ratings", ["query_id"])["query_id"])))
    dev = pc.equal(rated["split"], DEV)
    return pa.concat_tables([rated.filter(dev), rated.filter(pc.invert(dev))]).slice(0, LISTED)


def _run(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a run file, with ids as categories. It is opened when the first is asked for: a reader holds a block."""
    names = ["query_id", "q0", "doc_id", "rank", "score", "system"]
    yield from csv.open_csv(
        path,
        read_options=csv.ReadOptions(column_names=names, block_size=BLOCK),
        parse_options=csv.ParseOptions(delimiter=" ", quote_char=False, escape_char=False),
        convert_options=csv.ConvertOptions(
            column_types={"query_id": CATEGORY, "doc_id": CATEGORY, "rank": pa.int32(), "score": pa.float64()},
            include_columns=["query_id", "doc_id", "rank", "score"],
        ),
    )


def _answers(judged: list[Table]) -> Iterator[pa.RecordBatch]:
    """Outcomes of these stages, a part at a time, with ids as categories."""
    for table in judged:
        for path in table.shards("outcomes"):
            file = pq.ParquetFile(path, read_dictionary=["query_id", "doc_a", "doc_b", "query_id_b"])
            yield from file.iter_batches(ROWS, columns=ANSWER)


def _about(table: Table, name: str, queries: pa.ChunkedArray) -> pa.Table:
    """The rows of these queries, a file at a time."""
    wanted = queries.combine_chunks()
    found = []
    for path in table.shards(name):
        part = pq.read_table(path)
        found.append(part.filter(pc.is_in(part["query_id"], value_set=wanted)))
    return pa.concat_tables(found)


def _texts(data: Table, rows: np.ndarray) -> Iterator[pa.Table]:
    """DOCUMENT of these rows, ascending, with the beginnings of the texts, a part at a time."""
    longest = int(np.clip(4 * TEXT // max(len(rows), 1), 2 * SHORTEST, 2 * LONGEST))  # white space goes later
    first = 0
    for path in data.shards("documents"):
        for batch in pq.ParquetFile(path).iter_batches(DOCUMENTS, columns=["doc_id", "title", "text"]):
            low, high = np.searchsorted(rows, [first, first + len(batch)])
            part = pa.table(batch.take(pa.array(rows[low:high] - first)))
            yield part.set_column(2, "text", pc.utf8_slice_codeunits(part["text"], 0, longest))
            first += len(batch)
