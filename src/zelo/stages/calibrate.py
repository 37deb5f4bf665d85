"""Puts the ratings of all queries on one scale, after asking the judges what that takes."""

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zelo import judge_weights, protocols
from zelo.asking import Panel, average
from zelo.budget.budget import Budget
from zelo.budget.plan import Plan
from zelo.errors import BadInput, OfQueries
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.metrics.predicted_answers import PREDICTED, predicted_answers
from zelo.progress import Advance, progress, silent
from zelo.ratings import Ratings
from zelo.records import (
    DOCUMENT,
    OUTCOME,
    QUERY,
    QUERY_SCALE,
    RATING,
    Answers,
    Asks,
    Questions,
    Rated,
    Scale,
)
from zelo.store.shards import CHECKPOINT, shard, write_parquet, write_shard
from zelo.store.table import Table
from zelo.units import HERE, of_shards


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Writes ratings (RATING) with rating * scale + offset, standard errors on the same scale, and a QUERY_SCALE per query.

    An AskingCalibrator is asked what it wants to know, round by round; the stage's judges answer (OUTCOME, table
    `answers`), those that cost money through the budget. A standard error is that of the rating within its query: the offset's
    own is in QUERY_SCALE. Where offsets were found, `predicted` (PREDICTED) says how well ratings predict these answers.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"budget"})
    spreads: ClassVar[Literal[True]] = True

    inputs: dict[str, str]  # data: the load stage; ratings: the rate stage; perhaps weights: a stage that weighs judges
    calibrator: protocols.Calibrator
    solver: protocols.Solver  # that the ratings were made with: its link
    judge: protocols.Judge | protocols.PaidJudge
    quorum: int
    seed: int
    budget: Budget

    @property
    def paid(self) -> dict[str, protocols.PaidJudge]:
        """The judges that are asked through the budget."""
        return self._panel.paid if self._asks_judges else {}

    @property
    def _asks_judges(self) -> bool:
        return isinstance(self.calibrator, protocols.AskingCalibrator)

    @property
    def unread(self) -> frozenset[str]:
        """Weights, where no judge is asked, or where all count alike for want of known items."""
        return frozenset() if self._asks_judges and self._panel.weighable else frozenset({"weights"})

    @property
    def _panel(self) -> Panel:
        return Panel(self.judge, self.seed)

    def check(self) -> None:
        """Raises BadInput, before any money is spent, for a missing key and for a paid judge that could not answer.

        Two queries with two documents each, which nobody has written, are enough to see whether a judge has a prompt for what
        the calibrator asks.
        """
        self._check_judges()
        for member in self.paid.values():
            self.budget.check(member.endpoint)

    def plan(self, tables: dict[str, Table]) -> list[Plan]:
        """What each judge that costs money would be asked in the first round. Sends nothing."""
        ratings = Ratings(tables, self.solver.link, self.seed)
        asks = self._asks(ratings.rated, None)
        return [] if asks is None else self._plans(ratings, asks)

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """The shards of ratings."""
        return of_shards(tables, above, "ratings", "ratings")

    def run(self, tables: dict[str, Table], out: Path, executor: protocols.Executor = HERE) -> Facts:
        """The ratings are written in units.

        Raises BadInput where a judge cannot answer the calibrator's questions, and what budget and calibrator raise.
        """
        ratings = Ratings(tables, self.solver.link, self.seed)
        answers, outcomes, calls = self._asked(ratings, tables.get("partial"), judge_weights.read(tables))
        try:
            scale = self.calibrator.fit(ratings.rated, answers)
        except OfQueries as error:
            names = ", ".join(ratings.queries["query_id"].take(ratings.query_row[error.numbers]).to_pylist())
            raise BadInput(f"{error}. Their ids: {names}.") from error
        _write(ratings, scale, out, executor)
        write_parquet(outcomes, OUTCOME, out, "answers")
        about = self._predicted(scale, outcomes, out) if scale.offset.any() else {}
        tallies = tally.tally([outcomes])
        missing = {name: self._panel.missing(name, one.status) for name, one in tallies.items()}
        figures = {
            "rows": len(ratings.rated.rating),
            "offset_sd": float(np.std(scale.offset)),
            "scale_sd": float(np.std(scale.scale)),
            "asked": len(outcomes),
            "fit": scale.diagnosis,
            **about,
            "judges": {
                name: {"status": one.status, "missing": missing[name], **calls.get(name, {})}
                for name, one in tallies.items()
            },
        }
        return figures | ({"partial": True} if any(missing.values()) else {})

    def _predicted(self, scale: Scale, outcomes: pa.Table, out: Path) -> dict[str, str]:
        """Writes what the ratings say about the answers, before and after: facts for the report."""
        made = Table("calibrate", "", out, {})
        about, rows = predicted_answers(made, outcomes, self.solver.link, scale.diagnosis.get("slope", 1.0))
        write_parquet(rows, PREDICTED, out, "predicted")
        return {"answers_about": about}

    def _asked(
        self, ratings: Ratings, earlier: Table | None, weights: pa.Table | None
    ) -> tuple[Answers | None, pa.Table, dict[str, Facts]]:
        """The answers to all that the calibrator asks, the OUTCOME rows behind them, and per paid judge what was sent."""
        known = None if earlier is None else earlier.read("answers")
        answers, tables = None, [OUTCOME.empty_table()]
        calls: dict[str, Facts] = {}
        while (asks := self._asks(ratings.rated, answers)) is not None:
            plans = self._plans(ratings, asks)
            # The budget shows its own progress.
            bar = nullcontext(silent) if plans else progress("calibrate", len(asks.a), "questions")
            with self.budget.open(plans) as session, bar as advance:
                p, weight = [np.empty(0)], [np.empty(0)]
                for questions in ratings.questions(asks):
                    answered = self._panel.ask(questions, self._panel.swapped(questions), known, session)
                    tables += answered.values()
                    mean, counts = average(
                        {name: judge_weights.weighted(rows, weights) for name, rows in answered.items()}
                    )
                    judges = sum(table["p"].is_valid().to_numpy() for table in answered.values())
                    p.append(np.where(judges >= self.quorum, mean, np.nan))
                    weight.append(counts)
                    advance(len(questions))
            calls = {name: _sum(calls.get(name, {}), figures) for name, figures in session.figures.items()}
            new = Answers(asks, np.concatenate(p), np.concatenate(weight))
            answers = new if answers is None else answers.and_then(new)
        return answers, pa.concat_tables(tables).unify_dictionaries(), calls

    def _asks(self, rated: Rated, answers: Answers | None) -> Asks | None:
        """What the calibrator wants to know next; None: nothing more."""
        if not isinstance(self.calibrator, protocols.AskingCalibrator):
            return None
        return self.calibrator.asks(rated, answers)

    def _check_judges(self) -> None:
        small = np.array([2, 2])
        rating, seeds = np.array([0.5, -0.5, 0.5, -0.5]), np.arange(2, dtype=np.uint64)
        rated = Rated(small, rating, np.ones(4), seeds, np.zeros(2, np.int32), self.solver.link)
        asks = self._asks(rated, None)
        if asks is None:
            return
        for member in self.paid.values():
            list(member.requests(_specimen(asks)))

    def _plans(self, ratings: Ratings, asks: Asks) -> list[Plan]:
        plans = self.budget.plans(
            {
                name: (member, (part.flipped(self._panel.swapped(part)[name]) for part in ratings.questions(asks)))
                for name, member in self.paid.items()
            }
        )
        return [replace(plan, key=self._panel.key(plan.judge)) for plan in plans]


