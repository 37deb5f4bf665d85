"""The documents that are shown of each query: what a system ranks high, what is rated, and what is relevant."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNLABELLED = -128  # in place of a label


@dataclass(frozen=True)
class FoundRows:
    """N rows about a listed query and a document, by number, with what they say."""

    query: np.ndarray  # [N]
    document: np.ndarray  # [N]
    values: dict[str, np.ndarray]  # [N] each

    def __len__(self) -> int:
        return len(self.query)

    def take(self, rows: np.ndarray) -> "FoundRows":
        return FoundRows(self.query[rows], self.document[rows], {name: one[rows] for name, one in self.values.items()})


def about(table: pa.Table | pa.RecordBatch, queries: pa.Array, documents: pa.Array) -> FoundRows:
    """The rows of a table that are about these queries and documents, with its numbers."""
    query = index(table["query_id"], queries)
    rows = np.flatnonzero(query >= 0)
    table = table.take(pa.array(rows))
    document = index(table["doc_id"], documents)
    numbers = [name.name for name in table.schema if pa.types.is_integer(name.type) or pa.types.is_floating(name.type)]
    found = FoundRows(query[rows], document, {name: table[name].to_numpy(zero_copy_only=False) for name in numbers})
    return found.take(document >= 0)


def index(column: pa.ChunkedArray | pa.Array, values: pa.Array) -> np.ndarray:
    """[N] int64, which of the values each row is; -1 for none. Dictionaries are looked up once."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found = [np.empty(0, np.int64)]
    for chunk in chunks:
        if isinstance(chunk, pa.DictionaryArray):
            known = np.append(index(chunk.dictionary, values), -1)
            found.append(known[chunk.indices.fill_null(len(known) - 1).to_numpy()])
        else:
            found.append(pc.index_in(chunk, value_set=values).fill_null(-1).to_numpy().astype(np.int64))
    return np.concatenate(found)


@dataclass(frozen=True)
class PassagesOfDocuments:
    """Where documents were split: which passage stands for a document of a query, as results and labels are by document."""

    names: pa.Array  # [N] ids of the documents, each once
    first: np.ndarray  # [N] number of each document's first passage
    keys: np.ndarray  # [R] query * N + document of what was rated, ascending
    passages: np.ndarray  # [R] the passage that was

    @staticmethod
    def of(homes: pa.Array, rated: FoundRows) -> "PassagesOfDocuments":
        """homes: of each passage the id of its document; rated: numbers of passages."""
        names = pc.unique(homes)
        home = index(homes, names)
        _, first = np.unique(home, return_index=True)
        keys = rated.query * len(names) + home[rated.document]
        order = np.argsort(keys, kind="stable")
        return PassagesOfDocuments(names, first, keys[order], rated.document[order])

    def standing(self, found: FoundRows) -> FoundRows:
        """Rows about documents as rows about passages: the rated one, else the first."""
        passage = self.first[found.document]
        if len(self.keys):
            wanted = found.query * len(self.names) + found.document
            row = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            passage = np.where(self.keys[row] == wanted, self.passages[row], passage)
        return FoundRows(found.query, passage, found.values)


@dataclass(frozen=True)
class DocumentPools:
    """The documents of each query, by number, ascending."""

    keys: np.ndarray  # [P] query * count + document, ascending
    start: np.ndarray  # [L + 1] where a query's pool begins
    documents: np.ndarray  # [D] numbers of the documents that are in any
    count: int  # of all documents

    @staticmethod
    def of(found: list[FoundRows], queries: int, count: int) -> "DocumentPools":
        """The documents of all these rows together."""
        count = max(count, 1)
        keys = distinct(np.concatenate([np.empty(0, np.int64), *(one.query * count + one.document for one in found)]))
        start = np.searchsorted(keys, np.arange(queries + 1) * count)
        return DocumentPools(keys, start, distinct(keys % count), count)

    def rows(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """[N] rows of the pools; -1 where the query's pool lacks the document."""
        if not len(self.keys):
            return np.full(len(query), -1)
        wanted = query * self.count + document
        row = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((self.keys[row] == wanted) & (query >= 0) & (document >= 0), row, -1)

    def places(self, query: np.ndarray, row: np.ndarray) -> np.ndarray:
        """[N] places in the query's pool."""
        return (row - self.start[query]).astype(self.type)

    @property
    def type(self) -> type:
        """Of a place: as narrow as the largest pool allows."""
        return np.uint16 if len(self.start) < 2 or np.diff(self.start).max() < 2**16 else np.uint32

    def ranks(self, rated: FoundRows) -> np.ndarray:
        """[P] place by rating, 0 is the best; the unrated come last."""
        rating = np.full(len(self.keys), -np.inf)
        rating[self.rows(rated.query, rated.document)] = rated.values["rating"]
        query = self.keys // self.count
        order = np.lexsort((-rating, query))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - self.start[query]
        return ranks

    def columns(self, rated: FoundRows, labels: FoundRows) -> dict[str, np.ndarray | pa.Array]:
        """pool_start, pool_doc, pool_rating, pool_stderr and pool_label."""
        rating, stderr = (np.full(len(self.keys), np.nan, np.float32) for _ in range(2))
        row = self.rows(rated.query, rated.document)
        rating[row], stderr[row] = rated.values["rating"], rated.values["stderr"]
        label = np.full(len(self.keys), UNLABELLED, np.int8)
        row = self.rows(labels.query, labels.document)
        label[row[row >= 0]] = np.clip(labels.values["relevance"][row >= 0], UNLABELLED + 1, 127)
        return {
            "pool_start": self.start.astype(np.uint32),
            "pool_doc": np.searchsorted(self.documents, self.keys % self.count).astype(np.uint32),
            "pool_rating": rounded(rating),
            "pool_stderr": rounded(stderr),
            "pool_label": label,
        }


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 of four decimals, which compress well."""
    return np.round(values, 4).astype(np.float32)


def distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, ascending."""
    values = np.sort(values)
    return values[np.append(np.ones(min(len(values), 1), bool), values[1:] != values[:-1])]
