"""What a run can tell about its ratings: who was preferred to whom, the graphs, the fit, the offsets and the budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.metrics.spectrum import Spectrum, spectrum
from zelo.outcomes import Graphs, weighted
from zelo.records import starts
from zelo.reporting import budgets, offsets
from zelo.reporting.budgets import Budget
from zelo.reporting.offsets import Offsets
from zelo.stages.rate import weights_of
from zelo.store import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

SAMPLE = 50  # queries whose graphs are looked at
LARGE = 2000  # documents from which on a graph is not: it takes their square of memory
LEADERS, OTHERS = 25, 15  # documents of a matrix: so many of the best, and of the others, even over their ranks
NAMED = 5  # queries named as the least one-dimensional

_OUTCOME = ["query_id", "doc_a", "doc_b", "judge", "p", "weight"]


@dataclass(frozen=True)
class Matrix:
    """A query's candidates, best first, and the preferences among some of them."""

    query_id: str
    query: str
    rating: np.ndarray  # [N]
    stderr: np.ndarray  # [N]
    shown: np.ndarray  # [K] places of the documents in the matrix, 0 is the best
    p: np.ndarray  # [K, K] mean preference for the row's document over the column's; nan where nobody was asked
    budget: Budget | None = None  # of an adaptive graph


@dataclass(frozen=True)
class RatingFacts:
    """All that the report shows about ratings; plain data."""

    matrices: list[Matrix]
    graphs: list[Spectrum]  # of a sample of the queries
    fit: Mapping[str, Any]  # the rate stage's summary
    shape: tuple[float, float]  # mean documents and pairs of a query
    limits: Mapping[str, Any]  # the solver's: tolerance, max_steps
    curl: list[tuple[str, str, float]] = field(default_factory=list)  # least one-dimensional: query_id, text, curl
    offsets: Offsets | None = None  # where a calibrator found any


def sample(rate: Table) -> list[str]:
    """Ids of at most SAMPLE rated queries, even over all of them."""
    ids = rate.read("fits", ["query_id"])["query_id"]
    return ids.take(np.unique(np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).astype(int))).to_pylist()


def of_run(result: "Result", rated: str, shown: list[str], queries: pa.Table, outcomes: pa.Table) -> RatingFacts:
    """Of one rate stage, and of what it reads and what calibrates its ratings.

    rated: the stage's name; shown: queries that get a matrix; outcomes: OUTCOME of these and of `sample`, as they were asked.
    """
    stages = {step.name: step.stage for step in result.steps}
    rate, fits = result.tables[rated], result.tables[rated].read("fits")
    least = fits.filter(pc.greater(fits["curl"], 0)).sort_by([("curl", "descending"), ("query_id", "ascending")])
    least = least.slice(0, NAMED)
    texts = _texts(queries, [*shown, *least["query_id"].to_pylist()])
    solver, known = stages[rated].solver, result.upstream(rated, "weights") or ""
    answers = weighted(outcomes.select(_OUTCOME), weights_of(solver, result.tables.get(known)))
    judge = stages[str(result.upstream(rated, "outcomes"))]
    spent = budgets.of_queries(judge, outcomes.select(_OUTCOME), shown)  # which asked by plain means
    calibrated = result.downstream(rated, "ratings") or ""
    ratings = _rows_of(result.tables.get(calibrated, rate), "ratings", shown)
    return RatingFacts(
        matrices=matrices(shown, texts, ratings, answers, spent),
        graphs=graphs(answers.filter(pc.is_in(answers["query_id"], pa.array(sample(rate), pa.string())))),
        fit=rate.manifest["fit"],
        shape=(pc.mean(fits["documents"]).as_py() or 0.0, pc.mean(fits["pairs"]).as_py() or 0.0),
        limits={name: getattr(solver, name, None) for name in ("tolerance", "max_steps")},
        curl=[(row["query_id"], texts.get(row["query_id"], ""), row["curl"]) for row in least.to_pylist()],
        offsets=offsets.of_table(stages[calibrated], result.tables[calibrated]) if calibrated else None,
    )


