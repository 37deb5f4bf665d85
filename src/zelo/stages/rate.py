"""Averages the judges and turns preferences into ratings."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import judge_weights
from zelo.errors import BadInput, OfQueries
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.metrics.spectrum import GRAPH, spectra
from zelo.outcomes import Graphs, check_quorum
from zelo.progress import Advance, progress
from zelo.protocols import Executor, PerJudgeSolver, Solver
from zelo.records import DIAGNOSIS, OUTCOME, QUERY_FIT, RATING, Comparisons, Fit, distinct, starts
from zelo.store.shards import shard, write_parquet, write_shard
from zelo.store.table import Table
from zelo.units import HERE, of_shards

OUTCOMES = "outcomes"  # the role of the judge stage that was asked about all candidates
IDS = ["query_id", "doc_a", "doc_b"]  # read as numbers: few texts stand in many rows
COLUMNS = [*IDS, "judge", "p", "weight", "swapped"]
NAMED = 5  # queries that are named in the manifest
LIMITS = ("tolerance", "max_steps")  # of a solver, where it has them: what its fit is held against
SAMPLE = 50  # queries whose graphs are looked at, even over all


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Writes ratings (RATING) of every candidate that took part in a comparison, and how each query's fit went (QUERY_FIT).

    Beside them `graphs` (GRAPH) describes the graphs of SAMPLE queries, for the report.

    A pair's preference is the mean over the answers, weighted as each and its judge count, and it counts as much as they do on
    average; fewer than `quorum` judges are no preference, and a document that is left without any is not rated. Nor is one
    outside the largest part of its query's graph: no chain of comparisons says how it stands to the others. A solver that
    learns about judges (`per_judge`) gets every answer instead of their mean, weighted in the same way.

    Further judge stages ask other judges about some of the same candidates. A pair that two stages asked about is two
    comparisons, and a comparison of a stage counts by the number of its judges, relative to those of `outcomes`.

    The same number of queries of each shard, evenly spread, is looked at for contradictions, so that all together are about
    `diagnosed_queries`, and all where there are no more.
    """

    spreads: ClassVar[Literal[True]] = True

    # outcomes: a judge stage; perhaps weights: a stage that weighs judges; each other: a further judge stage
    inputs: dict[str, str]
    solver: Solver
    quorum: int
    diagnosed_queries: int | None  # None: all

    def __post_init__(self) -> None:
        if self.quorum < 1:
            raise BadInput(f"rate: quorum={self.quorum}; at least one judge must have answered, set quorum >= 1.")
        if self.diagnosed_queries is not None and self.diagnosed_queries < 0:
            raise BadInput(
                f"rate: diagnosed_queries={self.diagnosed_queries} must be a number of queries, or null for all; write 2048."
            )

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a quorum that the judges of a stage above cannot reach."""
        check_quorum(self.quorum, {self.inputs[role]: stages[role] for role in self._judged})

    @property
    def _judged(self) -> list[str]:
        return [OUTCOMES, *(role for role in self.inputs if role not in (OUTCOMES, "weights"))]

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """The shards of outcomes."""
        return of_shards(tables, above, OUTCOMES, "outcomes")

    def run(self, tables: dict[str, Table], out: Path, executor: Executor = HERE) -> Facts:
        """Shard by shard. Raises BadInput when no pair has a quorum, and what the solver raises."""
        parts = self._parts(tables)
        files = [file for part in parts for file in part]
        rows = [sum(pq.read_metadata(file).num_rows for file in part) for part in parts]
        work = partial(self._unit, parts, judge_weights.read(tables), out)
        with progress("rate", sum(rows), "answers") as advance:
            executor.run(work, dict(enumerate(rows)), advance)
        made = Table("rate", "", out, {})
        fits, diagnoses = made.read("fits"), made.read("diagnosis")["json"].to_pylist()
        if not pc.sum(fits["pairs"]).as_py():
            raise BadInput(f"rate: {tally.why_nothing(tally.of_files(files), self.quorum)}")
        write_parquet(_sampled_graphs(parts, made.shards("fits"), fits["query_id"]), GRAPH, out, "graphs")
        rows = sum(pq.read_metadata(file).num_rows for file in made.shards("ratings"))
        documents, pairs, below = (pc.sum(fits[name]).as_py() for name in ("documents", "pairs", "pairs_below_quorum"))
        return {
            "rows": rows,
            "unrated": documents - rows,
            "pairs": pairs,
            "pairs_below_quorum": below,
            "limits": {name: vars(self.solver).get(name) for name in LIMITS},
            "fit": summary(fits) | {"shards": [json.loads(one) for one in diagnoses]},
        }

    def _diagnosed(self, shards: int) -> int | None:
        """How many queries of each of so many shards."""
        return None if self.diagnosed_queries is None else -(-self.diagnosed_queries // max(shards, 1))

    def _unit(
        self, parts: list[tuple[Path, ...]], weights: pa.Table | None, out: Path, number: int, advance: Advance
    ) -> Facts:
        """Makes a shard, where it is not there yet."""
        if not shard(out, "fits", number).exists():
            tables = [pq.read_table(file, columns=COLUMNS, read_dictionary=IDS) for file in parts[number]]
            asked = [judge_weights.weighted(table, weights) for table in tables]
            self._shard(asked, judge_weights.differ(weights), self._diagnosed(len(parts)), out, number)
        return {}

    def _parts(self, tables: dict[str, Table]) -> list[tuple[Path, ...]]:
        """The files of outcomes that are about the same queries, one of each judge stage, shard by shard."""
        every = {role: tables[role].shards("outcomes") for role in self._judged}
        first = every[OUTCOMES]
        for role, files in every.items():
            if len(files) != len(first):
                raise BadInput(
                    f"rate: {self.inputs[role]} has {len(files)} shards and {self.inputs[OUTCOMES]} has {len(first)}; a further"
                    " judge stage takes its candidates from a shortlist of the first one's ratings."
                )
        return list(zip(*every.values(), strict=True))

    def _shard(self, asked: list[pa.Table], weighed: bool, diagnosed: int | None, out: Path, number: int) -> None:
        """Writes one shard. asked: outcomes about its queries, a table of each judge stage; diagnosed: how many of these."""
        outcomes = pa.concat_tables(asked)
        stage = np.repeat(np.arange(len(asked)), [len(table) for table in asked])
        graphs = Graphs.of(outcomes, stage)
        p, weight, judges = graphs.average(outcomes)
        panel = np.array([max(len(pc.unique(table["judge"])), 1) for table in asked])
        of = np.zeros(len(graphs.edges), np.int64)
        of[graphs.pair] = stage
        weight = weight * panel[of] / panel[0]
        enough = judges >= self.quorum
        kept = slice(None) if enough.all() else np.flatnonzero(enough)
        edges = graphs.edges[kept]
        if isinstance(self.solver, PerJudgeSolver):
            comparisons = replace(graphs.answers(outcomes, enough), weighed=weighed)
        else:
            comparisons = Comparisons(sizes=graphs.sizes, edges=edges, p=p[kept], weight=weight[kept])
        try:
            fit = self.solver.fit(replace(comparisons, diagnosed=_even(len(graphs.sizes), diagnosed)))
        except OfQueries as error:
            names = ", ".join(graphs.query_id.take(error.numbers).to_pylist())
            raise BadInput(f"{error}. Their ids: {names}.") from error
        diagnosis = dict(fit.diagnosis)
        if "judges" in diagnosis:
            diagnosis["judges"] = diagnosis["judges"] | {
                "names": sorted(pc.unique(outcomes["judge"].cast(pa.string())).to_pylist())
            }
        write_shard(_ratings(graphs, edges, fit), RATING, out, "ratings", number)
        first = starts(graphs.sizes)
        pairs, every = (np.diff(np.searchsorted(rows[:, 0], first)) for rows in (edges, graphs.edges))  # in this order
        counts = {"documents": graphs.sizes, "pairs": pairs, "pairs_below_quorum": every - pairs}
        write_shard(pa.table({"json": [json.dumps(diagnosis)]}), DIAGNOSIS, out, "diagnosis", number)
        write_shard(fits_of(graphs.query_id, fit, counts), QUERY_FIT, out, "fits", number)


def _even(queries: int, wanted: int | None) -> np.ndarray | None:
    """[Q] bool: so many of the queries, evenly spread in the order of their ids; None: all."""
    if wanted is None or wanted >= queries:
        return None
    chosen = np.zeros(queries, bool)
    chosen[np.arange(wanted) * queries // max(wanted, 1)] = True
    return chosen


def _ratings(graphs: Graphs, edges: np.ndarray, fit: Fit) -> pa.Table:
    """RATING rows of a shard. edges: [E, 2] those that were fitted.

    The others stand where the prior puts them: nobody has judged them, or not against the rest of their query.
    """
    degree = np.bincount(edges.ravel(), minlength=len(fit.rating))
    rated = (degree > 0) & largest_part(graphs.sizes, edges)
    table = pa.table(
        {
            "query_id": graphs.query_id.take(np.repeat(np.arange(len(graphs.sizes)), graphs.sizes)),
            "doc_id": graphs.doc_id,
            "rating": fit.rating,
            "stderr": pa.array(fit.stderr, from_pandas=True),  # nan becomes null
            "degree": degree,
            "offset": np.zeros(len(degree)),
            "scale": np.ones(len(degree)),
        }
    )
    return table if rated.all() else table.filter(pa.array(rated))


def _sampled_graphs(parts: list[tuple[Path, ...]], fits: list[Path], query_id: pa.ChunkedArray) -> pa.Table:
    """GRAPH rows of at most SAMPLE of these queries. parts, fits: the outcomes and the fits of each shard.

    Shards without any of them are not read, and the other queries never come into memory.
    """
    places = np.linspace(0, len(query_id) - 1, min(SAMPLE, len(query_id))).astype(int)
    ends = np.cumsum([pq.read_metadata(file).num_rows for file in fits])
    files = [file for number in distinct(np.searchsorted(ends, places, side="right")) for file in parts[number]]
    wanted = pc.field("query_id").isin(query_id.take(distinct(places)).combine_chunks())
    columns = [*IDS, "judge", "p", "weight"]
    plain = pa.schema([OUTCOME.field(name) for name in columns])  # few rows are left of each file, and all of its ids
    outcomes = pa.concat_tables(
        [pq.read_table(file, columns=columns, filters=wanted, read_dictionary=IDS).cast(plain) for file in files]
    )
    rows = [{"query_id": name, **asdict(one)} for name, one in spectra(outcomes.unify_dictionaries())]
    return pa.Table.from_pylist(rows, GRAPH)


def largest_part(sizes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[N] bool: documents in the largest connected part of their query's graph; of equal ones the first counts.

    sizes: [Q] documents per query; edges: [E, 2] global document numbers.
    """
    from zelo.likelihood import kernels

    kept = np.empty(int(sizes.sum()), bool)
    kernels.largest_parts(starts(np.asarray(sizes, np.int64)), np.asarray(edges, np.int32), kept)
    return kept


