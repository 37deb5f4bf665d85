"""First-stage retrieval: the candidates of each query."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import domains, embedding_calls, passages
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Executor, FileRetriever, PaidEmbedder, Retriever, SpreadRetriever
from zelo.ranking import own_documents, without_own
from zelo.records import CANDIDATE, DOMAIN, DUPLICATE, TRAIN, UNUSED, Retrieved
from zelo.stages.searching import Searching
from zelo.store.shards import CHECKPOINT, write_parquet, write_shard
from zelo.store.table import Table
from zelo.units import HERE

SHARD = 512  # queries: the unit of work of the stages below
FILLED = pa.schema([("query_id", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Writes candidates (CANDIDATE) of the queries of these splits: the best `top_k` documents, grouped by query.

    Of a document that was split its best passage is a candidate. A document with the query's own id is left out unless
    `keep_own_document`; where documents have a domain, those of the query's own can be candidates. Where the retriever is a run
    file that lacks queries, `filled` (FILLED) names those that have candidates from elsewhere: to learn from, not to measure the
    run by.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"budget"})

    inputs: dict[str, str]  # data: the load stage
    retriever: Retriever
    top_k: int
    splits: list[str]
    keep_own_document: bool
    budget: Budget

    def __post_init__(self) -> None:
        if self.top_k < 2:
            raise BadInput(
                f"retrieve: top_k={self.top_k}; at least 2 candidates are needed to compare, set top_k >= 2."
            )

    @property
    def paid(self) -> dict[str, PaidEmbedder]:
        """Who is asked for vectors, by name; nobody where that costs nothing."""
        return embedding_calls.named(self.retriever)

    @property
    def cheap(self) -> bool:
        """Whether plan=true may run it, to count what would be asked."""
        return not self.paid

    def check(self) -> None:
        """Raises BadInput for a key that is missing, before the stages above spend any time."""
        for embedder in self.paid.values():
            self.budget.check(embedder.endpoint)

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What would be asked for vectors, and for how much. Sends nothing."""
        return embedding_calls.plans(self.budget, self.retriever, "retriever", *self._read(tables))

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """By the queries that are searched for; those of a domain with its own documents are apart."""
        if "data" not in tables:
            return None
        queries = self._asked(tables["data"].read("queries"))
        apart = DOMAIN in queries.column_names and DOMAIN in pq.read_schema(tables["data"].shards("documents")[0]).names
        counts = queries[DOMAIN].drop_null().value_counts().field("counts").to_pylist() if apart else [len(queries)]
        return sum(-(-count // SHARD) for count in counts)

    def _asked(self, queries: pa.Table) -> pa.Table:
        """Those of these splits and their duplicates."""
        known = [DUPLICATE, *[UNUSED] * isinstance(self.retriever, FileRetriever)]  # a run file may name them
        return queries.filter(pc.is_in(queries["split"], pc.cast([*self.splits, *known], "string")))

    def _read(self, tables: dict[str, Table]) -> tuple[pa.Table, pa.Table]:
        """(queries of these splits and their duplicates, documents)."""
        return self._asked(tables["data"].read("queries")), tables["data"].read("documents")

    def _ask(self, queries: pa.Table, documents: pa.Table) -> Facts:
        """Gets the vectors that the search needs, where they cost money; what was spent."""
        if not self.paid:
            return {}
        plans = embedding_calls.plans(self.budget, self.retriever, "retriever", queries, documents)
        with self.budget.open(plans) as session:
            embedding_calls.ask(session, self.retriever, queries, documents)
            return embedding_calls.facts(session, self.retriever)

    @property
    def spreads(self) -> bool:
        """Whether the retriever does."""
        return isinstance(self.retriever, SpreadRetriever) and self.retriever.spreads

    def run(self, tables: dict[str, Table], out: Path, executor: Executor = HERE) -> Facts:
        """SHARD queries are a unit where the retriever spreads.

        Raises BadInput when no query of the train split has two candidates, LimitReached for vectors that are missing.
        """
        queries, documents = self._read(tables)
        bought = self._ask(queries, documents)
        found, own = self._found(queries, documents, out / CHECKPOINT, executor)
        candidates, filled = found.candidates, found.filled
        used = pc.is_in(queries["split"], pc.cast(self.splits, "string"))
        if not pc.all(used).as_py():
            filled, queries = filled[used.to_numpy()], queries.filter(used)
            candidates = candidates.filter(pc.is_in(candidates["query_id"], queries["query_id"].combine_chunks()))
        counted = candidates["query_id"].value_counts()
        counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        sizes = np.array([counts.get(query, 0) for query in queries["query_id"].to_pylist()], np.int64)
        if TRAIN in self.splits and not (sizes[np.array(queries["split"]) == TRAIN] >= 2).any():
            raise BadInput(
                "retrieve: no train query has two candidates, so nothing can be compared. Check that the queries are in the"
                " language of the documents, or choose another retriever."
            )
        ends = np.append(np.cumsum(sizes)[SHARD - 1 :: SHARD], len(candidates))
        for number, (low, high) in enumerate(pairwise([0, *np.unique(ends).tolist()])):
            write_shard(candidates.slice(low, high - low), CANDIDATE, out, "candidates", number)
        if filled.any():
            write_parquet(queries.filter(pa.array(filled)), FILLED, out, "filled")
        below = {
            "queries_below_two": int((sizes < 2).sum()),
            "queries_without": int((sizes == 0).sum()),
            "queries": len(sizes),
        }
        return {"rows": len(candidates), **below, **own, **bought, "notes": [*bought.get("notes", []), *found.notes]}

    def _found(
        self, queries: pa.Table, documents: pa.Table, folder: Path, executor: Executor
    ) -> tuple[Retrieved, Facts]:
        """What the retriever finds, and how many documents were left out of it."""
        leaves_out = own_documents(queries, documents, self.keep_own_document)
        top_k, retriever, corpora = self.top_k + leaves_out, self.retriever, count()

        def find(some: pa.Table, of: pa.Table) -> pa.Table:
            if isinstance(retriever, SpreadRetriever) and retriever.spreads:
                here = folder / str(next(corpora))
                return Searching.of(retriever, some, of, here, top_k, SHARD).candidates(executor)
            return passages.search(lambda asked, depth: retriever.search(asked, of, depth), some, of, top_k)

        if isinstance(retriever, FileRetriever):
            found = retriever.retrieved(queries, documents, top_k)
        else:
            found = Retrieved(domains.search(find, queries, documents), np.zeros(len(queries), bool), ())
        if not leaves_out:
            return found, {}
        candidates, own = without_own(found.candidates, queries, documents, self.top_k)
        return replace(found, candidates=candidates), own
