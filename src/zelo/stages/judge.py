"""Asks the judges which of two candidates is the better answer, for the pairs that the graph proposes."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import protocols
from zelo.auditing.reasons import REASON, Widest
from zelo.calls.plan import Plan
from zelo.calls.till import Till
from zelo.content_hash import content_seed, id_hashes, mixed
from zelo.errors import BadInput
from zelo.pools import Pools
from zelo.progress import progress
from zelo.records import ANSWERED, DOCUMENT, FINAL, OUTCOME, STATUSES, Outcomes, Questions, starts
from zelo.store import Table, write_parquet

if TYPE_CHECKING:
    from zelo.calls.session import Session

QUERIES_PER_BATCH = 512
RANDOM, BOTH = "random", "both"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Writes outcomes (OUTCOME): a row per pair, judge, order and repeat.

    Presentation order is decided, recorded and undone here and nowhere else: each judge sees each pair in an order drawn from
    a hash of its name, the query, the two documents and the seed, or in both. An outcome that failed or was not asked for makes
    the table partial; the next run keeps the rest and asks for these. Judges that cost money are asked through the till.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"till"})

    inputs: dict[str, str]  # data: the load stage; candidates: a retrieve stage
    graph: protocols.Graph
    judge: protocols.Judge | protocols.PaidJudge
    top_k: int  # what the candidates were cut at
    sample_queries: int | None  # ask about three documents of each of so many queries, drawn by hash; None: about all
    orders: str  # random: one order per judge and pair; both: each pair is asked twice
    repeats: int  # times that each is asked
    injection: str | None  # orders to the judge, added to each doc_b to see how far they sway it; None: nothing
    seed: int
    till: Till

    def __post_init__(self) -> None:
        degree = getattr(self.graph, "degree", 2)
        if degree > self.top_k - 1:
            raise BadInput(
                f"graph.degree={degree} is above top_k - 1 = {self.top_k - 1}: a document cannot meet more than the others."
                f" Set graph.degree to at most {(self.top_k - 1) // 2 * 2}, or raise top_k."
            )
        if self.orders not in (RANDOM, BOTH):
            raise BadInput(f"judge: orders={self.orders!r} is unknown; use {RANDOM} or {BOTH}.")
        if self.repeats < 1 or (self.sample_queries is not None and self.sample_queries < 1):
            raise BadInput(
                f"judge: repeats={self.repeats} and sample_queries={self.sample_queries} must be 1 or more (sample_queries may"
                " be null)."
            )

    @property
    def members(self) -> dict[str, Any]:
        """The judges by name: the members of an ensemble, and theirs as `key/key`, or the one judge."""
        return dict(_single(self.judge, "")) or {self.judge.name: self.judge}

    @property
    def paid(self) -> dict[str, protocols.PaidJudge]:
        """Those of the members that are asked through the till."""
        return {name: member for name, member in self.members.items() if hasattr(member, "requests")}

    def check(self) -> None:
        """Raises BadInput for a key that is missing and would be needed, before the stages above spend any time."""
        for member in self.paid.values():
            self.till.check(member.endpoint)

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What each judge that costs money would be asked, and for how much. Sends nothing."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        pools = self._pools(tables, queries, documents)
        return self.till.plans(
            {
                name: (member, (self._shown(name, asked) for asked in self._asked(pools, queries, documents)))
                for name, member in self.paid.items()
            }
        )

    def run(self, tables: dict[str, Table], out: Path) -> dict[str, Any]:
        """Judges a batch of queries at a time and streams the outcomes to disk.

        Raises BadInput when a judge costs money and there is no budget, LimitReached when it is spent.
        """
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        pools = self._pools(tables, queries, documents)
        earlier = tables["partial"].read("outcomes") if "partial" in tables else None
        counts: dict[str, dict[str, int]] = {name: dict.fromkeys(STATUSES, 0) for name in self.members}
        pairs = 0
        complete = int((pools.sizes - 1 < getattr(self.graph, "degree", 0)).sum())
        plans = self.plan(tables) if self.paid else []
        writer = pq.ParquetWriter(out / "outcomes.parquet", OUTCOME, compression="zstd")
        queries_left = nullcontext(_silent) if plans else progress("judge", len(pools.query_row), "queries")
        with self.till.open(plans) as session, writer, queries_left as advance:
            widest = Widest()
            for asked in self._asked(pools, queries, documents):
                pairs += len(asked.questions) // (self.repeats * (1 + (self.orders == BOTH)))
                swapped = {name: self._swapped(name, asked) for name in self.members}
                answers = dict(self._judged(asked, swapped, earlier, session))
                for name, rows in answers.items():
                    writer.write_table(rows)
                    for status, count in _status_counts(rows).items():
                        counts[name][status] += count
                widest.add(asked.questions, swapped, list(answers.values()))
                advance(asked.queries)
            write_parquet(widest.table(), OUTCOME, out, "widest")
            if self.paid:
                said = {name: partial(session.texts, member) for name, member in self.paid.items()}
                write_parquet(widest.reasons(said), REASON, out, "reasons")
        for member in self.members.values():
            if hasattr(member, "tell"):
                member.tell()
        totals = {status: sum(count[status] for count in counts.values()) for status in STATUSES}
        missing = sum(count for status, count in totals.items() if status not in FINAL)
        figures = {"rows": sum(totals.values()), "pairs": pairs, "status": totals, "queries_with_all_pairs": complete}
        figures["judges"] = {
            name: {
                "status": counts[name],
                **self._cut(member, pools, queries, documents),
                **session.figures.get(name, {}),
            }
            for name, member in self.members.items()
        }
        return figures | ({"partial": True} if missing else {})

    def _cut(self, judge: Any, pools: Pools, queries: pa.Table, documents: pa.Table) -> dict[str, int]:
        """How many of the candidates were longer than the judge reads, where it can tell."""
        if not hasattr(judge, "cut"):
            return {}
        rows = np.unique(pools.doc_row)
        none = np.zeros(len(rows), np.int32)
        return {"cut": judge.cut(Questions(queries, documents, none, rows, rows, none.astype(np.int16)))}

    def _pools(self, tables: dict[str, Table], queries: pa.Table, documents: pa.Table) -> Pools:
        pools = Pools.of(tables["candidates"].read("candidates"), queries, documents)
        if self.sample_queries is None or self.sample_queries >= len(pools.query_row):
            return pools
        enough = pools.sizes > 2  # three documents show whether preferences are transitive
        drawn = id_hashes(queries["query_id"], pools.query_row, self.seed)
        order = np.lexsort((drawn, ~enough))
        return pools.only(np.isin(np.arange(len(drawn)), order[: self.sample_queries]))

    def _asked(self, pools: Pools, queries: pa.Table, documents: pa.Table) -> Iterator["Asked"]:
        """What is asked about a batch of queries after the other, in the direction of the graph's edges."""
        hostile = 0
        if self.injection is not None:
            hostile, documents = len(documents), pa.concat_tables([documents, _with_orders(documents, self.injection)])
        for batch in pools.batches(QUERIES_PER_BATCH):
            names = queries["query_id"].take(batch.query_row).to_pylist()
            seeds = np.array([content_seed(name, self.seed) for name in names], np.uint64)
            edges = self.graph.propose(batch.sizes, seeds, None)
            assert edges is not None, "a graph proposes at least once"
            edges = edges if self.sample_queries is None else triads(edges, batch.sizes)
            query_of = np.repeat(batch.query_row, batch.sizes)
            both = self.orders == BOTH
            times = self.repeats * (2 if both else 1)
            yield Asked(
                queries=len(batch.query_row),
                questions=Questions(
                    queries=queries,
                    documents=documents,
                    query_row=np.tile(query_of[edges[:, 0]], times),
                    a_row=np.tile(batch.doc_row[edges[:, 0]], times),
                    b_row=np.tile(batch.doc_row[edges[:, 1]] + np.int32(hostile), times),
                    repeat=np.repeat(np.arange(times) // (2 if both else 1), len(edges)).astype(np.int16),
                ),
                swapped=np.repeat(np.arange(times) % 2 == 1, len(edges)) if both else None,
            )

    def _swapped(self, name: str, asked: "Asked") -> np.ndarray:
        return presentation_order(asked.questions, name, self.seed) if asked.swapped is None else asked.swapped

    def _shown(self, name: str, asked: "Asked") -> Questions:
        return asked.questions.flipped(self._swapped(name, asked))

    def _judged(
        self, asked: "Asked", swapped: dict[str, np.ndarray], earlier: pa.Table | None, session: "Session"
    ) -> Iterator[tuple[str, pa.Table]]:
        """(judge, OUTCOME rows) of one batch."""
        askings = {
            name: Asking.of(name, asked.questions, swapped[name], None if _asked_whole(member) else earlier)
            for name, member in self.members.items()
        }
        bought = session.ask({name: (member, askings[name].shown) for name, member in self.paid.items()})
        for name, member in self.members.items():
            asking = askings[name]
            if name in bought or not len(asking.shown):
                outcomes = bought.get(name, Outcomes.answered(name, np.empty(0)))
            else:
                outcomes = member.compare(asking.shown)
            yield name, asking.table(outcomes)


@dataclass(frozen=True)
class Asked:
    """The questions about a batch of queries. swapped: the order in which each is shown, None: drawn per judge."""

    queries: int
    questions: Questions
    swapped: np.ndarray | None


@dataclass(frozen=True)
class Asking:
    """One judge and the questions that it has not answered yet."""

    name: str
    questions: Questions
    swapped: np.ndarray  # [N] bool
    ask: np.ndarray  # rows that have no answer yet
    p: np.ndarray  # [N], nan where there is no answer yet; for doc_a
    weight: np.ndarray
    tokens: np.ndarray
    cost: np.ndarray

    @staticmethod
    def of(name: str, questions: Questions, swapped: np.ndarray, earlier: pa.Table | None) -> "Asking":
        """With the answers of an earlier, partial table."""
        n = len(questions)
        p, weight = np.full(n, np.nan, np.float32), np.ones(n, np.float32)
        tokens, cost = np.zeros(n, np.int32), np.zeros(n)
        if earlier is not None:
            rows = earlier.filter(pc.and_(pc.equal(earlier["judge"], name), pc.is_valid(earlier["p"])))
            found, place = _matches(questions, swapped, rows)
            for column, of in ((p, "p"), (weight, "weight"), (tokens, "tokens"), (cost, "cost")):
                column[found] = rows[of].to_numpy()[place]
        return Asking(name, questions, swapped, np.flatnonzero(np.isnan(p)), p, weight, tokens, cost)

    @property
    def shown(self) -> Questions:
        """What is still to be asked, as the judge is to see it."""
        return self.questions.take(self.ask).flipped(self.swapped[self.ask])

    def table(self, outcomes: Outcomes) -> pa.Table:
        """OUTCOME rows of all questions. Raises ValueError when the judge skipped one."""
        order, ask, n = np.argsort(outcomes.question, kind="stable"), self.ask, len(self.questions)
        if len(order) != len(ask):
            raise ValueError(f"judge {self.name} returned {len(order)} outcomes for {len(ask)} questions")
        self.p[ask] = np.where(self.swapped[ask], 1 - outcomes.p[order], outcomes.p[order])
        status = np.full(n, STATUSES.index(ANSWERED), np.int32)
        status[ask] = _codes(outcomes.status)[order]
        for column, answers in (
            (self.weight, outcomes.weight),
            (self.tokens, outcomes.tokens),
            (self.cost, outcomes.cost),
        ):
            column[ask] = answers[order]
        questions = self.questions
        return pa.Table.from_arrays(
            [
                questions.query_id,
                questions.doc_a,
                questions.doc_b,
                pa.nulls(n, pa.string()),
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([self.name])),
                pa.array(questions.repeat),
                pa.array(self.p, mask=status != STATUSES.index(ANSWERED)),
                pa.array(self.weight),
                pa.array(self.swapped),
                pa.DictionaryArray.from_arrays(pa.array(status), pa.array(STATUSES)),
                pa.array(self.tokens),
                pa.array(self.cost),
            ],
            schema=OUTCOME,
        )


