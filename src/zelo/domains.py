"""Domains: the collection or the subject that a query is from, where a dataset says it, in a column `domain`.

Documents have the column too where each domain has a corpus of its own, as in dataset=mixture.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.ranking import rows_of
from zelo.records import DOMAIN, TRAIN
from zelo.store.table import Table


@dataclass(frozen=True)
class OwnCorpus:
    """Queries, and the documents that may answer them."""

    queries: pa.Table  # QUERY
    documents: pa.Table  # DOCUMENT
    query_row: np.ndarray  # [Q] rows of the whole table of queries, ascending
    doc_row: np.ndarray  # [D] rows of the whole table of documents, ascending


def with_domain(schema: pa.Schema, table: pa.Table) -> pa.Schema:
    """The schema, with the column `domain` where the table has one."""
    return schema.append(pa.field(DOMAIN, pa.string())) if DOMAIN in table.column_names else schema


def with_names(queries: pa.Table, names: pa.ChunkedArray) -> pa.Table:
    """The queries with a column `domain`; a blank name is none."""
    named = pc.utf8_trim_whitespace(names)
    return queries.append_column(DOMAIN, pc.if_else(pc.equal(named, ""), pa.scalar(None, pa.string()), named))


def own_corpora(queries: pa.Table, documents: pa.Table) -> Iterator[OwnCorpus]:
    """The queries of each domain with its documents; all of both at once where documents have no domain."""
    if DOMAIN not in queries.column_names or DOMAIN not in documents.column_names:
        yield OwnCorpus(queries, documents, np.arange(len(queries)), np.arange(len(documents)))
        return
    for name in pc.unique(queries[DOMAIN]).drop_null().to_pylist():
        query_row, doc_row = (np.flatnonzero(_is_from(table, name)) for table in (queries, documents))
        if len(doc_row):
            yield OwnCorpus(queries.take(pa.array(query_row)), documents.take(pa.array(doc_row)), query_row, doc_row)


def search(find: Callable[[pa.Table, pa.Table], pa.Table], queries: pa.Table, documents: pa.Table) -> pa.Table:
    """What `find` gives for the queries of each domain and its documents, by query in the order of `queries`.

    find: QUERY and DOCUMENT rows -> rows with `query_id`, by query.
    """
    parts = [find(part.queries, part.documents) for part in own_corpora(queries, documents)]
    if len(parts) == 1:
        return parts[0]
    found = pa.concat_tables(parts or [find(queries, documents.slice(0, 0))])
    return found.take(pa.array(np.argsort(rows_of(found["query_id"], queries["query_id"]), kind="stable")))


def known_documents(data: Table, dropped: pa.Table) -> pa.Table:
    """`doc_id`, and DOMAIN where documents have one, of the documents that a load stage read. dropped: DROPPED rows of them."""
    columns = pq.read_schema(data.shards("documents")[0]).names
    documents = data.read("documents", [name for name in ("doc_id", DOMAIN) if name in columns])
    others = dropped.select(["doc_id"])
    if DOMAIN in columns:
        kept = rows_of(dropped["same_as"], documents["doc_id"])
        others = others.append_column(DOMAIN, documents[DOMAIN].take(pa.array(kept)))
    return pa.concat_tables([documents, others])


def learned_from(data: Table) -> pa.Table:
    """The documents of a load stage that are of domains with train queries; all where documents have no domain."""
    documents = data.read("documents")
    if DOMAIN not in documents.column_names:
        return documents
    queries = data.read("queries")
    trained = pc.unique(queries.filter(pc.equal(queries["split"], TRAIN))[DOMAIN])
    return documents.filter(pc.is_in(documents[DOMAIN], trained.drop_null()))


def out_of_domain(queries: pa.Table) -> set[str]:
    """The domains that no train query is from; none where some train query has no domain, as nothing is known then."""
    if DOMAIN not in queries.column_names:
        return set()
    trained = set(pc.unique(queries.filter(pc.equal(queries["split"], TRAIN))[DOMAIN]).to_pylist())
    everything = set(pc.unique(queries[DOMAIN]).drop_null().to_pylist())
    return everything - trained if trained and None not in trained else set()


def _is_from(table: pa.Table, name: str) -> np.ndarray:
    """[N] bool."""
    return pc.fill_null(pc.equal(table[DOMAIN], name), False).to_numpy()
