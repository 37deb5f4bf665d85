"""The pairs that judges have compared, for the query browser."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.records import ANSWERED
from zelo.reporting.disagreements import readable
from zelo.reporting.document_pools import DocumentPools, index

ANSWERS, LEAST_PAIRS = (
    5_000_000,
    40,
)  # preferences of all queries, one more a pair, and pairs of one: the nearest in rating
REASONS, REASON_TEXT = 5000, 1200  # texts of judges, and characters of one
STEPS, UNASKED = 250, 255  # of a preference, and in place of one

Rows = Iterable[pa.Table | pa.RecordBatch]


@dataclass(frozen=True)
class ComparedPairs:
    """Compared pairs of a query: rows of its pool, a below b, and what each judge says."""

    a: np.ndarray  # [B] ascending
    b: np.ndarray  # [B]
    p: np.ndarray  # [J, B] P(a preferred) in STEPS, or UNASKED; the mean over orders and repeats
    judges: list[str]
    found: int  # pairs, of which these are some

    def columns(self, pools: DocumentPools) -> dict[str, np.ndarray | pa.Array]:
        """pair_start [L + 1], pair_a and pair_b as places in the pool, pair_p [J * B]."""
        query = pools.keys[self.a] // pools.count
        return {
            "pair_start": np.searchsorted(query, np.arange(len(pools.start))).astype(np.uint32),
            "pair_a": pools.places(query, self.a),
            "pair_b": pools.places(query, self.b),
            "pair_p": self.p.ravel(),
        }

    def row(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[N] which pair these rows of the pools are, in either order; -1 for none."""
        wanted = np.minimum(a, b) << 32 | np.maximum(a, b)
        keys = self.a << 32 | self.b
        if not len(keys):
            return np.full(len(a), -1)
        row = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((keys[row] == wanted) & (a >= 0) & (b >= 0), row, -1)


def compared_pairs(
    outcomes: Rows, queries: pa.Array, documents: pa.Array, pools: DocumentPools, rank: np.ndarray
) -> ComparedPairs:
    """The pairs nearest in rating. rank: [P]."""
    judges: dict[str, int] = {}
    used = documents.take(pa.array(pools.documents))
    parts = [(np.empty(0, np.int64), np.empty(0, np.int16), np.empty(0, np.float32))]
    for part in outcomes:
        query = index(part["query_id"], queries)
        asked = pc.and_(pc.equal(part["status"].cast(pa.string()), ANSWERED), pc.is_null(part["query_id_b"]))
        asked = pc.and_(asked, pc.and_(pc.is_null(part["criterion"]), pc.is_valid(part["p"])))
        kept = np.flatnonzero((query >= 0) & np.asarray(asked))
        part, query = part.take(pa.array(kept)), query[kept]
        ends = [index(part[name], used) for name in ("doc_a", "doc_b")]
        a, b = (
            pools.rows(query, np.where(end >= 0, pools.documents[end] if len(pools.documents) else -1, -1))
            for end in ends
        )
        known = (a >= 0) & (b >= 0)
        names = part["judge"].unique().cast(pa.string()).to_pylist()
        for name in names:
            judges.setdefault(name, len(judges))
        judge = index(part["judge"], pa.array(list(judges), pa.string())).astype(np.int16)
        p = np.where(a < b, part["p"].to_numpy(zero_copy_only=False), 1 - part["p"].to_numpy(zero_copy_only=False))
        parts.append(((np.minimum(a, b) << 32 | np.maximum(a, b))[known], judge[known], p[known]))
    key, judge, p = (np.concatenate(some) for some in zip(*parts, strict=True))
    pairs, row = np.unique(key, return_inverse=True)
    a, b = pairs >> 32, pairs & (2**32 - 1)
    cell = row * max(len(judges), 1) + judge
    size = len(pairs) * len(judges)
    asked, total = np.bincount(cell, minlength=size), np.bincount(cell, p, size)
    mean = np.where(asked > 0, np.round(STEPS * total / np.maximum(asked, 1)), UNASKED).astype(np.uint8)
    kept = _nearest(pools, a, b, rank, ANSWERS // (len(judges) + 1))
    return ComparedPairs(a[kept], b[kept], mean.reshape(len(pairs), len(judges))[kept].T, list(judges), len(pairs))


def _nearest(pools: DocumentPools, a: np.ndarray, b: np.ndarray, rank: np.ndarray, count: int) -> np.ndarray:
    """Ascending rows of the pairs that are kept of each query: those whose documents are nearest by rating.

    count: of all queries together, about.
    """
    if len(a) <= count:
        return np.arange(len(a))
    query = pools.keys[a] // pools.count
    order = np.lexsort((np.minimum(rank[a], rank[b]), np.abs(rank[a] - rank[b]), query))
    start = np.searchsorted(query[order], np.arange(len(pools.start)))
    place = np.arange(len(order)) - start[query[order]]
    most = max(count // max(len(pools.start) - 1, 1), LEAST_PAIRS)
    return np.sort(order[place < most])


def reasons(
    table: pa.Table, queries: pa.Array, documents: pa.Array, pools: DocumentPools, pairs: ComparedPairs
) -> dict[str, np.ndarray | pa.Array]:
    """reason_pair [N] ascending, reason_judge, reason_turned (the pair's second document was shown as A) and reason."""
    query = index(table["query_id"], queries)
    a, b = (pools.rows(query, index(table[name], documents)) for name in ("doc_a", "doc_b"))
    row, judge = pairs.row(a, b), index(table["judge"], pa.array(pairs.judges, pa.string()))
    kept = np.flatnonzero((row >= 0) & (judge >= 0))
    said = [readable(text, None) for text in table["text"].take(pa.array(kept)).to_pylist()]
    kept = (
        kept[[len("".join(lines)) > 1 for lines in said]] if said else kept
    )  # a letter says no more than the preference
    kept = kept[np.argsort(row[kept], kind="stable")][:REASONS]
    texts = ["\n".join(readable(text, None))[:REASON_TEXT] for text in table["text"].take(pa.array(kept)).to_pylist()]
    swapped = np.asarray(table["swapped"].fill_null(False))[kept].astype(bool)
    return {
        "reason_pair": row[kept].astype(np.uint32),
        "reason_judge": judge[kept].astype(np.uint8),
        "reason_turned": (swapped ^ (a[kept] > b[kept])).astype(np.uint8),
        "reason": pa.array(texts, pa.string()),
    }
