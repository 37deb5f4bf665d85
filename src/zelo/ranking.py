"""Ranked lists from columns of scores: the best k per query, ties by doc_id; what every first stage ends with."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.records import CANDIDATE
from zelo.texts import document_texts

QUERIES_AT_ONCE, DOCUMENTS_AT_ONCE = 1024, 16_384  # scores held in memory at a time
PAIRS_AT_ONCE = 1 << 15
LOOKED_AT = 1000  # own documents that are compared with their query's text
ROUNDING = 1e-5  # more than float32 products of unit vectors are off by


def groups(rows: np.ndarray, within: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(value, positions where `rows` has it) for each distinct value of `rows` [N], ascending; positions by `within` [N].

    So whatever is computed from a group is the same to the last bit in any order of the N rows.
    """
    order = np.lexsort((within, rows))
    values, first = np.unique(rows[order], return_index=True)
    for value, positions in zip(values, np.split(order, first[1:]), strict=False):
        yield int(value), positions


def best(scores: np.ndarray, k: int, slack: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of the k largest of each row of `scores` [Q, D], and of whatever is within `slack` of the k-th."""
    k = min(k, scores.shape[1])
    row, column = np.nonzero(scores >= np.partition(scores, -k, axis=1)[:, -k, None] - slack)
    return row, column


def cosines(queries: np.ndarray, documents: np.ndarray, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
    """[N] float32 cosines of N pairs of unit vectors, each the same to the last bit wherever it stands among them.

    A matrix product does not promise that: on some processors its rounding depends on the column.
    """
    scores = np.empty(len(query_row), np.float32)
    for start in range(0, len(scores), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        scores[part] = np.einsum("nd,nd->n", queries[query_row[part]], documents[doc_row[part]])
    return scores


def nearest(
    queries: np.ndarray, documents: np.ndarray, k: int, advance: Callable[[int], None] = lambda _: None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(query row, document row, cosine): the k nearest documents of each query, and what ties with the k-th.

    queries: [Q, dim]; documents: [D, dim]; unit vectors. Exact; every pair is compared. advance: called with queries done.
    """
    parts = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries[start : start + QUERIES_AT_ONCE]
        row, column = _nearest(some, documents, k)
        parts.append((row + start, column, cosines(queries, documents, row + start, column)))
        advance(len(some))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]


