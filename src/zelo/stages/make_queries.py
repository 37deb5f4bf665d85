"""Writes queries where there are none to train on, or too few."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import domains, embedding_calls
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.budget.price import money
from zelo.budget.request_batch import reasons_in_words
from zelo.datasets.layout import split_queries
from zelo.errors import BadInput, LimitReached
from zelo.facts import Facts
from zelo.near_duplicates import Seen
from zelo.protocols import (
    CheapQueryMaker,
    Checked,
    Dataset,
    FileRetriever,
    LocalQueryMaker,
    MayLackQueries,
    PaidJudge,
    PaidQueryMaker,
    Retriever,
)
from zelo.ranking import rows_of
from zelo.records import DEV, DOMAIN, MADE, QUERY, SPLITS, TEST, TRAIN, UNSENT
from zelo.store.shards import write_parquet
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.budget.session import Session

ALIKE = 0.8  # share of common words above which two queries are near duplicates
SPARE = 1.25  # candidates that are looked at for each query that is still wanted
FEWEST = 64  # candidates at a time: a search reads all documents
FEWEST_PAID = 16  # that are asked for at a time, where each costs money
LEAST_SHARE = 0.1  # of candidates that stay: no more than ten are asked for at once for each query that is still wanted
EXAMPLES = 10  # made queries that are shown, and real ones that a maker is shown
MADE_TOO = "made"
LIKE = {TEST: "a test query", DEV: "a dev query", TRAIN: "a train query", MADE_TOO: "another made query"}


@dataclass(frozen=True, kw_only=True)
class MakeQueries:
    """Writes queries (QUERY): those that people have asked, and behind them made ones; and documents, as they are.

    A made query stays if it is no near duplicate, and if the first stage finds the document that it was made for among the best
    `top_k` (round trip; as in Dai et al., Promptagator, ICLR 2023, section 3.2). That document is in `made` (MADE, of the made
    queries in their order) for a reader: nothing takes it for the right answer. Made queries are train queries, and where a
    collection has no dev queries, some of all train queries become that, as in any collection.

    A maker that costs money is asked through the budget, for about as many queries as are wanted, and again for those that were
    not kept. A reply that is no query is counted by its status and left out.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"dataset", "budget"})  # `data` is what the dataset holds

    inputs: dict[str, str]  # data: the load stage
    maker: LocalQueryMaker | PaidQueryMaker
    dataset: Dataset
    retriever: Retriever
    budget: Budget

    def __post_init__(self) -> None:
        if self.maker.most < 0:
            raise BadInput(f"queries.most={self.maker.most} is below 0; set how many train queries you want.")
        if self.maker.top_k < 1:
            raise BadInput(
                f"queries.top_k={self.maker.top_k}: a document is found among the first 1 or more; set queries.top_k >= 1."
            )

    @property
    def passes(self) -> str | None:
        """`data`, where there are queries to train on and these are enough."""
        return None if self._lacks or (self.maker.mix and self.maker.most) else "data"

    @property
    def cheap(self) -> bool:
        """Whether plan=true may run it: no model writes the queries, and the first stage costs nothing."""
        return isinstance(self.maker, CheapQueryMaker) and not embedding_calls.named(self.retriever)

    @property
    def paid(self) -> Mapping[str, PaidJudge]:
        """By name, who writes the queries, without examples, and who gives vectors to the first stage, where that costs money."""
        if not self.maker.most:
            return {}
        writers = [self.maker.writer(())] if isinstance(self.maker, PaidQueryMaker) else []
        return {writer.name: writer for writer in writers} | embedding_calls.named(self.retriever)

    @property
    def _lacks(self) -> bool:
        return isinstance(self.dataset, MayLackQueries) and not self.dataset.has_train_queries()

    def check(self) -> None:
        """Raises BadInput, before anything runs, where there are no queries and none are to be made, or the maker cannot."""
        if isinstance(self.maker, Checked):
            self.maker.check()
        for writer in self.paid.values():
            self.budget.check(writer.endpoint)
        if not self.maker.most and self._lacks:
            raise BadInput(
                "The dataset has no train queries, and none are to be made. Add unlabelled queries to learn from, let them be"
                " made (queries=from_text, queries.most=1000), or let dev queries serve as such (dataset.train_on_dev=true)."
            )

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What the maker would be asked, and for how much, if four of five queries stayed. Sends nothing."""
        given, source = tables["data"].read("queries"), domains.learned_from(tables["data"])
        return self._plan(_Made(given, self.maker.top_k), source, self._wanted(given))

    def _plan(self, made: "_Made", documents: pa.Table, wanted: int) -> list[Plan]:
        if wanted < 1:
            return []
        vectors = embedding_calls.plans(self.budget, self.retriever, "retriever", QUERY.empty_table(), documents)
        if not isinstance(self.maker, PaidQueryMaker):
            return vectors
        writer, questions = self.maker.writer(made.examples), self.maker.questions(documents)
        first = questions.take(np.arange(min(math.ceil(SPARE * wanted), len(questions))))
        plans = self.budget.plans({writer.name: (writer, [first])})
        return [*(replace(plan, key="maker") for plan in plans), *vectors]

    def _wanted(self, given: pa.Table) -> int:
        """Queries to make. given: QUERY."""
        return self.maker.most - given["split"].to_pylist().count(TRAIN)

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where fewer than two queries can be trained on, LimitReached at a cap."""
        given, documents = tables["data"].read("queries"), tables["data"].read("documents")
        wanted, made = self._wanted(given), _Made(given, self.maker.top_k)
        if wanted > 0:
            source = domains.learned_from(tables["data"])
            plans = self._plan(made, source, wanted)
            with self.budget.open(plans) if plans else nullcontext() as session:
                if session is not None:
                    embedding_calls.ask(session, self.retriever, QUERY.empty_table(), source)
                self._fill(made, source, wanted, session)
                bought = {} if session is None else embedding_calls.facts(session, self.retriever)
                made.vectors = bought.get("notes", [])
        queries = pa.concat_tables([given, _queries(made.table, documents, given)])
        split, dev = split_queries(queries, given.slice(0, 0).select(["query_id", "split"]))
        queries = queries.set_column(2, QUERY.field("split"), pa.array(split, pa.string()))
        if split.count(TRAIN) < 1 or DEV not in split:
            if made.replies[UNSENT]:
                raise LimitReached(
                    f"make_queries: a cap of the budget was reached with {len(made.table):,} queries, and two are needed."
                    " Every reply is kept: raise the budget and run again."
                )
            raise BadInput(self._none(made, len(documents)))
        write_parquet(queries, domains.with_domain(QUERY, queries), out, "queries")
        write_parquet(documents, documents.schema, out, "documents")
        write_parquet(made.table, MADE, out, "made")
        counts = {name: split.count(name) for name in SPLITS}
        facts = {"name": tables["data"].manifest["name"], "rows": len(documents), "queries": counts}
        facts |= {"made_queries": made.facts(), "notes": made.notes(dev)}
        return facts | made.paid | ({"partial": True} if made.replies[UNSENT] else {})

    def _fill(self, made: "_Made", documents: pa.Table, wanted: int, session: "Session | None") -> None:
        """Takes what the maker writes until there are so many queries, or it has no more."""
        if isinstance(self.maker, PaidQueryMaker):
            assert session is not None, "a maker that costs money without a plan"
            batches = self._bought(self.maker, made, documents, wanted, session)
        else:
            batches = self.maker.make(documents, made.examples)
        for batch in batches:
            low = 0
            while low < len(batch):
                size = max(FEWEST, int(SPARE * (wanted - len(made.table))))
                new = made.unlike(batch.slice(low, size))
                made.take(new, self._found(new, made, documents, session), wanted)
                low += size
                if len(made.table) == wanted:
                    return

    def _bought(
        self, maker: PaidQueryMaker, made: "_Made", documents: pa.Table, wanted: int, session: "Session"
    ) -> Iterator[pa.Table]:
        """MADE rows of what the maker was asked for, a part at a time, until all is asked or a cap is reached."""
        writer, questions, low = maker.writer(made.examples), maker.questions(documents), 0
        while low < len(questions) and not made.replies[UNSENT]:
            size = made.still_to_ask(wanted)
            asked = questions.take(np.arange(low, min(low + size, len(questions))))
            outcomes = session.ask({writer.name: (writer, asked)})[writer.name]
            made.replies.update(outcomes.status.to_pylist())
            made.paid = {"asked": session.figures[writer.name]}
            ids, styles = asked.doc_a.to_pylist(), asked.query_id.to_pylist()
            texts = (
                (request.rows, writer.written(request, reply)) for request, reply in session.replies(writer, asked)
            )
            rows = [(text, ids[row], styles[row]) for rows, text in texts if text is not None for row in rows]
            yield pa.table(list(zip(*rows, strict=True)) or [[], [], []], schema=MADE)
            low += size

    def _found(self, new: pa.Table, made: "_Made", documents: pa.Table, session: "Session | None") -> np.ndarray:
        """[N] bool: the query finds its document. new: MADE."""
        if not len(new):
            return np.zeros(0, bool)
        queries = _queries(new, documents, made.given)
        # A file names queries that are to be among those that are asked.
        from_file = isinstance(self.retriever, FileRetriever)
        asked = pa.concat_tables([made.given, queries]) if from_file else queries
        if session is not None:
            embedding_calls.ask(session, self.retriever, asked, documents.slice(0, 0))
        pool = self._search(asked, documents) if from_file else domains.search(self._search, asked, documents)
        query = rows_of(pool["query_id"], queries["query_id"])
        own = rows_of(new["doc_id"], documents["doc_id"])
        hit = (query >= 0) & (own[query] == rows_of(pool["doc_id"], documents["doc_id"]))
        return np.bincount(query[hit], minlength=len(new)) > 0

    def _search(self, queries: pa.Table, documents: pa.Table) -> pa.Table:
        return self.retriever.search(queries, documents, self.maker.top_k)

    def _none(self, made: "_Made", documents: int) -> str:
        if made.replies and not made.tried:
            why = "; ".join([made.answered(), *reasons_in_words(made.paid["asked"])[:1]])
            return f"make_queries: no reply is a query: {why}. Choose another queries.model, or add queries.jsonl."
        if not made.tried:
            return (
                f"make_queries: the {documents:,} documents give no query: no title, heading or sentence of 4 to 25 words"
                " stands in one of them alone, or a model wrote blank lines only. Add queries.jsonl, or make them by a model."
            )
        return (
            f"make_queries: too few queries to train on; at least two are needed. {made.why()}. Raise queries.top_k, choose"
            " another retriever, or add queries.jsonl."
        )


