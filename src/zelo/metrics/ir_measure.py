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
from zelo.protocols import Metric

if TYPE_CHECKING:
    import ir_measures


@dataclass(frozen=True, kw_only=True)
class IrMeasure:
    """A metric by its ir_measures name, such as nDCG@10 (linear gains), R@100 or Judged@10; the run is ranked first."""

    name: str

    def __post_init__(self) -> None:
        _measure(self.name)

    def values(self, run: pa.Table, qrels: pa.Table) -> dict[str, float]:
        """query_id -> value for every query of `qrels` (QREL rows of one split); a query that the run lacks counts 0."""
        return values_of({self.name: self}, run, qrels)[self.name]


def values_of(
    metrics: Mapping[str, "Metric | IrMeasure"], run: pa.Table, qrels: pa.Table
) -> dict[str, dict[str, float]]:
    """Key -> query_id -> value, as each metric's own `values` gives them; those of ir_measures are computed together."""
    import ir_measures

    own = {key: _measure(metric.name) for key, metric in metrics.items() if isinstance(metric, IrMeasure)}
    others = {key: metric.values(run, qrels) for key, metric in metrics.items() if key not in own}
    judgements = _nested(qrels, "relevance")
    found = {key: dict.fromkeys(judgements, 0.0) for key in own}
    if own:
        run = ranked(run.filter(pc.is_in(run["query_id"], pc.unique(qrels["query_id"]))))
        depth = max(_depth(measure) for measure in own.values())
        run = run.filter(positions(run) < depth)  # what lies below cannot count, and Python objects are expensive
        keys = {measure: key for key, measure in own.items()}
        for result in ir_measures.iter_calc(list(keys), judgements, _nested(run, "score")):
            found[keys[result.measure]][result.query_id] = float(result.value)
    return {key: (others | found)[key] for key in metrics}


def _depth(measure: "ir_measures.Measure") -> float:
    """How many of a query's first documents can count."""
    cutoff = measure.params.get("cutoff")
    return math.inf if cutoff is None or measure.params.get("judged_only") else cutoff


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
    if len(np.unique(key)) < len(key):
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