def _with_orders(documents: pa.Table, injection: str) -> pa.Table:
    """The same documents, each ending with these words."""
    text = pc.binary_join_element_wise(documents["text"], injection, "\n\n")
    return documents.set_column(documents.schema.get_field_index("text"), DOCUMENT.field("text"), text)


def _asked_whole(judge: Any) -> bool:
    """Whether one answer of the judge's is about several questions: then it is asked about all of them each time.

    Asked about those alone that have no answer yet, it would form other requests, which no ledger knows.
    """
    return getattr(judge, "asked_whole", False)


def _silent(n: int, note: str = "") -> None:
    """The till tells itself how far it is."""


def _single(judge: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, judge) of each judge within an ensemble that asks no others itself; nothing where `judge` is one of these."""
    for key, member in getattr(judge, "members", {}).items():
        yield from _single(member, f"{prefix}{key}/") if hasattr(member, "members") else [(prefix + key, member)]


def presentation_order(questions: Questions, judge: str, seed: int) -> np.ndarray:
    """[N] bool: show the second document first. Half of the pairs, from the content of each pair and the judge's name."""
    query = id_hashes(questions.queries["query_id"], questions.query_row, seed)
    a = id_hashes(questions.documents["doc_id"], questions.a_row, seed)
    b = id_hashes(questions.documents["doc_id"], questions.b_row, seed)
    start = query ^ np.uint64(content_seed(judge, seed))
    drawn = mixed(start, np.minimum(a, b), np.maximum(a, b), questions.repeat.astype(np.uint64))
    return (drawn >> np.uint64(63)).astype(bool) ^ (a > b)  # symmetric in a and b up to this flip


