"""The rankings that are evaluated, each with one strict order: ties stand against the system."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.errors import BadInput
from zelo.metrics.ir_measure import positions, ranked
from zelo.store.table import Table

DEPTH = 1000
"""Rows of a run that are measured and kept, per query, as is usual for TREC runs."""
UNJUDGED = -1.0
"""Worth of a document without a label: less than that of one judged not relevant, so that a tie shows it first."""


def run_of(role: str, table: Table, evaluated: pa.Array, truth: pa.Table, known: pa.Table | None) -> pa.Table:
    """A system's ranking of these queries: SCORED rows, ranked, at most DEPTH per query.

    truth: query_id, doc_id, worth, of documents; known: their passages, where they were split. Documents of one score stand
    with the least worth first, so that nothing is gained by
    giving many documents the same score. Raises BadInput for a stage that ranks nothing.
    """
    scores = {"scored": "score", "candidates": "score", "ratings": "rating"}
    name = next((name for name in scores if table.has(name)), None)
    if name is None:
        raise BadInput(
            f"evaluate: the system {role!r} has no {' or '.join(scores)} in {table.path}; name a stage that ranks."
        )
    found = table.read(name, ["query_id", "doc_id", scores[name]])
    if table.has("filled"):  # queries that a run file lacks: their candidates are another retriever's
        found = found.filter(pc.invert(pc.is_in(found["query_id"], table.read("filled")["query_id"].combine_chunks())))
    found = found.filter(pc.is_in(found["query_id"], evaluated)).rename_columns(["query_id", "doc_id", "score"])
    found = passages.by_document(found, known, "score")
    run = ranked(found, worth(found, truth))
    return run.filter(positions(run) < DEPTH)


def worth(run: pa.Table, truth: pa.Table) -> np.ndarray:
    """[N] float64, what `truth` says of each row of a run; UNJUDGED where it says nothing."""
    queries, documents = pc.unique(truth["query_id"]), pc.unique(truth["doc_id"])

    def keys(table: pa.Table) -> np.ndarray:
        query, document = (
            pc.fill_null(pc.index_in(table[name], ids), -1).to_numpy().astype(np.int64)
            for name, ids in (("query_id", queries), ("doc_id", documents))
        )
        return np.where((query < 0) | (document < 0), -1, query * len(documents) + document)

    known = keys(truth)
    order = np.argsort(known, kind="stable")
    if not len(order):
        return np.full(len(run), UNJUDGED)
    wanted = keys(run)
    place = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(order) - 1)]
    return np.where(known[place] == wanted, truth["worth"].to_numpy()[place], UNJUDGED)
