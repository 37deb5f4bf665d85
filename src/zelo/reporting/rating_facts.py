"""What a run can tell about its ratings: who was preferred to whom, the graphs, the fit, the offsets and the budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import judge_weights
from zelo.facts import Facts
from zelo.metrics.spectrum import Spectrum
from zelo.outcomes import Graphs
from zelo.protocols import JudgingStage
from zelo.records import starts
from zelo.reporting import budgets, lineage, query_offsets
from zelo.reporting.budgets import BudgetCurve
from zelo.reporting.query_offsets import QueryOffsets
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

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
    budget: BudgetCurve | None = None  # of an adaptive graph


@dataclass(frozen=True)
class RatingFacts:
    """All that the report shows about ratings; plain data."""

    matrices: list[Matrix]
    graphs: list[Spectrum]  # of a sample of the queries
    fit: Facts  # the rate stage's summary
    shape: tuple[float, float]  # mean documents and pairs of a query
    limits: Facts  # the solver's: tolerance, max_steps
    curl: list[tuple[str, str, float]] = field(default_factory=list)  # least one-dimensional: query_id, text, curl
    offsets: QueryOffsets | None = None  # where a calibrator found any


def of_run(
    result: "Result", rated: str, shown: list[str], queries: pa.Table, asked: Mapping[str, pa.Table]
) -> RatingFacts:
    """Of the stage `rated`, and of what it reads and what calibrates its ratings, as these have written it down.

    shown: queries that get a matrix; asked: judge stage -> OUTCOME of these, as they were asked. A matrix shows the answers of
    all judge stages, a budget curve those of the first, which was asked about all candidates.
    """
    rate, fits = result.tables[rated], result.tables[rated].read("fits")
    least = fits.filter(pc.greater(fits["curl"], 0)).sort_by([("curl", "descending"), ("query_id", "ascending")])
    least = least.slice(0, NAMED)
    texts = _texts(queries, [*shown, *least["query_id"].to_pylist()])
    outcomes = {name: table.select(_OUTCOME) for name, table in asked.items()}
    answers = judge_weights.weighted(pa.concat_tables(outcomes.values()), _weights(result, rated))
    first = next(iter(outcomes))
    judging = lineage.step_of(result, first).stage
    weighted = judge_weights.weighted(outcomes[first], _weights(result, first))
    spent = budgets.of_queries(judging, weighted, shown) if isinstance(judging, JudgingStage) else {}
    ratings = lineage.ratings_of(result, rated)
    return RatingFacts(
        matrices=matrices(shown, texts, rows_of(ratings, "ratings", shown), answers, spent),
        graphs=[Spectrum(**row) for row in rate.read("graphs").drop_columns(["query_id"]).to_pylist()],
        fit=rate.manifest["fit"],
        shape=(pc.mean(fits["documents"]).as_py() or 0.0, pc.mean(fits["pairs"]).as_py() or 0.0),
        limits=rate.manifest["limits"],
        curl=[(row["query_id"], texts.get(row["query_id"], ""), row["curl"]) for row in least.to_pylist()],
        offsets=None if ratings is rate else query_offsets.of_table(ratings),
    )


def _weights(result: "Result", name: str) -> pa.Table | None:
    source = result.upstream(name, lineage.WEIGHTS)
    return judge_weights.read({"weights": result.tables[source]} if source else {})


def matrices(
    shown: list[str],
    texts: Mapping[str, str],
    ratings: pa.Table,
    outcomes: pa.Table,
    spent: Mapping[str, BudgetCurve],
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


def rows_of(table: Table, name: str, queries: list[str]) -> pa.Table:
    """The rows of these queries; the rest of a large table never comes into memory."""
    wanted = pc.field("query_id").isin(queries)
    return pa.concat_tables([pq.read_table(path, filters=wanted) for path in table.shards(name)])
