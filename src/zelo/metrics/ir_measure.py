"""The ranking metrics of the ir_measures library, and the one order of a run on which all its tools agree."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.metrics.ranked_labels import RankedLabels
from zelo.protocols import Metric

if TYPE_CHECKING:
    import ir_measures

QUERIES_AT_ONCE = 2000  # that ir_measures gets as Python objects


@dataclass(frozen=True, kw_only=True)
class IrMeasure:
    """A metric by its ir_measures name, such as nDCG@10 (linear gains), R@100 or Judged@10; the run is ranked first."""

    name: str

    def __post_init__(self) -> None:
        _measure(self.name)

    def values(self, run: pa.Table, qrels: pa.Table) -> dict[str, float]:
        """query_id -> value for every query of `qrels` (QREL rows of one split); a query that the run lacks counts 0."""
        queries, found = values_of({self.name: self}, ranked(run), qrels)
        return dict(zip(queries, found[self.name].tolist(), strict=True))


def values_of(
    metrics: Mapping[str, "Metric | IrMeasure"], run: pa.Table, qrels: pa.Table
) -> tuple[list[str], dict[str, np.ndarray]]:
    """([Q] the queries of `qrels`, in order of id; key -> [Q] values). run: as `ranked` gives it.

    Values are those of ir_measures. The measures that most people report are computed over columns, the others by ir_measures
    itself, a few thousand queries at a time, and a metric of another kind by its own `values`.
    """
    labels = RankedLabels.of(run, qrels)
    found, left = {}, {}
    for key, metric in metrics.items():
        if not isinstance(metric, IrMeasure):
            values = metric.values(run, qrels)
            found[key] = np.array([values[query] for query in labels.queries])
        elif (column := _column(_measure(metric.name), labels)) is not None:
            found[key] = column
        else:
            left[key] = _measure(metric.name)
    if left:
        found |= _by_library(left, run, qrels, labels.queries)
    return labels.queries, {key: found[key] for key in metrics}


def _column(measure: "ir_measures.Measure", labels: RankedLabels) -> np.ndarray | None:
    """[Q] values; None for a measure that is not computed here."""
    given = {name: value for name, value in measure.params.items() if value != measure.SUPPORTED_PARAMS[name].default}
    cutoff, judged_only = given.pop("cutoff", math.inf), given.pop("judged_only", False)
    if given or (judged_only and measure.NAME != "nDCG"):
        return None
    match measure.NAME:
        case "nDCG":
            return labels.ndcg(cutoff, judged_only)
        case "R":
            return labels.recall(cutoff)
        case "P":
            return labels.precision(cutoff)
        case "RR":
            return labels.reciprocal_rank(cutoff)
        case "AP":
            return labels.average_precision(cutoff)
        case "Judged":
            return labels.judged(cutoff)
    return None


def _by_library(
    measures: Mapping[str, "ir_measures.Measure"], run: pa.Table, qrels: pa.Table, queries: list[str]
) -> dict[str, np.ndarray]:
    """Key -> [Q] values, from Python objects of QUERIES_AT_ONCE queries at a time."""
    import ir_measures

    keys = {measure: key for key, measure in measures.items()}
    found = {key: np.zeros(len(queries)) for key in measures}
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = pa.array(queries[start : start + QUERIES_AT_ONCE], pa.string())
        judged, asked = (table.filter(pc.is_in(table["query_id"], part)) for table in (qrels, run))
        place = {query: start + row for row, query in enumerate(part.to_pylist())}
        results = ir_measures.iter_calc(list(keys), _nested(judged, "relevance"), _nested(asked, "score"))
        for result in results:
            found[keys[result.measure]][place[result.query_id]] = float(result.value)
    return found


def ranked(run: pa.Table, worth: np.ndarray | None = None) -> pa.Table:
    """The run with strictly decreasing float32 scores: query_id, doc_id, score (SCORED), grouped by query, best first.

    Tools break ties differently (trec_eval keeps float32 scores and puts the larger doc_id first, others the smaller), so a
    tie is decided here: the row of less `worth` [N] is first, then the smaller doc_id, and each score that is not below the one
    before it becomes the next smaller float32. Ranking twice changes nothing. The scores may come in any width. Raises BadInput
    when a score is not a finite float32 or a document comes twice.
    """
    query, document = _codes(run["query_id"]), _places(run["doc_id"])
    exact = run["score"].to_numpy()
    with np.errstate(over="ignore"):
        _require(run, np.isfinite(exact.astype(np.float32)), "has a score that is not a finite 32-bit number")
    order = _order(query, exact, run["doc_id"], np.zeros(len(run)) if worth is None else worth)
    score = _strictly_decreasing(exact[order].astype(np.float32), query[order])
    _require(run.take(order), np.isfinite(score), "has a score that leaves no smaller 32-bit number to break a tie")
    key = query * (int(document.max(initial=0)) + 1) + document
    if (np.diff(np.sort(key)) == 0).any():
        _require(run, np.isin(np.arange(len(key)), np.unique(key, return_index=True)[1]), "comes twice")
    taken = run.select(["query_id", "doc_id"]).take(order).combine_chunks()
    return taken.append_column("score", pa.array(score, pa.float32()))


def _order(query: np.ndarray, exact: np.ndarray, documents: pa.ChunkedArray, worth: np.ndarray) -> np.ndarray:
    """[N] rows by query, score, worth and document; ids are compared for the tied rows only, as they are slow to sort."""
    order = np.lexsort((-exact, query))
    same = (query[order][1:] == query[order][:-1]) & (exact[order][1:] == exact[order][:-1])
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[tied]
    order[tied] = rows[np.lexsort((_codes(documents.take(pa.array(rows))), worth[rows], -exact[rows], query[rows]))]
    return order


def positions(run: pa.Table) -> np.ndarray:
    """[N] int64, place of each row among its query's rows, 0 first; the rows of a query must lie together."""
    query = _codes(run["query_id"])
    row = np.arange(len(query))
    starts = np.concatenate([[True], query[1:] != query[:-1]])[: len(query)]
    return row - np.maximum.accumulate(np.where(starts, row, 0))


