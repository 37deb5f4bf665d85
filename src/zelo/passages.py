"""Passages and the documents that they are from: each document once among candidates, and results by document."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.ranking import document_ids, first_rows, of_documents, rows_of
from zelo.store.table import Table

FIRST, DEEPER = 2, 4  # passages for each wanted document, and how many times as many where these are from too few

Search = Callable[[pa.Table, int], pa.Table]
"""(queries, k) -> at most k rows of each, `query_id` and `doc_id`, grouped by query in their order, best first."""


def read(data: Table) -> pa.Table | None:
    """`doc_id` and `document_id` of all passages; None where documents are whole."""
    if "document_id" not in pq.read_schema(data.shards("documents")[0]).names:
        return None
    return data.read("documents", ["doc_id", "document_id"])


def search(find: Search, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
    """What `find` finds; where documents were split, the best passage of each of the `top_k` best documents.

    A query whose first passages are from too few documents is searched again, deeper. documents: DOCUMENT or PASSAGE.
    """
    if "document_id" not in documents.column_names:
        return find(queries, top_k)
    parts, asked, depth = [], queries, min(FIRST * top_k, len(documents))
    while len(asked):
        found = find(asked, depth)
        ranking = best_passages(found, documents)
        every, kept = (rows_of(table["query_id"], asked["query_id"]) for table in (found, ranking))
        all_found = (np.bincount(every, minlength=len(asked)) < depth) | (depth == len(documents))
        done = all_found | (np.bincount(kept, minlength=len(asked)) >= top_k)
        parts.append(first_rows(ranking.filter(pa.array(done[kept])), top_k))
        asked, depth = asked.filter(pa.array(~done)), min(DEEPER * depth, len(documents))
    if not parts:
        return find(queries, top_k)
    whole = pa.concat_tables(parts)
    return whole.take(pa.array(np.argsort(rows_of(whole["query_id"], queries["query_id"]), kind="stable")))


def best_passages(ranking: pa.Table, documents: pa.Table) -> pa.Table:
    """The first passage of each document of each query. ranking: grouped by query, best first; documents: PASSAGE."""
    query = ranking["query_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    home = _numbers(of_documents(ranking["doc_id"], documents), document_ids(documents))
    _, first = np.unique(query * len(documents) + home, return_index=True)
    return ranking.take(pa.array(np.sort(first)))


def by_document(rows: pa.Table, passages: pa.Table | None, value: str) -> pa.Table:
    """Rows of documents in place of those of their passages: of several, that with the highest `value` (max of passages).

    rows: `query_id`, `doc_id`, `value` and whatever else; passages: as of `read`; without any, nothing changes.
    """
    if passages is None:
        return rows
    ordered = rows.sort_by([("query_id", "ascending"), (value, "descending"), ("doc_id", "ascending")])
    kept = best_passages(ordered, passages)
    column = kept.column_names.index("doc_id")
    return kept.set_column(column, kept.schema.field(column), of_documents(kept["doc_id"], passages))


def by_passage(labels: pa.Table, passages: pa.Table | None) -> pa.Table:
    """The label of a document as one of each of its passages. labels: `doc_id` and others; passages: as of `read`."""
    if passages is None:
        return labels
    label, passage = (_numbers(ids, labels["doc_id"]) for ids in (labels["doc_id"], passages["document_id"]))
    numbered = labels.drop_columns(["doc_id"]).append_column("number", pa.array(label))
    parts = passages.select(["doc_id"]).append_column("number", pa.array(passage))
    return numbered.join(parts, "number", join_type="inner").select(labels.column_names)


def _numbers(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """[N] int64, one number for each distinct id of `known`; -1 for others."""
    return rows_of(ids, pa.chunked_array([pc.unique(known)]))