def matrices(
    shown: list[str],
    texts: Mapping[str, str],
    ratings: pa.Table,
    outcomes: pa.Table,
    spent: Mapping[str, Budget],
) -> list[Matrix]:
    """One for each of these queries that was rated, in this order. ratings: RATING; outcomes: OUTCOME, of any queries."""
    answered = outcomes.filter(
        pc.and_(pc.is_valid(outcomes["p"]), pc.is_in(outcomes["query_id"], pa.array(shown, pa.string())))
    )
    found = Graphs.of(answered)
    mean, _, _ = found.average(answered)
    first, names = starts(found.sizes), found.query_id.to_pylist()
    order = [("query_id", "ascending"), ("rating", "descending"), ("doc_id", "ascending")]
    ratings = ratings.select(["query_id", "doc_id", "rating", "stderr"]).sort_by(order)
    made = []
    for query in shown:
        rows = ratings.filter(pc.equal(ratings["query_id"], query))
        if not len(rows) or query not in names:
            continue
        number = names.index(query)
        low, high = first[number], first[number + 1]
        here = (found.edges[:, 0] >= low) & (found.edges[:, 0] < high)
        documents = found.doc_id.slice(low, high - low)
        shown_places = places(len(rows))
        found_at = pc.index_in(documents, rows["doc_id"].take(shown_places).combine_chunks())
        cell = found_at.fill_null(-1).to_numpy()  # place in the matrix of each compared document
        made.append(
            Matrix(
                query_id=query,
                query=texts.get(query, ""),
                rating=rows["rating"].to_numpy(),
                stderr=rows["stderr"].to_numpy(),
                shown=shown_places,
                p=_square(cell[found.edges[here] - low], mean[here], len(shown_places)),
                budget=spent.get(query),
            )
        )
    return made


def places(documents: int) -> np.ndarray:
    """[K] which of so many documents, best first, a matrix shows: the leaders, and of the others some even over their ranks."""
    if documents <= LEADERS + OTHERS:
        return np.arange(documents)
    others = np.linspace(LEADERS, documents - 1, OTHERS).round().astype(int)
    return np.concatenate([np.arange(LEADERS), others])


def graphs(outcomes: pa.Table) -> list[Spectrum]:
    """Of the answered pairs of each query, unless it has more than LARGE documents. outcomes: OUTCOME."""
    found = Graphs.of(outcomes)
    answered = ~np.isnan(found.average(outcomes)[0])
    edges, first = found.edges[answered], starts(found.sizes)
    bounds = np.searchsorted(edges[:, 0], first)  # edges come in order of their first end
    spectra = []
    for (low, high), begin, n in zip(pairwise(bounds.tolist()), first.tolist(), found.sizes.tolist(), strict=False):
        if n <= LARGE:
            spectra.append(spectrum(n, edges[low:high] - begin))
    return spectra


def _square(ends: np.ndarray, p: np.ndarray, size: int) -> np.ndarray:
    """[size, size] with p [E] where ends [E, 2] meet and 1 - p across the diagonal; negative ends are not shown."""
    square = np.full((size, size), np.nan)
    inside = (ends >= 0).all(axis=1)
    a, b = ends[inside].T
    square[a, b], square[b, a] = p[inside], 1 - p[inside]
    return square


def _texts(queries: pa.Table, ids: list[str]) -> dict[str, str]:
    rows = queries.filter(pc.is_in(queries["query_id"], pa.array(ids, pa.string())))
    return dict(zip(rows["query_id"].to_pylist(), rows["text"].to_pylist(), strict=True))


def _rows_of(table: Table, name: str, queries: list[str]) -> pa.Table:
    """The rows of these queries; the rest of a large table never comes into memory."""
    wanted = pc.field("query_id").isin(queries)
    return pa.concat_tables([pq.read_table(path, filters=wanted) for path in table.shards(name)])
