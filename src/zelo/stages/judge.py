"""Asks the judges which of two candidates is the better answer, for the pairs that the graph proposes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import protocols
from zelo.errors import BadInput
from zelo.progress import progress
from zelo.records import ANSWERED, OUTCOME, STATUSES, Outcomes, Questions, starts
from zelo.store import Table

QUERIES_PER_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Writes outcomes (OUTCOME): one row per pair and judge.

    Presentation order is decided, recorded and undone here and nowhere else: each judge sees each pair in an order drawn from
    a hash of its name, the query, the two documents and the seed. An outcome that is not answered makes the table partial; the
    next run keeps the answers and asks the rest.
    """

    inputs: dict[str, str]  # data: the load stage; candidates: a retrieve stage
    graph: protocols.Graph
    judge: protocols.Judge
    top_k: int  # what the candidates were cut at
    seed: int

    def __post_init__(self) -> None:
        degree = getattr(self.graph, "degree", 2)
        if degree > self.top_k - 1:
            raise BadInput(
                f"graph.degree={degree} is above top_k - 1 = {self.top_k - 1}: a document cannot meet more than the others."
                f" Set graph.degree to at most {(self.top_k - 1) // 2 * 2}, or raise top_k."
            )

    @property
    def members(self) -> dict[str, protocols.Judge]:
        """The judges by name: the members of an ensemble, and theirs as `key/key`, or the one judge."""
        return dict(_single(self.judge, "")) or {self.judge.name: self.judge}

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Judges a batch of queries at a time and streams the outcomes to disk."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        pools = Pools.of(tables["candidates"].read("candidates"), queries, documents)
        earlier = tables["partial"].read("outcomes") if "partial" in tables else None
        counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        pairs = complete = 0
        with pq.ParquetWriter(out / "outcomes.parquet", OUTCOME, compression="zstd") as writer:
            with progress("judge", len(pools.query_row), "queries") as advance:
                for batch in pools.batches(QUERIES_PER_BATCH):
                    questions = self._questions(batch, queries, documents)
                    pairs += len(questions)
                    complete += int((batch.sizes - 1 < getattr(self.graph, "degree", 0)).sum())
                    for name, member in self.members.items():
                        rows = self._ask(name, member, questions, earlier)
                        writer.write_table(rows)
                        for status, count in _status_counts(rows).items():
                            counts[status] += count
                    advance(len(batch.query_row))
        missing = sum(counts.values()) - counts[ANSWERED]
        figures = {"rows": sum(counts.values()), "pairs": pairs, "status": counts, "queries_with_all_pairs": complete}
        return figures | ({"partial": True} if missing else {})

    def _questions(self, batch: "Pools", queries: pa.Table, documents: pa.Table) -> Questions:
        names = queries["query_id"].take(batch.query_row).to_pylist()
        seeds = np.array([content_seed(name, self.seed) for name in names], np.uint64)
        edges = self.graph.propose(batch.sizes, seeds, None)
        assert edges is not None, "a graph proposes at least once"
        query_of = np.repeat(batch.query_row, batch.sizes)
        return Questions(
            queries=queries,
            documents=documents,
            query_row=query_of[edges[:, 0]],
            a_row=batch.doc_row[edges[:, 0]],
            b_row=batch.doc_row[edges[:, 1]],
            repeat=np.zeros(len(edges), np.int16),
        )

    def _ask(self, name: str, judge: protocols.Judge, questions: Questions, earlier: pa.Table | None) -> pa.Table:
        p, tokens, cost = _answers(earlier, name, questions)
        ask = np.flatnonzero(np.isnan(p))
        swapped = presentation_order(questions, name, self.seed)
        shown = replace(
            questions,
            query_row=questions.query_row[ask],
            a_row=np.where(swapped, questions.b_row, questions.a_row)[ask],
            b_row=np.where(swapped, questions.a_row, questions.b_row)[ask],
            repeat=questions.repeat[ask],
        )
        outcomes = judge.compare(shown) if len(ask) else Outcomes.answered(name, np.empty(0))
        order = np.argsort(outcomes.question, kind="stable")
        if len(order) != len(ask):
            raise ValueError(f"judge {name} returned {len(order)} outcomes for {len(ask)} questions")
        p[ask] = np.where(swapped[ask], 1 - outcomes.p[order], outcomes.p[order])
        status = np.full(len(questions), STATUSES.index(ANSWERED), np.int32)
        status[ask] = _codes(outcomes.status)[order]
        tokens[ask], cost[ask] = outcomes.tokens[order], outcomes.cost[order]
        answered = status == STATUSES.index(ANSWERED)
        return pa.Table.from_arrays(
            [
                questions.query_id,
                questions.doc_a,
                questions.doc_b,
                pa.nulls(len(questions), pa.string()),
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(questions), np.int32)), pa.array([name])),
                pa.array(questions.repeat),
                pa.array(p, mask=~answered),
                pa.array(swapped),
                pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES)),
                pa.array(tokens),
                pa.array(cost),
            ],
            schema=OUTCOME,
        )


