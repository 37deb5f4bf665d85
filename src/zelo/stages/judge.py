"""Asks the judges which of two candidates is the better answer, for the pairs that the graph proposes."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zelo import judge_weights, protocols
from zelo.asking import Panel, average
from zelo.auditing.advice import one_place
from zelo.auditing.design import AuditDesign
from zelo.auditing.reasons import REASON, Widest
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.randomness import content_seed
from zelo.metrics import tally
from zelo.pools import Pools
from zelo.progress import Advance, progress, silent
from zelo.records import OUTCOME, STATUSES, Comparisons, Fit, Questions
from zelo.stages.candidate_pools import CandidatePools, queries_in
from zelo.store.shards import shard, shard_writer, write_shard
from zelo.store.table import Table
from zelo.units import HERE, of_shards

if TYPE_CHECKING:
    from zelo.budget.session import Session

SOME = 200  # questions that a price is reckoned by
RANDOM, BOTH = "random", "both"
EVERYTHING = AuditDesign(sample_queries=None, documents_per_query=None, repeats=1, injection=None)


@dataclass(frozen=True, kw_only=True)
class JudgeStage:
    """Writes outcomes (OUTCOME): a row per pair, judge, order and repeat.

    An AdaptiveGraph is asked again with the fit of all pairs so far, judges weighted as in ratings, until it wants no more. What
    failed or was not asked for, and a paid reply that is no answer, make the table partial: the next run keeps the rest, asks for
    the former and reads the latter again. Judges that cost money are asked through the budget.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"budget"})

    # data: the load stage; candidates: a retrieve stage; perhaps weights: a stage that weighs judges, student: a train stage,
    # lists: a retrieve stage, where `candidates` has but some of each query's, and new: a refresh stage, whose documents join the
    # candidates, and only pairs with one of them are compared
    inputs: dict[str, str]
    graph: protocols.Graph
    judge: protocols.Judge | protocols.PaidJudge
    top_k: int  # the best candidates of a query are compared, so many at most
    presentation: str  # random: one order per judge and pair; both: each pair is asked twice
    design: AuditDesign | None  # which of the questions an audit asks; None: all, once
    seed: int
    budget: Budget

    def __post_init__(self) -> None:
        if (degree := self._degree) > self.top_k - 1:
            most = (self.top_k - 1) // 2 * 2
            fix = (
                f"Set graph.degree to at most {most}, or raise top_k"
                if most
                else f"Raise top_k to {degree + 1} or more"
            )
            raise BadInput(
                f"graph.degree={degree} is above top_k - 1 = {self.top_k - 1}: a document cannot meet more than the others."
                f" {fix}, or use graph=complete."
            )
        if not all(str(name or "").strip() for name in self.members):
            raise BadInput("judge.name is empty; every judge needs a name, which sets its answers apart from others'.")
        if self.presentation not in (RANDOM, BOTH):
            raise BadInput(f"judge: presentation={self.presentation!r} is unknown; use {RANDOM} or {BOTH}.")

    @property
    def members(self) -> dict[str, protocols.Judge | protocols.PaidJudge]:
        """The judges by name."""
        return self._panel.members

    @property
    def paid(self) -> dict[str, protocols.PaidJudge]:
        """Those that are asked through the budget."""
        return self._panel.paid

    @property
    def spreads(self) -> bool:
        """Whether every judge may be asked elsewhere."""
        return all(isinstance(member, protocols.SpreadJudge) for member in self.members.values())

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """The shards of candidates; a sample is one."""
        return 1 if self._samples else of_shards(tables, above, "candidates", "candidates")

    @property
    def _panel(self) -> Panel:
        return Panel(self.judge, self.seed, layouts=self._samples)

    @property
    def _degree(self) -> int:
        """Pairs that each document takes part in, where the graph sets it; else 0."""
        return self.graph.degree if isinstance(self.graph, protocols.DegreeGraph) else 0

    @property
    def _times(self) -> int:
        """How often a judge is asked about one pair."""
        return self._design.repeats * (1 + (self.presentation == BOTH))

    @property
    def _design(self) -> AuditDesign:
        return self.design or EVERYTHING

    @property
    def _samples(self) -> bool:
        return self._design.sample_queries is not None

    @property
    def unread(self) -> frozenset[str]:
        """Weights, where no round follows another, or where all judges count alike for want of known items."""
        adaptive = isinstance(self.graph, protocols.AdaptiveGraph) and not self._samples
        return frozenset() if adaptive and self._panel.weighable else frozenset({"weights"})

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a student that is to judge and comes from nowhere, or from two places; and for a graph or a sample
        that cannot be of pairs with new documents alone.
        """
        if "new" in stages and (isinstance(self.graph, protocols.AdaptiveGraph) or self._samples):
            raise BadInput(
                f"judge: pairs with new documents are drawn at once and all asked, and graph={type(self.graph).__name__} goes on"
                " from the answers to all pairs, or design asks a sample. Choose graph@refresh.graph=cycles, and design=null."
            )
        waits = [
            name
            for name, member in self.members.items()
            if isinstance(member, protocols.TrainedJudge) and member.path is None
        ]
        if waits and "student" not in stages:
            raise BadInput(
                f"judge {waits[0]}: path=null names no model. Set judge.path to what a run exported, RUN_FOLDER/pairwise, or"
                " name the train stage among the inputs of the judge stage: student."
            )
        if "student" in stages and not (waits and isinstance(self.judge, protocols.TrainedJudge)):
            raise BadInput(
                f"judge {self.judge.name}: its stage has a train stage as input, and this judge takes no model from one. Use"
                " judge=student with path=null there."
            )

    def check(self) -> None:
        """Raises BadInput for a key or a model that is missing, before the stages above spend any time."""
        for member in self.paid.values():
            self.budget.check(member.endpoint)
        for member in self.members.values():
            if isinstance(member, protocols.Checked):
                member.check()

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What each judge that costs money would be asked, and for how much. Sends nothing.

        Of an adaptive graph the first round is known; the others are taken to be like it, up to the most that it may want.
        """
        return self._plans(self._pools(tables))

    def _plans(self, pools: CandidatePools) -> list[Plan]:
        plans = self.budget.plans({name: (member, self._first(name, pools)) for name, member in self.paid.items()})
        plans = [replace(plan, key=self._panel.key(plan.judge)) for plan in plans]
        if not isinstance(self.graph, protocols.AdaptiveGraph) or self._samples:
            return plans
        most = self._times * sum(int(self.graph.most(batch.sizes).sum()) for batch in pools.every())
        return [plan.scaled(most / max(plan.pairs, 1)) for plan in plans]

    def expected_usd(self, tables: dict[str, Table]) -> float | None:
        """What all pairs would cost by the mean of the first few, were none in the ledger; None: not known. Sends nothing."""
        pools, usd = self._pools(tables), 0.0
        sizes = (np.minimum(batch.sizes, self.top_k) for batch in pools.every())
        pairs = self._times * sum(int(self.graph.most(part).sum()) for part in sizes)
        for name, member in self.paid.items():
            some = (part.take(np.arange(min(len(part), SOME))) for part in islice(self._first(name, pools), 1))
            (plan,) = self.budget.plans({name: (member, some)})
            if plan.usd is None or plan.known == plan.pairs:
                return None
            usd += plan.usd / (plan.pairs - plan.known) * pairs
        return usd

    def _first(self, name: str, pools: CandidatePools) -> Iterator[Questions]:
        """What a judge is asked in the first round, as it is shown, batch by batch."""
        for batch in pools.every():
            asked = self._asked(batch, pools, self._seeds(batch, pools), None)
            if asked is not None:
                yield asked.questions.flipped(self._swapped(asked)[name])

    def run(self, tables: dict[str, Table], out: Path, executor: protocols.Executor = HERE) -> Facts:
        """Judges shard by shard, and in it a batch of queries at a time; each shard is a unit where every judge spreads.

        Raises BadInput when a judge costs money and there is no budget, LimitReached when it is spent.
        """
        if "student" in tables:
            student = cast(protocols.TrainedJudge, self.judge)
            here = {role: source for role, source in self.inputs.items() if role != "student"}
            return replace(self, judge=student.trained(tables["student"].path), inputs=here).run(
                {role: table for role, table in tables.items() if role != "student"}, out, executor
            )
        work = _Shards(self, tables, out)
        plans = self._plans(work.pools) if self.paid else []  # of these very tables, so that answers are found again
        queries_left = nullcontext(silent) if plans else progress("judge", sum(work.sizes.values()), "queries", dict)
        with self.budget.open(plans) as session, queries_left as advance:  # the budget shows its own progress
            if self.spreads:
                found = executor.run(work, work.sizes, advance, model=True)
            else:
                found = HERE.run(partial(work.judge, session), work.sizes, advance)
        for facts in found.values():
            for name, count in facts["counts"].items():
                cast(protocols.CountingJudge, self.members[name]).add_counts(count)
        return self._figures(list(found.values()), work, session)

    def _lacks(self, tallies: Mapping[str, tally.Tally]) -> bool:
        """Whether a later attempt may better any of these outcomes."""
        return any(self._panel.missing(name, one.status) for name, one in tallies.items())

    def _rounds(
        self,
        batch: Pools,
        pools: CandidatePools,
        earlier: pa.Table | None,
        weights: pa.Table | None,
        session: "Session",
    ) -> Iterator[tuple["QuestionBatch", dict[str, pa.Table]]]:
        """What was asked about a batch of queries, and the OUTCOME rows per judge, round by round."""
        seeds, fit, lists = self._seeds(batch, pools), None, pools.lists_of(batch)
        solver = self.graph.solver if isinstance(self.graph, protocols.AdaptiveGraph) else None
        rounds: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        while (asked := self._asked(batch, pools, seeds, fit)) is not None:
            questions = replace(asked.questions, candidates=lists)
            answers = self._panel.ask(questions, self._swapped(asked), earlier, session)
            yield asked, answers
            if solver is None or self._samples:
                return
            believed = {name: judge_weights.weighted(rows, weights) for name, rows in answers.items()}
            rounds.append((asked.edges, *average(believed, self._times)))
            fit = _fit(solver, batch.sizes, *(np.concatenate(part) for part in zip(*rounds, strict=True)))

    def _seeds(self, batch: Pools, pools: CandidatePools) -> np.ndarray:
        names = pools.queries["query_id"].take(batch.query_row).to_pylist()
        return np.array([content_seed(name, self.seed) for name in names], np.uint64)

    def _asked(self, batch: Pools, pools: CandidatePools, seeds: np.ndarray, fit: Fit | None) -> "QuestionBatch | None":
        """What is asked about a batch of queries next, in the direction of the graph's edges; None: nothing more."""
        edges = self.graph.propose(batch.sizes, seeds, fit)
        if edges is None:
            return None
        edges = pools.with_new(batch, self._design.pairs(edges, batch.sizes))
        if not len(edges):
            return None
        query_of = np.repeat(batch.query_row, batch.sizes)
        times, both = self._times, self.presentation == BOTH
        questions = Questions(
            queries=pools.queries,
            documents=pools.documents,
            query_row=np.tile(query_of[edges[:, 0]], times),
            a_row=np.tile(batch.doc_row[edges[:, 0]], times),
            b_row=np.tile(self._design.injected(batch.doc_row[edges[:, 1]], len(pools.documents)), times),
            repeat=np.repeat(np.arange(times) // (2 if both else 1), len(edges)).astype(np.int16),
        )
        shown = np.repeat(np.arange(times) % 2 == 1, len(edges))
        return QuestionBatch(edges, questions, dict.fromkeys(self.members, shown) if both else None)

    def _swapped(self, asked: "QuestionBatch") -> dict[str, np.ndarray]:
        return self._panel.swapped(asked.questions) if asked.swapped is None else asked.swapped

    def _figures(self, found: list[Facts], work: "_Shards", session: "Session") -> Facts:
        """For the manifest. found: what each unit has counted."""
        tallies = tally.added(facts["tallies"] for facts in found)
        counts: dict[str, dict[str, int]] = {
            name: tallies[name].status if name in tallies else dict.fromkeys(STATUSES, 0) for name in self.members
        }
        totals = {status: sum(count[status] for count in counts.values()) for status in STATUSES}
        missing = {name: self._panel.missing(name, count) for name, count in counts.items()}
        figures: Facts = {
            "rows": sum(totals.values()),
            "pairs": sum(next(iter(counts.values())).values()) // self._times,
            "status": totals,
            "queries_with_all_pairs": sum(facts["with_all_pairs"] for facts in found),
        }
        figures["judges"] = {
            name: {
                "status": counts[name],
                "missing": missing[name],
                **(work.pools.cut(member) if isinstance(member, protocols.TruncatingJudge) else {}),
                **session.figures.get(name, {}),
            }
            for name, member in self.members.items()
        }
        places = {name: one_place(tallies[name]) for name in self.members if name in tallies}
        for name, one in tallies.items():
            figures["judges"].get(name, {})["shown_first"] = one.shown_first
        figures["notes"] = [f"judge {name} {words}" for name, words in places.items() if words]
        for member in self.members.values():
            if isinstance(member, protocols.ReportingJudge):
                figures["notes"] += member.notes()
        return figures | ({"partial": True} if any(missing.values()) else {})

    def _pools(self, tables: dict[str, Table]) -> CandidatePools:
        """The candidates that are asked about."""
        queries, documents = tables["data"].read("queries"), self._design.documents(tables["data"].read("documents"))
        files = tables["candidates"].shards("candidates")
        whole, new = (tables[role].shards("candidates") if role in tables else None for role in ("lists", "new"))
        if not self._samples:
            return CandidatePools(queries, documents, files, None, whole, new, self.top_k)
        pools = Pools.of(tables["candidates"].read("candidates"), queries, documents).best(self.top_k)
        sample = self._design.sample(pools, queries, self.seed)
        return CandidatePools(queries, documents, files, sample, whole, new, self.top_k)


@dataclass(frozen=True)
class _Shards:
    """The work of a stage: a unit is a shard. Sent elsewhere it is small, for it reads its tables there."""

    stage: JudgeStage
    tables: dict[str, Table]
    out: Path

    @cached_property
    def pools(self) -> CandidatePools:
        """The candidates."""
        return self.stage._pools(self.tables)

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("stage", "tables", "out")}

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Queries of each unit, by the files alone: the documents are read where it runs."""
        if self.stage._samples:
            return {0: sum(len(batch.query_row) for batch in self.pools.every())}
        return queries_in(self.tables["new" if "new" in self.tables else "candidates"].shards("candidates"))

    def __call__(self, number: int, advance: Advance) -> Facts:
        """Where nothing is paid for."""
        with self.stage.budget.open([]) as session:
            return self.judge(session, number, advance)

    def judge(self, session: "Session", number: int, advance: Advance) -> Facts:
        """What was counted: by the judges that do, and in what was written, some of it perhaps by an attempt before this one."""
        stage, earlier, done = self.stage, self.tables.get("partial"), shard(self.out, "outcomes", number)
        known = None if earlier is None else pq.read_table(shard(earlier.path, "outcomes", number))
        tallies = tally.of_files([done]) if done.exists() else None
        batches = list(self.pools.batches(number))
        if tallies is None or stage._lacks(tallies):
            self._write(session, number, batches, known if tallies is None else pq.read_table(done), advance)
            tallies = tally.of_files([done])
        members = stage.members.items()
        return {
            "counts": {name: one.take_counts() for name, one in members if isinstance(one, protocols.CountingJudge)},
            "tallies": tallies,
            "with_all_pairs": sum(int((batch.sizes - 1 < stage._degree).sum()) for batch in batches),
        }

    def _write(
        self, session: "Session", number: int, batches: list[Pools], earlier: pa.Table | None, advance: Advance
    ) -> None:
        """Judges the queries of one shard. earlier: outcomes about them of an attempt that lacks some."""
        stage, widest, weights = self.stage, Widest(), judge_weights.read(self.tables)
        with shard_writer(OUTCOME, self.out, "outcomes", number) as writer:
            for batch in batches:
                for asked, answers in stage._rounds(batch, self.pools, earlier, weights, session):
                    for rows in answers.values():
                        writer.write_table(rows)
                    widest.add(asked.questions, asked.swapped or stage._swapped(asked), list(answers.values()))
                advance(len(batch.query_row))
            write_shard(widest.table(), OUTCOME, self.out, "widest", number)
            if stage.paid:
                writing = {name: one for name, one in stage.paid.items() if not isinstance(one, protocols.StateJudge)}
                texts = {name: partial(session.texts, member) for name, member in writing.items()}
                write_shard(widest.reasons(texts), REASON, self.out, "reasons", number)


@dataclass(frozen=True)
class QuestionBatch:
    """The questions about a batch of queries. swapped: the order in which each is shown, None: drawn per judge."""

    edges: np.ndarray  # [E, 2] documents of the batch; the questions are these, as often as each is asked
    questions: Questions
    swapped: dict[str, np.ndarray] | None


def _fit(solver: protocols.Solver, sizes: np.ndarray, edges: np.ndarray, p: np.ndarray, weight: np.ndarray) -> Fit:
    """The fit of all answers so far, not diagnosed. Pairs that nobody answered count as asked, and as known to nobody."""
    known = ~np.isnan(p)
    fit = solver.fit(Comparisons(sizes, edges[known], p[known], weight[known], diagnosed=np.zeros(len(sizes), bool)))
    silent = edges[~known]
    return replace(
        fit,
        edges=np.concatenate([fit.edges, silent]),
        curvature=np.concatenate([fit.curvature, np.zeros(len(silent))]),
    )