def _sum(before: Facts, now: Facts) -> Facts:
    """What two rounds of questions came to, for a manifest."""
    together = before | now
    for name in ("from_ledger", "calls", "retries", "usd", "tokens"):
        together[name] = before.get(name, 0) + now[name]
    together["faults"] = dict(Counter(before.get("faults", {})) + Counter(now["faults"]))
    for name, empty in (("words", {}), ("unread", [])):  # of the rounds with either, the later words and all reasons
        if name in before or name in now:
            first, then = before.get(name, empty), now.get(name, empty)
            together[name] = first | then if name == "words" else first + then
    return together


def _specimen(asks: Asks) -> Questions:
    """A question of the kind that is asked, about nothing."""
    queries = pa.table([["0", "1"], ["?", "?"], ["train"] * 2], schema=QUERY)
    documents = pa.table([list("0123"), [""] * 4, ["."] * 4], schema=DOCUMENT)
    one = np.zeros(1, np.int32)
    return Questions(
        queries=queries,
        documents=documents,
        query_row=one,
        a_row=one,
        b_row=one if asks.criterion is not None else one + 2,
        repeat=one.astype(np.int16),
        query_b_row=one + 1 if asks.across else None,
        criterion=None if asks.criterion is None else one.astype(np.int16),
    )


def _write(ratings: Ratings, scale: Scale, out: Path, executor: protocols.Executor) -> None:
    """RATING rows on the new scale, each shard a unit, and a QUERY_SCALE row per query."""
    if not (np.isfinite(scale.offset).all() and (scale.scale > 0).all()):
        raise BadInput("calibrate: an offset is not finite or a scale is not positive; choose calibrator=none.")
    files, folder = ratings.table.shards("ratings"), out / CHECKPOINT
    rows, sizes = [pq.read_metadata(file).num_rows for file in files], ratings.rated.sizes
    ends = np.searchsorted(np.cumsum(sizes), np.cumsum(rows), side="right")
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(np.split(np.stack([sizes, scale.offset, scale.scale]), ends[:-1], axis=1)):
        np.save(folder / f"{number}.npy", part, allow_pickle=False)
    with progress("calibrate", sum(rows), "ratings") as advance:
        executor.run(partial(_write_part, files, out), dict(enumerate(rows)), advance)
    table = {
        "query_id": ratings.queries["query_id"].take(ratings.query_row),
        "offset": scale.offset,
        "scale": scale.scale,
        "stderr": pa.array(scale.stderr, from_pandas=True),
    }
    write_parquet(pa.table(table), QUERY_SCALE, out, "scales")


def _write_part(files: list[Path], out: Path, number: int, advance: Advance) -> Facts:
    """Makes a shard, where it is not there yet or is on another scale: an earlier attempt may have had fewer answers."""
    sizes, *scale = np.load(out / CHECKPOINT / f"{number}.npy", allow_pickle=False)
    offset, factor = np.repeat(scale, sizes.astype(np.int64), axis=1)
    if (done := shard(out, "ratings", number)).exists():
        there = pq.read_table(done, columns=["offset", "scale"])
        if np.array_equal(there["offset"], offset) and np.array_equal(there["scale"], factor):
            return {}
    rows = pq.read_table(files[number])
    columns = {
        "rating": rows["rating"].to_numpy() * factor + offset,
        "stderr": rows["stderr"].to_numpy() * factor,
        "offset": offset,
        "scale": factor,
    }
    for name, values in columns.items():  # a standard error that is nan becomes null
        column = pa.array(values, from_pandas=name == "stderr")
        rows = rows.set_column(rows.schema.get_field_index(name), RATING.field(name), column)
    write_shard(rows, RATING, out, "ratings", number)
    return {}
