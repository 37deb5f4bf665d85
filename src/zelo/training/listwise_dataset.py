"""Rated documents of queries, twelve bytes each, with their texts left where they are until a batch asks for them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.metrics.agreement import CUTOFF, PREFIX, judged_gains, ndcg
from zelo.records import DEV, starts
from zelo.store.table import Table
from zelo.texts import Texts
from zelo.training.sampler import QueryBatches

if TYPE_CHECKING:
    from torch import Tensor

Collate = Callable[[list[str], np.ndarray], "dict[str, Tensor]"]
COLUMNS = ["query_id", "doc_id", "target", "weight", "split"]
WHOLE = slice(None)


@dataclass(frozen=True)
class Lists:
    """The rated documents of Q queries, one list after the other."""

    metric: ClassVar[str] = f"{PREFIX}/{DEV}/nDCG@{CUTOFF}"

    texts: Texts | list[str]  # [Q]
    offsets: np.ndarray  # [Q + 1] int64, where each list begins
    doc_rows: np.ndarray  # [N] rows of the document table
    targets: np.ndarray  # [N] float32 in [0, 1]
    weights: np.ndarray  # [N] float32
    query_rows: np.ndarray  # [Q] rows of the query table

    @staticmethod
    def of(examples: pa.Table, queries: pa.Table, documents: pa.Table) -> "Lists":
        """Queries in the order of the query table; lists in the order of `examples`. examples: EXAMPLE."""
        return _Reading(queries, documents).lists([("examples", examples)])

    @staticmethod
    def read(table: Table, split: str, queries: pa.Table, documents: pa.Table) -> "Lists":
        """Those of a split, from the shards of `examples` one by one; only numbers of them stay in memory.

        Raises BadInput naming the row where a target is not in [0, 1], a weight is negative or no number, or an id is unknown.
        """
        shards = ((str(path), pq.read_table(path, columns=COLUMNS)) for path in table.shards("examples"))
        return _Reading(queries, documents).lists(shards, split)

    @staticmethod
    def padded(texts: list[str], doc_rows: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> "Lists":
        """From arrays [Q, D] with -1 in `doc_rows` behind the end of each list."""
        there = doc_rows >= 0
        rows = np.arange(len(texts))
        return Lists(texts, starts(there.sum(1)), doc_rows[there], targets[there], weights[there], rows)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sizes(self) -> np.ndarray:
        """[Q] documents of each query."""
        return np.diff(self.offsets)

    @cached_property
    def longest(self) -> int:
        """Documents of the longest list."""
        return int(self.sizes.max(initial=0))

    @property
    def figures(self) -> dict[str, int]:
        """For the manifest: documents and queries."""
        return {"rows": len(self.doc_rows), "queries": len(self)}

    def draw(self, rows: np.ndarray, loader: QueryBatches, rng: np.random.Generator) -> np.ndarray | None:
        """[B, D] the documents of each of these lists that the loader picks, as `columns` gives them; None: all.

        The draw is for all processes; it depends on the longest list of all queries.
        """
        if loader.documents is None or loader.documents >= self.longest:
            return None
        places = self.columns(rows, self.longest)
        there = places >= 0
        targets = np.where(there, self.targets[places.clip(0)], np.float32(0))
        columns = loader.pick(targets, there, rng)
        return None if columns is None else np.take_along_axis(places, columns, 1)

    def values(self, scores: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[B] nDCG@10 of each query, a gain being the chance that the document is the relevant one. All [B, D]."""
        return ndcg(scores, judged_gains(targets, mask), mask, CUTOFF)

    def measure(self, values: np.ndarray) -> float:
        """Their mean over queries."""
        return float(values.mean())

    def columns(self, rows: np.ndarray, width: int) -> np.ndarray:
        """[B, width] where in the flat arrays each query's documents are; -1 behind the end of a list."""
        place = np.arange(width)
        return np.where(place < self.sizes[rows][:, None], self.offsets[rows][:, None] + place, -1)

    def batch(
        self, rows: np.ndarray, drawn: np.ndarray | None, collate: Collate, share: slice = WHOLE
    ) -> "dict[str, Tensor]":
        """The model's batch of a share of the queries, and of all of them targets, weights and mask [B, D].

        drawn: [B, D] of what `columns` gives, -1 where there is none; None takes all documents. A share without a query
        brings the first one of the batch instead.
        """
        import torch

        places = self.columns(rows, int(self.sizes[rows].max(initial=0))) if drawn is None else drawn
        places = places[:, (places >= 0).any(0)]  # no column of nothing but padding
        there = places >= 0

        def take(array: np.ndarray, blank: float) -> np.ndarray:
            return np.where(there, array[places.clip(0)] if len(array) else blank, blank)

        doc_rows = take(self.doc_rows, -1).astype(np.int64)
        part = rows[share]
        some = share if len(part) else slice(0, 1)
        return {
            **collate([self.texts[row] for row in rows[some]], doc_rows[some]),
            "targets": torch.from_numpy(take(self.targets, 0).astype(np.float32)),
            "weights": torch.from_numpy(take(self.weights, 0).astype(np.float32)),
            "mask": torch.from_numpy(there),
            "list_rows": torch.from_numpy(np.asarray(rows, np.int64)),
            "list_doc_rows": torch.from_numpy(doc_rows),
        }

    def part(self, batch: "Mapping[str, Tensor]", rows: slice, columns: slice, collate: Collate) -> "dict[str, Tensor]":
        """The model's batch of some queries and some of their documents of a batch that `batch` made, on its device."""
        queries = [self.texts[row] for row in batch["list_rows"][rows].tolist()]
        found = collate(queries, batch["list_doc_rows"][rows, columns].cpu().numpy())
        return {key: value.to(batch["mask"].device) for key, value in found.items()}