def triads(edges: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[3 T, 2]: the three pairs of three documents for each query that has so many, two of them from its graph.

    Whether three preferences agree can be told of three documents only, and answers about the graph's own pairs serve twice.
    """
    low, found = starts(sizes), []
    for start, end in pairwise(low):
        own = edges[(edges[:, 0] >= start) & (edges[:, 0] < end)]
        middle = np.bincount((own - start).ravel(), minlength=end - start).argmax() + start if len(own) else start
        two = own[(own == middle).any(axis=1)][:2]
        if len(two) == 2:
            found += [*two, two[two != middle]]
    return np.array(found, np.int64).reshape(-1, 2)


def _codes(status: pa.DictionaryArray) -> np.ndarray:
    """[N] positions in STATUSES. Raises ValueError for a status that is not listed there."""
    known = np.array([STATUSES.index(name) for name in status.dictionary.to_pylist()], np.int32)
    return known[status.indices.to_numpy()]


def _status_counts(rows: pa.Table) -> dict[str, int]:
    counts = rows["status"].value_counts()
    return {str(item["values"]): item["counts"].as_py() for item in counts}


def _matches(questions: Questions, swapped: np.ndarray, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(rows of `questions`, rows of the OUTCOME table `rows`) that are about the same pair, order and repeat."""
    documents = questions.documents["doc_id"].combine_chunks()
    known = [
        pc.index_in(rows["query_id"], questions.queries["query_id"].combine_chunks()).to_numpy(),
        pc.index_in(rows["doc_a"], documents).to_numpy(),
        pc.index_in(rows["doc_b"], documents).to_numpy(),
        rows["repeat"].to_numpy(),
        rows["swapped"].to_numpy(),
    ]
    asked = [questions.query_row, questions.a_row, questions.b_row, questions.repeat, swapped]
    key = np.zeros(len(questions) + len(rows), np.int64)
    for one, other in zip(asked, known, strict=True):
        column = np.concatenate([one, other]).astype(np.int64)
        # Numbered anew after each column, so that the product stays small.
        key = np.unique(key * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    _, found, place = np.intersect1d(key[: len(questions)], key[len(questions) :], return_indices=True)
    return found, place
