"""The measures of trec_eval over the columns of a run: the values that ir_measures gives, without an object per row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class RankedLabels:
    """The labels of Q queries, and where a run ranks the documents that have one. A document is relevant from grade 1 on.

    Each function gives [Q] values, 0 for a query without a relevant document or without any row in the run, as trec_eval does
    (https://github.com/usnistgov/trec_eval). A label below 0 counts as 0.
    """

    queries: list[str]  # in order of id
    retrieved: np.ndarray  # [Q] rows of the run
    query: np.ndarray  # [H] query of each row that has a label; not decreasing
    rank: np.ndarray  # [H] place of that row among all of its query, 0 first; increasing within a query
    gain: np.ndarray  # [H] float64 grade of it, 0 where it is negative
    pooled: (
        np.ndarray
    )  # [H] bool, its grade is not negative: trec_eval takes a negative one for none in condensed lists
    label_query: np.ndarray  # [L] query of each label; not decreasing
    label_gain: np.ndarray  # [L] float64 grade, not increasing within a query

    @staticmethod
    def of(run: pa.Table, qrels: pa.Table) -> "RankedLabels":
        """run: as `ranked` gives it; rows of other queries are left out. qrels: QREL rows of one split."""
        queries = pc.unique(qrels["query_id"])
        queries = queries.take(pc.array_sort_indices(queries))
        documents = pc.unique(qrels["doc_id"])
        row = _places(run["query_id"], queries)
        if (row < 0).any():
            run, row = run.filter(pa.array(row >= 0)), row[row >= 0]
        retrieved = np.bincount(row, minlength=len(queries))
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        rank = np.arange(len(row)) - np.repeat(starts, np.diff(starts, append=len(row)))
        order = np.argsort(row[starts], kind="stable")  # the run's queries may stand in another order
        document = _places(run["doc_id"], documents)
        hit = np.flatnonzero(document >= 0)  # most rows have no label
        wanted = row[hit] * len(documents) + document[hit]
        label_query, grade = _places(qrels["query_id"], queries), qrels["relevance"].to_numpy()
        key = label_query * len(documents) + _places(qrels["doc_id"], documents)
        by_key = np.argsort(key, kind="stable")
        place = np.minimum(np.searchsorted(key[by_key], wanted), len(key) - 1)
        found = key[by_key][place] == wanted if len(key) else np.zeros(len(wanted), bool)
        hit, place = hit[found], place[found]
        if len(order) > 1 and (np.diff(order) < 0).any():
            moved = np.argsort(row[hit], kind="stable")
            hit, place = hit[moved], place[moved]
        best = np.lexsort((-grade, label_query))
        gains = np.maximum(grade, 0).astype(np.float64)
        return RankedLabels(
            queries.to_pylist(),
            retrieved,
            row[hit],
            rank[hit],
            gains[by_key][place],
            grade[by_key][place] >= 0,
            label_query[best],
            gains[best],
        )

    def ndcg(self, cutoff: float, judged_only: bool) -> np.ndarray:
        """Linear gains over log2(rank + 1) from rank 1 (Jarvelin and Kekalainen, TOIS 2002).

        judged_only: of the ranking without the documents that have no label (condensed lists: Sakai, SIGIR 2007).
        """
        ideal = self._dcg(self.label_query, _within(self.label_query), self.label_gain, cutoff)
        if not judged_only:
            return _ratio(self._dcg(self.query, self.rank, self.gain, cutoff), ideal)
        query = self.query[self.pooled]
        return _ratio(self._dcg(query, _within(query), self.gain[self.pooled], cutoff), ideal)

    def recall(self, cutoff: float) -> np.ndarray:
        """Share of the relevant documents that are among the first `cutoff`."""
        return _ratio(self._count(self.query[(self.rank < cutoff) & (self.gain > 0)]), self._relevant)

    def precision(self, cutoff: float) -> np.ndarray:
        """Share of the first `cutoff` places with a relevant document; a place that the run leaves empty has none."""
        return self._count(self.query[(self.rank < cutoff) & (self.gain > 0)]) / cutoff

    def reciprocal_rank(self, cutoff: float) -> np.ndarray:
        """1 / the place of the first relevant document, 0 where it is below the cutoff."""
        relevant = np.flatnonzero((self.gain > 0) & (self.rank < cutoff))
        first = relevant[np.flatnonzero(np.diff(self.query[relevant], prepend=-1))]
        found = np.zeros(len(self.queries))
        found[self.query[first]] = 1 / (self.rank[first] + 1)
        return found

    def average_precision(self, cutoff: float) -> np.ndarray:
        """Mean over the relevant documents of the precision at each one's place, 0 for one below the cutoff."""
        relevant = (self.gain > 0) & (self.rank < cutoff)
        query, rank = self.query[relevant], self.rank[relevant]
        return _ratio(self._count(query, (_within(query) + 1) / (rank + 1)), self._relevant)

    def judged(self, cutoff: float) -> np.ndarray:
        """Share of the first `cutoff` documents, or of all where there are fewer, that have a label."""
        seen = np.minimum(self.retrieved, cutoff).astype(np.float64)
        return _ratio(self._count(self.query[self.rank < cutoff]), seen)

    @property
    def _relevant(self) -> np.ndarray:
        return self._count(self.label_query[self.label_gain > 0])

    def _dcg(self, query: np.ndarray, rank: np.ndarray, gain: np.ndarray, cutoff: float) -> np.ndarray:
        seen = rank < cutoff
        return self._count(query[seen], gain[seen] / np.log2(rank[seen] + 2.0))

    def _count(self, query: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(query, weights, len(self.queries)).astype(np.float64)


def _within(query: np.ndarray) -> np.ndarray:
    """[N] place of each row among those of its query, which lie together."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    return np.arange(len(query)) - np.repeat(starts, np.diff(starts, append=len(query)))


def _ratio(value: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(value, whole, out=np.zeros(len(value)), where=whole > 0)


def _places(column: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """[N] int64 place of each id in `known`, -1 where it is not there."""
    return pc.fill_null(pc.index_in(column, known), -1).to_numpy().astype(np.int64)
