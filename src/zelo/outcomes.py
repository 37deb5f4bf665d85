"""The pairs that judges were asked about, as integer graphs, and how many judges a pair can have."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.protocols import JudgingStage
from zelo.records import Comparisons


@dataclass(frozen=True)
class Graphs:
    """The distinct pairs of an outcomes table as integer graphs, queries and documents in order of id."""

    query_id: pa.Array  # [Q]
    sizes: np.ndarray  # [Q]
    doc_id: pa.Array  # [N], grouped by query
    edges: np.ndarray  # [E, 2] rows of doc_id
    pair: np.ndarray  # [rows] which edge an outcome is about
    flipped: np.ndarray  # [rows] the outcome names the edge's documents the other way round

    @staticmethod
    def of(outcomes: pa.Table, stage: np.ndarray | None = None) -> "Graphs":
        """Grouped by counting integers; no object per row. stage: [rows] 0 or more; a pair of each is an edge of its own.

        Ids may come as dictionaries, which need no reading of texts.
        """
        from zelo.numbering import numbered

        queries, (query,) = _placed(outcomes["query_id"])
        documents, (a, b) = _placed(outcomes["doc_a"], outcomes["doc_b"])
        stage = np.zeros(len(a), np.int32) if stage is None else stage
        sizes, found, pair, edges = numbered(query, np.minimum(a, b), np.maximum(a, b), stage)
        return Graphs(queries, sizes, documents.take(pa.array(found)), edges, pair, flipped=a > b)

    def average(self, outcomes: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """([E] mean of the answered preferences, [E] their mean weight, [E] judges that answered); nan where there is none."""
        from zelo.numbering import averages

        values = outcomes["p"].to_numpy().astype(np.float64)  # null becomes nan
        judge = _encoded(outcomes["judge"])
        mean, weight = np.empty((2, len(self.edges)))
        judges = np.empty(len(self.edges), np.int64)
        weights, asked = outcomes["weight"].to_numpy().astype(np.float64), judge.indices.to_numpy().astype(np.int32)
        averages(self.pair, self.flipped, values, weights, asked, mean, weight, judges)
        return mean, weight, judges

    def unanimous(self, outcomes: pa.Table) -> np.ndarray:
        """[E] whether every answer about a pair prefers the same document; not where there is none."""
        values = outcomes["p"].to_numpy().astype(np.float64)  # null becomes nan
        values = np.where(self.flipped, 1 - values, values)
        sides = (np.bincount(self.pair, side, len(self.edges)) for side in (values > 0.5, values < 0.5))
        first, second = (side == np.bincount(self.pair, ~np.isnan(values), len(self.edges)) for side in sides)
        return first != second

    def answers(self, outcomes: pa.Table, enough: np.ndarray) -> Comparisons:
        """Every answer about the edges `enough` [E] as a comparison of its own, with its judge and its order.

        Judges are numbered in order of their names, so that every shard numbers them alike.
        """
        values = outcomes["p"].to_numpy().astype(np.float64)  # null becomes nan
        rows = np.flatnonzero(~np.isnan(values) & enough[self.pair])
        rows = rows[np.argsort(self.pair[rows], kind="stable")]  # query by query
        edges = self.edges[self.pair[rows]]
        names = outcomes["judge"].cast(pa.string())
        judge = pc.index_in(names, value_set=_sorted_ids(names)).to_numpy()
        return Comparisons(
            sizes=self.sizes,
            edges=np.where(self.flipped[rows, None], edges[:, ::-1], edges),
            p=values[rows],
            weight=outcomes["weight"].to_numpy()[rows].astype(np.float64),
            judge=judge[rows].astype(np.int32),
            swapped=outcomes["swapped"].to_numpy()[rows],
        )


def check_quorum(quorum: int, judged: Mapping[str, object]) -> None:
    """Raises BadInput for a quorum that the judges of a judge stage cannot reach. judged: stages by name."""
    for name, stage in judged.items():
        if isinstance(stage, JudgingStage) and quorum > len(members := stage.members):
            raise BadInput(
                f"quorum={quorum} is above the number of judges of {name}, {len(members)} ({', '.join(members)}); set it to at"
                f" most {len(members)}."
            )


def _placed(*columns: pa.ChunkedArray) -> tuple[pa.Array, list[np.ndarray]]:
    """(the ids that occur in these columns, in their order; [rows] int32 of each column: which of them)."""
    every = _encoded(pa.chunked_array([chunk for column in columns for chunk in _encoded_chunks(column)]))
    known, ends = every.dictionary, np.cumsum([len(column) for column in columns])[:-1]
    rows = np.split(every.indices.to_numpy(), ends)
    occurs = np.zeros(len(known), bool)
    for one in rows:
        occurs[one] = True
    ids = known.filter(pa.array(occurs))
    order = pc.array_sort_indices(ids).to_numpy()
    rank = np.empty(len(known), np.int32)
    rank[np.flatnonzero(occurs)[order]] = np.arange(len(order), dtype=np.int32)
    return ids.take(pa.array(order)), [rank[one] for one in rows]


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return pa.chunked_array(_encoded_chunks(column)).unify_dictionaries().combine_chunks()


def _encoded_chunks(column: pa.ChunkedArray) -> list[pa.DictionaryArray]:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return encoded.chunks or [pa.array([], pa.dictionary(pa.int32(), pa.string()))]


def _sorted_ids(*columns: pa.ChunkedArray) -> pa.Array:
    values = pc.unique(pa.concat_arrays([pc.unique(column) for column in columns]))
    return values.take(pc.array_sort_indices(values))