def _nearest(queries: np.ndarray, documents: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(query row, document row) of whatever may be among the k nearest, by products that rounding can move."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    largest = np.full((len(queries), k), -np.inf, np.float32)  # the k largest so far, the least of them first
    for low in range(0, len(documents), DOCUMENTS_AT_ONCE):
        scores = queries @ documents[low : low + DOCUMENTS_AT_ONCE].T
        if low:
            row, column = np.nonzero(scores >= largest[:, :1] - ROUNDING)
        else:
            row, column = best(scores, k, ROUNDING)
        if not len(row):
            continue
        value = scores[row, column]
        found.append((row, column + low, value))
        first = np.searchsorted(row, np.arange(len(queries)))
        new = np.full((len(queries), int(np.bincount(row).max())), -np.inf, np.float32)
        new[row, np.arange(len(row)) - first[row]] = value
        largest = np.partition(np.concatenate([largest, new], axis=1), new.shape[1], axis=1)[:, new.shape[1] :]
    row, column, value = (np.concatenate(columns) for columns in zip(*found, strict=True))
    near = value >= largest[row, 0] - ROUNDING
    return row[near], column[near]


def rows_of(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """[N] int64 row in `known` of each id, -1 where it is unknown."""
    rows = pc.index_in(ids, known.combine_chunks())  # pyright: ignore[reportAttributeAccessIssue]
    return pc.fill_null(rows, -1).to_numpy().astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]


def document_ids(documents: pa.Table) -> pa.ChunkedArray:
    """[N] ids of the documents that the rows are, or are passages of. documents: DOCUMENT or PASSAGE."""
    return documents["document_id"] if "document_id" in documents.column_names else documents["doc_id"]


def of_documents(ids: pa.ChunkedArray, documents: pa.Table) -> pa.ChunkedArray:
    """Ids of documents in place of those of passages. documents: DOCUMENT, where nothing changes, or PASSAGE."""
    if "document_id" not in documents.column_names:
        return ids
    home = documents["document_id"].take(pc.index_in(ids, documents["doc_id"].combine_chunks()))
    return pc.coalesce(home, ids)


def top_candidates(
    queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray, score: np.ndarray, top_k: int
) -> pa.Table:
    """CANDIDATE rows: the `top_k` best of N scored pairs of each query, in the order of `queries`, ties by doc_id.

    query_row, doc_row: [N] rows of the two tables, no pair twice; score: [N].
    """
    score = np.asarray(score, np.float32)  # ties are decided on what is stored
    found, place = np.unique(doc_row, return_inverse=True)  # of many documents some queries find few
    by_id = np.empty(len(found), np.int64)
    ids = documents["doc_id"].take(pa.array(found))
    by_id[pc.sort_indices(ids).to_numpy()] = np.arange(len(found))  # pyright: ignore[reportAttributeAccessIssue]
    order = np.lexsort((by_id[place], -score, query_row))
    query_row, doc_row, score = query_row[order], doc_row[order], score[order]
    first = np.searchsorted(query_row, np.arange(queries.num_rows))
    rank = np.arange(len(query_row)) - first[query_row]
    keep = rank < top_k
    columns = {
        "query_id": queries["query_id"].take(pa.array(query_row[keep])),
        "doc_id": documents["doc_id"].take(pa.array(doc_row[keep])),
        "rank": pa.array(rank[keep].astype(np.int32)),
        "score": pa.array(score[keep]),
    }
    return pa.table(columns, schema=CANDIDATE)


def first_rows(ranking: pa.Table, top_k: int | None) -> pa.Table:
    """At most `top_k` rows of each query; a `rank` is counted again. ranking: grouped by query, best first."""
    ids = ranking["query_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    rank = np.arange(len(ranking)) - np.repeat(first, np.diff(first, append=len(ranking)))
    if "rank" in ranking.column_names:
        column = ranking.schema.get_field_index("rank")
        ranking = ranking.set_column(column, ranking.schema.field(column), pa.array(rank.astype(np.int32)))
    return ranking if top_k is None else ranking.filter(pa.array(rank < top_k))


def own_documents(queries: pa.Table, documents: pa.Table, keep: bool) -> bool:
    """Whether some query has the id of a document, and is not to keep that one: ask for one more than is wanted."""
    return not keep and bool(pc.any(pc.is_in(document_ids(documents), queries["query_id"].combine_chunks())).as_py())


def without_own(ranking: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int | None) -> tuple[pa.Table, Facts]:
    """(ranking without the document that has its query's own id, at most `top_k` rows of each query; what was left out).

    ranking: `query_id` and `doc_id`, grouped by query, best first; a `rank` is counted again. BEIR ranks so: there, such a
    document is the query itself. The facts also count those whose texts are unlike, where the two ids meet by chance.
    """
    own = pc.equal(ranking["query_id"], of_documents(ranking["doc_id"], documents))
    kept = first_rows(ranking.filter(pc.invert(own)), top_k)
    left = ranking.filter(own)
    looked_at = left.slice(0, LOOKED_AT)
    asked = queries["text"].take(pa.array(rows_of(looked_at["query_id"], queries["query_id"]))).to_pylist()
    read = document_texts(documents.take(pa.array(rows_of(looked_at["doc_id"], documents["doc_id"]))))
    unlike = sum(not _alike(*texts) for texts in zip(asked, read, strict=True))
    return kept, {"own_documents": len(left), "own_documents_unlike": 2 * unlike > len(looked_at)}


def _alike(query: str, document: str) -> bool:
    """One holds the other, or half of the query's words."""
    query, document = query.casefold(), document.casefold()
    words = set(query.split())
    return query in document or document in query or 2 * len(words & set(document.split())) >= len(words)
