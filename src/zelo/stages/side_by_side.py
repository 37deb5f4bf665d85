"""Asks judges that did not train which of two rankings is better, query by query; they do not know whose a document is."""

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import protocols
from zelo.asking import Panel, average
from zelo.auditing.reasons import REASON, written
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import BadInput
from zelo.evaluation.runs import run_of
from zelo.evaluation.side_by_side import Sides, advantage, clearest, compared, in_words, places
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.metrics.ir_measure import positions
from zelo.pools import Pools
from zelo.progress import progress, silent
from zelo.records import OUTCOME, Questions
from zelo.store.shards import write_parquet
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.budget.session import Session

DATA, TRAINED_BY, PARTIAL, CANDIDATES = "data", "trained_by", "partial", "candidates"
TRUTH = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("worth", pa.float64())])
ADVANTAGE = pa.schema(
    [("query_id", pa.string()), ("system", pa.string()), ("baseline", pa.string()), ("advantage", pa.float64())]
)
PLACES = pa.schema(
    [
        ("query_id", pa.string()),
        ("system", pa.string()),
        ("baseline", pa.string()),
        ("place", pa.int16()),  # from 1
        ("doc_a", pa.string()),  # of the system; null where it has none at this place
        ("doc_b", pa.string()),  # of the baseline
        ("p", pa.float64()),  # that doc_a is preferred; null where nobody answered, and where one document is lacking
    ]
)
POOL = 100  # documents of each ranking that a judge which standardises scores goes by
QUERIES_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Writes side_by_side.json, `advantage` (ADVANTAGE, null where nobody answered), `places` (PLACES) and `answers` (OUTCOME).

    Two rankings stand side by side (Thomas and Hawking, Evaluation by Comparing Result Sets in Context, CIKM 2006) as the pairs
    of documents, or of their passages, at the same place, down to `depth`; the same one at both is not asked about. A judge sees
    two documents, in an order drawn from their ids, and neither names nor places. The mean over places decides a query. Any judge
    of pairs will do; a pair that several comparisons have is asked once. The answers of an ensemble are averaged. What judges
    wrote about the clearest queries is in `reasons` (REASON), for people to read.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"budget"})

    # data: load; trained_by: the judge stage behind targets or grades; any other is a system that ranks or rates
    inputs: dict[str, str]
    judge: protocols.Judge | protocols.PaidJudge
    compared: dict[str, list[str]]  # system -> baselines
    candidates_as: str  # what the role `candidates` is called in the results: the name of its retriever
    split: str
    depth: int  # places that are compared
    resamples: int
    seed: int
    budget: Budget

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise BadInput(f"side_by_side: depth={self.depth} is below 1; set stages.side_by_side.depth=10.")
        systems = sorted(set(self.inputs) - {DATA, TRAINED_BY})
        for name in [*self.compared, *(one for named in self.compared.values() for one in named)]:
            if name not in systems:
                raise BadInput(
                    f"side_by_side: compared names {name!r}, which is no system of this stage; write one of"
                    f" {', '.join(systems)}, or add it to stages.side_by_side.inputs."
                )

    @property
    def paid(self) -> dict[str, protocols.PaidJudge]:
        """The judges that are asked through the budget."""
        return self._panel.paid

    @property
    def _panel(self) -> Panel:
        return Panel(self.judge, self.seed)

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a judge that made the training targets, or the grades, of what it would compare."""
        trained = stages.get(TRAINED_BY)
        known = trained.members if isinstance(trained, protocols.JudgingStage) else {}
        for name, member in self._panel.members.items():
            if name in known or member in known.values():
                raise BadInput(
                    f"side_by_side: the judge {name} also made the training targets or the grades, and would compare its own"
                    " work. Choose another: judge@side_by_side.judge=chat."
                )

    def check(self) -> None:
        """Raises BadInput for a key or a model that is missing, before the stages above spend any time."""
        for member in self._panel.members.values():
            if isinstance(member, protocols.PaidJudge):
                self.budget.check(member.endpoint)
            if isinstance(member, protocols.Checked):
                member.check()

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What each judge that costs money would be asked. Sends nothing."""
        asked = _Asked.of(self, tables)
        plans = self.budget.plans(
            {
                name: (member, (part.flipped(self._panel.swapped(part)[name]) for part in asked.batches()))
                for name, member in self.paid.items()
            }
        )
        return [replace(plan, key=self._panel.key(plan.judge)) for plan in plans]

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where the split has no ranked query, and what the budget raises."""
        asked, plans = _Asked.of(self, tables), self.plan(tables) if self.paid else []
        earlier = tables[PARTIAL].read("answers") if PARTIAL in tables else None
        p, outcomes = [np.empty(0)], [OUTCOME.empty_table()]
        bar = nullcontext(silent) if plans else progress("side_by_side", len(asked.questions), "questions", dict)
        with self.budget.open(plans) as session, bar as advance:
            for part in asked.batches():
                answers = self._panel.ask(part, self._panel.swapped(part), earlier, session)
                outcomes += answers.values()
                p.append(average(answers)[0])
                advance(len(part))
            found, clear = self._compared(asked, np.concatenate(p), out)
            write_parquet(self._reasons(asked, clear, session), REASON, out, "reasons")
        rows = pa.concat_tables(outcomes).unify_dictionaries()
        write_parquet(rows, OUTCOME, out, "answers")
        judges = ", ".join(self._panel.members)
        content: Facts = {"judges": list(self._panel.members), "split": self.split, "depth": self.depth, "rows": found}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (out / "side_by_side.json").write_text(text + "\n", encoding="utf-8")
        tallies = tally.tally(rows.to_batches())
        missing = {name: self._panel.missing(name, one.status) for name, one in tallies.items()}
        figures: Facts = {
            "rows": len(rows),
            "notes": [f"side by side on {self.split}, judged by {judges}: {in_words(one)}" for one in found],
            "judges": {
                name: {"status": one.status, "missing": missing[name], **session.figures.get(name, {})}
                for name, one in tallies.items()
            },
        }
        return figures | ({"partial": True} if any(missing.values()) else {})

    def _compared(self, asked: "_Asked", p: np.ndarray, out: Path) -> tuple[list[Facts], np.ndarray]:
        """One comparison each, and the rows of the queries that are clearest in some."""
        found, tables, listed = [], [ADVANTAGE.empty_table()], [PLACES.empty_table()]
        clear = [np.empty(0, np.int64)]
        for system, baselines in self.compared.items():
            for baseline in baselines:
                sides = Sides(asked.places[system], asked.places[baseline])
                answers = asked.answers(sides, p)
                lead = advantage(sides, answers)
                clear += clearest(lead)
                named = [self.candidates_as if name == CANDIDATES else name for name in (system, baseline)]
                found.append(compared(named[0], named[1], lead, self.resamples, self.seed))
                columns = [asked.queries["query_id"], *([name] * len(lead) for name in named)]
                tables.append(pa.table([*columns, pa.array(lead, from_pandas=True)], schema=ADVANTAGE))
                listed.append(asked.listed(named[0], named[1], sides, answers))
        write_parquet(pa.concat_tables(tables), ADVANTAGE, out, "advantage")
        write_parquet(pa.concat_tables(listed), PLACES, out, "places")
        return found, np.concatenate(clear)

    def _reasons(self, asked: "_Asked", queries: np.ndarray, session: "Session") -> pa.Table:
        """REASON rows of all pairs of these queries."""
        questions = asked.questions.take(np.flatnonzero(np.isin(asked.questions.query_row, queries)))
        writing = {name: one for name, one in self.paid.items() if not isinstance(one, protocols.StateJudge)}
        texts = {name: partial(session.texts, one) for name, one in writing.items()}
        return written(questions, self._panel.swapped(questions), texts)


@dataclass(frozen=True)
class _Asked:
    """What is asked: each pair of documents that some comparison has at one place, once. key: [N] ascending."""

    queries: pa.Table  # QUERY, of the split
    places: dict[str, np.ndarray]  # system -> [Q, K] rows of documents
    questions: Questions
    key: np.ndarray
    documents: int

    @staticmethod
    def of(stage: SideBySide, tables: dict[str, Table]) -> "_Asked":
        queries, documents = tables[DATA].read("queries"), tables[DATA].read("documents")
        queries = queries.filter(pc.equal(queries["split"], stage.split))
        ids = queries["query_id"].combine_chunks()
        named = {name: None for one, others in stage.compared.items() for name in (one, *others)}
        runs = {name: run_of(name, tables[name], ids, TRUTH.empty_table(), None) for name in named}
        if not any(map(len, runs.values())):
            raise BadInput(
                f"side_by_side: no query of {stage.split} is ranked. Set stages.side_by_side.split to one that is, dev or"
                " test, or add queries of that split."
            )
        found = {name: places(run, queries, documents, stage.depth) for name, run in runs.items()}
        pairs = [np.empty(0, np.int64)]
        for one, others in stage.compared.items():
            for other in others:
                sides = Sides(found[one], found[other])
                pairs.append(_keys(sides, len(documents))[sides.differ])
        key = np.unique(np.concatenate(pairs))
        query, pair = np.divmod(key, len(documents) ** 2)
        first, second = np.divmod(pair, len(documents))
        listed = pa.concat_tables([run.filter(pa.array(positions(run) < POOL)) for run in runs.values()])
        questions = Questions(
            queries=queries,
            documents=documents,
            query_row=query.astype(np.int32),
            a_row=first.astype(np.int32),
            b_row=second.astype(np.int32),
            repeat=np.zeros(len(key), np.int16),
            candidates=Pools.of(listed, queries, documents),
        )
        return _Asked(queries, found, questions, key, len(documents))

    def batches(self) -> Iterator[Questions]:
        """Whole queries, some at a time, with their lists."""
        pools = self.questions.candidates
        assert pools is not None
        for low in range(0, len(self.queries), QUERIES_AT_ONCE):
            high = low + QUERIES_AT_ONCE
            rows = np.flatnonzero((self.questions.query_row >= low) & (self.questions.query_row < high))
            if len(rows):
                kept = (pools.query_row >= low) & (pools.query_row < high)
                yield replace(self.questions.take(rows), candidates=pools.only(kept))

    def answers(self, sides: Sides, p: np.ndarray) -> np.ndarray:
        """[Q, K] that the document of the first side is preferred; 1/2 where there is nothing to ask. p: [N] of the questions."""
        found = np.full(sides.one.shape, 0.5)
        place = np.searchsorted(self.key, _keys(sides, self.documents)[sides.differ])
        found[sides.differ] = np.where(sides.one < sides.other, 1.0, -1.0)[sides.differ] * (p[place] - 0.5) + 0.5
        return found

    def listed(self, system: str, baseline: str, sides: Sides, p: np.ndarray) -> pa.Table:
        """PLACES rows, without the places that neither ranking fills. p: [Q, K] as `answers` gives it."""
        query, place = np.nonzero((sides.one >= 0) | (sides.other >= 0))
        ids = self.questions.documents["doc_id"].combine_chunks()
        one, other = (
            ids.take(pa.array(rows[query, place], mask=rows[query, place] < 0)) for rows in (sides.one, sides.other)
        )
        known = pa.array(np.where(sides.full, p, np.nan)[query, place], from_pandas=True)
        named = [pa.array([name] * len(query), pa.string()) for name in (system, baseline)]
        asked = self.queries["query_id"].take(pa.array(query))
        return pa.table([asked, *named, (place + 1).astype(np.int16), one, other, known], schema=PLACES)


def _keys(sides: Sides, documents: int) -> np.ndarray:
    """[Q, K] one number for a query and two documents, whichever side each is on."""
    low, high = np.minimum(sides.one, sides.other), np.maximum(sides.one, sides.other)
    return (np.arange(len(low))[:, None] * documents + low) * documents + high