def _queries(made: pa.Table, documents: pa.Table, given: pa.Table) -> pa.Table:
    """Train queries (QUERY) of MADE rows, with the columns of `given`; an id says what the text is."""
    texts = made["text"].to_pylist()
    ids = [f"made-{blake2b(text.encode(), digest_size=8).hexdigest()}" for text in texts]
    queries = pa.table([ids, texts, [TRAIN] * len(texts)], schema=QUERY)
    if DOMAIN not in given.column_names:
        return queries
    own = pa.array(rows_of(made["doc_id"], documents["doc_id"]))
    known = DOMAIN in documents.column_names
    domain = documents[DOMAIN].take(own) if known else pa.chunked_array([pa.nulls(len(made), pa.string())])
    return queries.append_column(DOMAIN, domain)


class _Made:
    """The queries that were made, and what became of the others."""

    def __init__(self, given: pa.Table, top_k: int) -> None:
        """given: QUERY."""
        self.given = given
        self.top_k = top_k
        self.table = MADE.empty_table()
        self.tried = self.searched = self.found = 0
        self.like: Counter[str] = Counter()
        self.replies: Counter[str] = Counter()  # of a maker that costs money, by status
        self.paid: Facts = {}  # what they cost, for the manifest
        self.vectors: list[str] = []  # what the first stage has cost, in words
        self.seen = {kind: Seen(ALIKE) for kind in LIKE}
        for text, split in zip(given["text"].to_pylist(), given["split"].to_pylist(), strict=True):
            if split in self.seen:  # a duplicate has the text of one of these
                self.seen[split].add(text)

    @property
    def examples(self) -> list[str]:
        """Some queries that people have asked; never test queries."""
        shown = self.given.filter(pc.is_in(self.given["split"], pa.array([TRAIN, DEV])))
        return shown.take(pc.sort_indices(shown["query_id"]).slice(0, EXAMPLES))["text"].to_pylist()

    def unlike(self, batch: pa.Table) -> pa.Table:
        """Those of these MADE rows that are no near duplicates, and are remembered."""
        kept = []
        for row, text in enumerate(batch["text"].to_pylist()):
            like = next((kind for kind, seen in self.seen.items() if seen.has_like(text)), None)
            if like is None:
                self.seen[MADE_TOO].add(text)
                kept.append(row)
            else:
                self.like[like] += 1
        self.tried += len(batch)
        return batch.take(pa.array(kept, pa.int64()))

    def take(self, new: pa.Table, found: np.ndarray, most: int) -> None:
        """Keeps the first of those that were found, up to `most` in all. new: MADE; found: [N] bool."""
        self.searched, self.found = self.searched + len(new), self.found + int(found.sum())
        self.table = pa.concat_tables([self.table, new.filter(pa.array(found))]).slice(0, most)

    def still_to_ask(self, wanted: int) -> int:
        """Queries to ask for next, by the share of those so far that stayed."""
        share = len(self.table) / self.replies.total() if self.replies else 1 / SPARE
        return max(FEWEST_PAID, math.ceil((wanted - len(self.table)) / max(share, LEAST_SHARE)))

    def answered(self) -> str:
        """How the replies ended, in words."""
        return ", ".join(f"{count:,} {status}" for status, count in self.replies.most_common())

    def facts(self) -> Facts:
        """For the manifest."""
        styles = Counter(self.table["style"].to_pylist())
        return {
            **({"replies": dict(self.replies)} if self.replies else {}),
            "queries": len(self.table),
            "styles": dict(sorted(styles.items())),
            "tried": self.tried,
            "near_duplicates": dict(self.like),
            "searched": self.searched,
            "found": self.found,
            "top_k": self.top_k,
            "examples": self.table.slice(0, EXAMPLES).to_pylist(),
        }

    def notes(self, dev: int) -> list[str]:
        """What a reader should know, one line each."""
        if not self.tried:
            return ["no query is made: there are as many train queries as are wanted (queries.most)"]
        styles = Counter(self.table["style"].to_pylist())
        kinds = ", ".join(f"{count:,} {style}{'s' * (count > 1)}" for style, count in styles.most_common())
        serve = f"; {dev:,} of all train queries, chosen by hash, serve as dev queries" if dev else ""
        examples = [f"made for {row['doc_id']}: {row['text']}" for row in self.table.slice(0, EXAMPLES).to_pylist()]
        made = f"{len(self.table):,} queries are made, nobody has asked them: {kinds}{serve}"
        return [made, self.why(), *self.costs(), *self.vectors, *examples]

    def costs(self) -> list[str]:
        """What was paid for them and how the replies ended, in words; nothing where they cost nothing."""
        if not self.paid:
            return []
        asked = self.paid["asked"]
        spent = f"{asked['calls']:,} calls, {money(asked['price'], asked['usd'])}"
        return [
            f"replies: {self.answered()}; {spent}; {asked['from_ledger']:,} were in the ledger",
            *reasons_in_words(asked),
        ]

    def why(self) -> str:
        """What became of all that were tried, in words."""
        like = [f"{count:,} are like {LIKE[kind]}" for kind, count in self.like.items()]
        share = f" ({self.found / self.searched:.0%})" if self.searched else ""
        found = f"{self.found:,} of {self.searched:,}{share} find their document among the first {self.top_k}"
        return "; ".join([f"made queries: {self.tried:,} tried", *like, found])