def _strictly_decreasing(score: np.ndarray, query: np.ndarray) -> np.ndarray:
    """score: [N] float32, not increasing within a query; query: [N] int64, not decreasing, from 0."""
    bits = (score + np.float32(0)).view(np.int32).astype(np.int64)  # adding 0 turns -0 into 0
    step = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # neighbouring floats become neighbouring integers
    # new[i] = min(step[i], new[i-1] - 1), so new[i] + i is a running minimum; the gap of 2^34 starts each query afresh.
    shift = np.arange(len(step)) - query * 2**34
    step = np.minimum.accumulate(step + shift) - shift
    return np.where(step < 0, -step | 0x80000000, step).astype(np.uint32).view(np.float32)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """[N] int64, place of each id among the sorted distinct ids (by code point, as Python sorts)."""
    values = pc.unique(column)
    values = values.take(pc.array_sort_indices(values))
    return pc.index_in(column, values).to_numpy().astype(np.int64)


def _places(column: pa.ChunkedArray) -> np.ndarray:
    """[N] int64, one number for each distinct id, in no order."""
    return pc.index_in(column, pc.unique(column)).to_numpy().astype(np.int64)


def _require(run: pa.Table, fine: np.ndarray, fault: str) -> None:
    if not fine.all():
        row = run.slice(int(np.argmin(fine)), 1).to_pylist()[0]
        raise BadInput(
            f"A run cannot be ranked: document {row['doc_id']!r} of query {row['query_id']!r} {fault}"
            f" (score {row['score']!r}). Check what scored it."
        )


def _nested(table: pa.Table, value: str) -> dict[str, dict[str, float]]:
    """query_id -> doc_id -> value: the form that ir_measures takes, which costs it the fewest objects."""
    nested: dict[str, dict[str, float]] = {}
    columns = (table[name].to_pylist() for name in ("query_id", "doc_id", value))
    for query, document, content in zip(*columns, strict=True):
        nested.setdefault(query, {})[document] = content
    return nested


def _measure(name: str) -> "ir_measures.Measure":
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        known = ir_measures.DefaultPipeline.supports(measure)
    except (ValueError, NameError, AssertionError, TypeError) as error:
        raise BadInput(f"metric name={name!r}: ir_measures does not know it ({error}).{_near(name)}") from error
    if str(measure) != name:
        raise BadInput(f"metric name={name!r}: ir_measures writes it {str(measure)!r}; write it so.")
    if not known or measure.params.get("cutoff", 1) < 1 or type(measure.aggregator()).__name__ != "MeanAgg":
        raise BadInput(f"metric name={name!r} is not a mean over queries with a cutoff of 1 or more.{_near(name)}")
    return measure


def _near(name: str) -> str:
    from ir_measures.measures import registry

    base = name.partition("@")[0]
    known = {key.lower(): key for key in sorted(registry)}
    close = [known[key] for key in difflib.get_close_matches(base.lower(), known, n=3)]
    names = list(dict.fromkeys(f"{registry[key].NAME}@10" for key in close)) or ["nDCG@10", "R@100", "Judged@10"]
    return f" Write for example {', '.join(names)}."