class _Reading:
    """Examples as numbers: rows of the query and of the document table."""

    def __init__(self, queries: pa.Table, documents: pa.Table) -> None:
        self.queries = queries
        self.query_ids, self.doc_ids = (t.combine_chunks() for t in (queries["query_id"], documents["doc_id"]))

    def lists(self, shards: Iterable[tuple[str, pa.Table]], split: str | None = None) -> Lists:
        parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int32),) * 2 + (np.empty(0, np.float32),) * 2]
        parts += [self._numbers(place, shard, split) for place, shard in shards]
        query, doc, target, weight = (np.concatenate([part[n] for part in parts]) for n in range(4))
        del parts
        if (np.diff(query) < 0).any():
            order = np.argsort(query, kind="stable")
            query, doc, target, weight = (array[order] for array in (query, doc, target, weight))
        sizes = np.bincount(query, minlength=len(self.queries))
        rows = np.flatnonzero(sizes)
        return Lists(Texts(self.queries["text"].take(pa.array(rows))), starts(sizes[rows]), doc, target, weight, rows)

    def _numbers(self, place: str, shard: pa.Table, split: str | None) -> tuple[np.ndarray, ...]:
        target, weight = shard["target"].to_numpy(), shard["weight"].to_numpy()
        wrong = ~((target >= 0) & (target <= 1))  # NaN is wrong
        if wrong.any():
            raise _refused(place, shard, wrong, "target", "losses take targets in [0, 1]: scale or clip them.")
        wrong = ~(np.isfinite(weight) & (weight >= 0))
        if wrong.any():
            raise _refused(place, shard, wrong, "weight", "a weight is at least 0 and finite.")
        if split is not None:
            shard = shard.filter(pc.equal(shard["split"], split))
        numbers = []
        for name, ids in (("query_id", self.query_ids), ("doc_id", self.doc_ids)):
            found = pc.index_in(shard[name], ids)
            if found.null_count:
                raise _refused(place, shard, pc.is_null(found).to_numpy(), name, "it is not in the data.")
            numbers.append(found.to_numpy().astype(np.int32))
        return (*numbers, *(shard[name].to_numpy().astype(np.float32) for name in ("target", "weight")))


def _refused(place: str, shard: pa.Table, wrong: np.ndarray, column: str, rule: str) -> BadInput:
    row = int(np.argmax(wrong))
    query, document, value = (shard[name][row].as_py() for name in ("query_id", "doc_id", column))
    return BadInput(f"{place}: row {row} (query {query!r}, document {document!r}) has the {column} {value!r}: {rule}")
