"""Candidates drawn at random, for corpora in which there is nothing to find and as the baseline below all others."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from zelo.likelihood.randomness import content_seed, id_hashes, mixed
from zelo.progress import Advance, progress, silent
from zelo.records import CANDIDATE

_QUERIES_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Random:
    """Each query's own random documents, none twice, in random order; drawn from its id and the seed."""

    spreads: ClassVar[Literal[True]] = True

    seed: int

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> "Draw":
        """Nothing has to be read."""
        return Draw(self)

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, grouped by query; the score falls evenly from 1 with the rank."""
        with progress("random search", len(queries), "queries") as advance:
            return self.drawn(queries, documents, top_k, advance)

    def drawn(self, queries: pa.Table, documents: pa.Table, top_k: int, advance: Advance) -> pa.Table:
        """The same. advance: called with queries done."""
        size, k = documents.num_rows, min(top_k, documents.num_rows)
        names, doc_id = queries["query_id"], documents["doc_id"].combine_chunks()
        score = np.linspace(1, 0, k, endpoint=False, dtype=np.float32)
        parts = [CANDIDATE.empty_table()]
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = names.slice(start, _QUERIES_AT_ONCE)
            seeds = np.array([content_seed(name, self.seed) for name in part.to_pylist()], np.uint64)
            drawn = _without_repeats(seeds, size, k)
            n = len(seeds)
            columns = [
                pa.chunked_array([part.combine_chunks().take(np.repeat(np.arange(n), k))]),
                pa.chunked_array([doc_id.take(drawn.ravel())]),
                pa.array(np.tile(np.arange(k, dtype=np.int32), n)),
                pa.array(np.tile(score, n)),
            ]
            parts.append(pa.Table.from_arrays(columns, schema=CANDIDATE))
            advance(n)
        return pa.concat_tables(parts)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores in [0, 1), each pair's own."""
        query = id_hashes(queries["query_id"], query_row, self.seed)
        doc = id_hashes(documents["doc_id"], doc_row, self.seed)
        return (mixed(query, doc) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


@dataclass(frozen=True)
class Draw:
    """A PreparedSearch."""

    random: Random

    def search(self, asked: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """As of Random."""
        return self.random.drawn(asked, documents, top_k, silent)


def _without_repeats(seeds: np.ndarray, size: int, k: int) -> np.ndarray:
    """[B, k] distinct rows of `size` for each seed: Floyd's sampling (Bentley and Floyd 1987), then in random order."""
    chosen = np.empty((len(seeds), k), np.int64)
    for turn, top in enumerate(range(size - k, size)):
        pick = (mixed(seeds, np.uint64(turn)) % np.uint64(top + 1)).astype(np.int64)
        taken = (chosen[:, :turn] == pick[:, None]).any(1)
        chosen[:, turn] = np.where(taken, top, pick)
    keys = mixed(np.repeat(seeds, k), chosen.ravel().astype(np.uint64)).reshape(chosen.shape)
    return np.take_along_axis(chosen, np.argsort(keys, axis=1), 1)