def fits_of(query_id: pa.Array, fit: Fit, counts: Mapping[str, np.ndarray]) -> pa.Table:
    """QUERY_FIT rows; what the solver does not report is null."""
    known = {"query_id": query_id, **counts, **fit.queries}
    columns = []
    for item in QUERY_FIT:
        values = known.get(item.name)
        columns.append(pa.nulls(len(query_id), item.type) if values is None else pa.array(values, from_pandas=True))
    return pa.table(columns, names=QUERY_FIT.names)


def summary(fits: pa.Table) -> Facts:
    """The fit of all queries in a few figures, and the queries to look at. fits: QUERY_FIT."""

    def ids(rows: np.ndarray) -> list[str]:
        return fits["query_id"].take(rows[:NAMED]).to_pylist()

    def column(name: str) -> np.ndarray:
        return fits[name].cast(pa.float64()).to_numpy()  # null becomes nan

    pairs, curl = column("pairs"), column("curl")
    apart = np.flatnonzero(column("components") > 1)
    worst = np.argsort(-np.nan_to_num(curl), kind="stable")
    return {
        "queries": len(fits),
        "steps": pc.max(fits["steps"]).as_py(),
        "gradient": pc.max(fits["gradient"]).as_py(),
        "log_loss": _mean(column("log_loss"), pairs),
        "held_out_log_loss": _mean(column("held_out_log_loss"), pairs),
        "dispersion": _mean(column("dispersion"), pairs),
        "disconnected_queries": len(apart),
        "disconnected": ids(apart),  # the first of them
        "separable_documents": pc.sum(fits["separable"]).as_py(),
        "diagnosed_queries": int(np.count_nonzero(~np.isnan(curl))),  # of which there are triads and curl
        "intransitive_triads": _mean(column("triads"), np.ones(len(fits))),
        "curl": _mean(curl, pairs),
        "least_one_dimensional": ids(worst[curl[worst] > 0]),
    }


def _mean(values: np.ndarray, weight: np.ndarray) -> float | None:
    """Weighted mean of what is known; None where nothing is."""
    known = ~np.isnan(values) & (weight > 0)
    return float(np.average(values[known], weights=weight[known])) if known.any() else None