def _single(judge: protocols.Judge, prefix: str) -> Iterator[tuple[str, protocols.Judge]]:
    """(name, judge) of each judge within an ensemble that asks no others itself; nothing where `judge` is one of these."""
    for key, member in getattr(judge, "members", {}).items():
        yield from _single(member, f"{prefix}{key}/") if hasattr(member, "members") else [(prefix + key, member)]


@dataclass(frozen=True)
class Pools:
    """The candidates of Q queries as integers: rows of the query and document tables."""

    query_row: np.ndarray  # [Q]
    sizes: np.ndarray  # [Q]
    doc_row: np.ndarray  # [sum of sizes]

    @staticmethod
    def of(candidates: pa.Table, queries: pa.Table, documents: pa.Table) -> "Pools":
        """Candidates in their order; a document that a query names twice counts once."""
        query = pc.index_in(candidates["query_id"], queries["query_id"].combine_chunks()).to_numpy()
        doc = pc.index_in(candidates["doc_id"], documents["doc_id"].combine_chunks()).to_numpy()
        _, first = np.unique(query.astype(np.int64) * len(documents) + doc, return_index=True)
        keep = np.sort(first)
        keep = keep[np.argsort(query[keep], kind="stable")]
        query_row, sizes = np.unique(query[keep], return_counts=True)
        return Pools(query_row.astype(np.int32), sizes.astype(np.int64), doc[keep].astype(np.int32))

    def batches(self, queries: int) -> Iterator["Pools"]:
        """The same, at most this many queries at a time."""
        start = starts(self.sizes)
        for low in range(0, len(self.sizes), queries):
            high = min(low + queries, len(self.sizes))
            yield Pools(self.query_row[low:high], self.sizes[low:high], self.doc_row[start[low] : start[high]])


def content_seed(text: str, seed: int) -> int:
    """64 bits from a text and a seed (blake2b), so that a query's draws depend on nothing but itself."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\x00{text}".encode(), digest_size=8).digest(), "little")


def presentation_order(questions: Questions, judge: str, seed: int) -> np.ndarray:
    """[N] bool: show the second document first. Half of the pairs, from the content of each pair and the judge's name."""
    mixed = _hashes(questions.queries["query_id"], questions.query_row, seed)
    a = _hashes(questions.documents["doc_id"], questions.a_row, seed)
    b = _hashes(questions.documents["doc_id"], questions.b_row, seed)
    # splitmix64 (Steele, Lea and Flood 2014), once per ingredient; symmetric in a and b up to the flip at the end
    state = mixed ^ np.uint64(content_seed(judge, seed))
    for part in (np.minimum(a, b), np.maximum(a, b), questions.repeat.astype(np.uint64)):
        state = _splitmix(state ^ part)
    return (state >> np.uint64(63)).astype(bool) ^ (a > b)


def _hashes(ids: pa.ChunkedArray, rows: np.ndarray, seed: int) -> np.ndarray:
    """[N] uint64 hash of the id in each row; each distinct id is hashed once."""
    distinct, place = np.unique(rows, return_inverse=True)
    return np.array([content_seed(name, seed) for name in ids.take(distinct).to_pylist()], np.uint64)[place]


def _splitmix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _codes(status: pa.DictionaryArray) -> np.ndarray:
    """[N] positions in STATUSES. Raises ValueError for a status that is not listed there."""
    known = np.array([STATUSES.index(name) for name in status.dictionary.to_pylist()], np.int32)
    return known[status.indices.to_numpy()]


def _status_counts(rows: pa.Table) -> dict[str, int]:
    counts = rows["status"].value_counts()
    return {str(item["values"]): item["counts"].as_py() for item in counts}


def _answers(earlier: pa.Table | None, judge: str, questions: Questions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, tokens, cost), [N] each, of an earlier, partial table for these questions; p is nan where there was no answer."""
    p, tokens, cost = (
        np.full(len(questions), np.nan, np.float32),
        np.zeros(len(questions), np.int32),
        np.zeros(len(questions)),
    )
    if earlier is None:
        return p, tokens, cost
    rows = earlier.filter(pc.and_(pc.equal(earlier["judge"], judge), pc.is_valid(earlier["p"])))
    query = pc.index_in(rows["query_id"], questions.queries["query_id"].combine_chunks()).to_numpy()
    a = pc.index_in(rows["doc_a"], questions.documents["doc_id"].combine_chunks()).to_numpy()
    b = pc.index_in(rows["doc_b"], questions.documents["doc_id"].combine_chunks()).to_numpy()
    size = np.int64(len(questions.documents))
    keys = (query.astype(np.int64) * size + a) * size + b
    order = np.argsort(keys)
    asked = (questions.query_row.astype(np.int64) * size + questions.a_row) * size + questions.b_row
    place = np.searchsorted(keys[order], asked)
    found = np.flatnonzero(np.append(keys[order], -1)[place] == asked)
    place = order[place[found]]
    for column, name in ((p, "p"), (tokens, "tokens"), (cost, "cost")):
        column[found] = rows[name].to_numpy()[place]
    return p, tokens, cost
