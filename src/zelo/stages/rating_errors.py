"""How far the ratings of some comparisons are from the ratings of all of them, query by query."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts
from zelo.protocols import Solver
from zelo.stages.evaluate import PER_QUERY
from zelo.store.shards import write_parquet
from zelo.store.table import Table

DATA, ALL, OUTCOMES = "data", "all", "outcomes"
HELD_OUT = "held_out_log_loss"
PAIR = ["query_id", "doc_a", "doc_b"]


@dataclass(frozen=True, kw_only=True)
class RatingErrors:
    """Writes figures (PER_QUERY) of every ratings table, the reference `all` among them.

    MSE: mean squared difference of a query's ratings from the reference; R2: the share of the reference's variance that is
    found. From the comparisons `outcomes`: log_loss that the ratings leave, in nats a pair (zELO 2025, figure 10),
    excess_log_loss, what that is above the reference's, and accuracy, the share of pairs whose preferred document has the
    higher rating; pairs without a preference are left out. held_out_log_loss is the solver's own, where it has one.
    """

    # data; all: a rate stage, the reference; outcomes: the judge stage that it rated; any other: a rate stage
    inputs: dict[str, str]
    solver: Solver  # its link

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Documents that one of both has not rated are left out."""
        queries = tables[DATA].read("queries", ["query_id", "split"])
        reference = _ratings(tables[ALL])
        pairs = tables[OUTCOMES].read("outcomes", [*PAIR, "p"]).group_by(PAIR).aggregate([("p", "mean")])
        pairs = self._losses(pairs, reference)
        pairs = pairs.rename_columns(["least" if name == "loss" else name for name in pairs.column_names])
        parts = []
        for role, table in tables.items():
            if role in (DATA, OUTCOMES):
                continue
            ratings = _ratings(table)
            found = _differences(ratings, reference) | self._of_pairs(ratings, pairs)
            fits = table.read("fits", ["query_id", HELD_OUT])
            found[HELD_OUT] = fits.filter(fits[HELD_OUT].is_valid())
            for metric, rows in found.items():
                split = queries["split"].take(pc.index_in(rows["query_id"], queries["query_id"].combine_chunks()))
                names = (pa.array([name] * len(rows), pa.string()) for name in (role, metric))
                parts.append(pa.table([*names, split, *rows.columns], names=PER_QUERY.names))
        figures = pa.concat_tables(parts)
        write_parquet(figures, PER_QUERY, out, "figures")
        return {"rows": len(figures)}

    def _losses(self, pairs: pa.Table, ratings: pa.Table) -> pa.Table:
        """The pairs that are rated, with the gap of the ratings and its loss."""
        for end in ("doc_a", "doc_b"):
            named = ratings.rename_columns(["query_id", end, f"rating_{end}"])
            pairs = pairs.join(named, ["query_id", end], join_type="inner")
        gap = pc.subtract(pairs["rating_doc_a"], pairs["rating_doc_b"]).to_numpy()
        loss = self.solver.link.loss(gap, pairs["p_mean"].to_numpy())
        kept = pairs.drop_columns(["rating_doc_a", "rating_doc_b"])
        return kept.append_column("gap", pa.array(gap)).append_column("loss", pa.array(loss))

    def _of_pairs(self, ratings: pa.Table, pairs: pa.Table) -> dict[str, pa.Table]:
        found = self._losses(pairs.drop_columns("gap"), ratings)
        p, gap, loss = (found[name].to_numpy() for name in ("p_mean", "gap", "loss"))
        right = np.where(gap == 0, 0.5, (gap > 0) == (p > 0.5))
        right[np.abs(p - 0.5) < 1e-6] = np.nan
        means = {"log_loss": loss, "excess_log_loss": loss - found["least"].to_numpy(), "accuracy": right}
        return {metric: _mean(found["query_id"], values) for metric, values in means.items()}


def _ratings(table: Table) -> pa.Table:
    return table.read("ratings", ["query_id", "doc_id", "rating"])


def _differences(ratings: pa.Table, reference: pa.Table) -> dict[str, pa.Table]:
    both = ratings.join(reference, ["query_id", "doc_id"], join_type="inner", right_suffix="_all")
    one, every = both["rating"].to_numpy(), both["rating_all"].to_numpy()
    mse = _mean(both["query_id"], (one - every) ** 2)
    _, place = np.unique(both["query_id"].to_numpy(), return_inverse=True)
    centre = np.bincount(place, every) / np.bincount(place)
    variance = _mean(both["query_id"], (every - centre[place]) ** 2)
    r2 = pc.subtract(1.0, pc.divide(mse["value"], variance["value"]))
    return {"MSE": mse, "R2": mse.set_column(1, "value", r2)}


def _mean(query_id: pa.ChunkedArray, values: np.ndarray) -> pa.Table:
    """(query_id, value): the mean of what is known of each query, in order of id."""
    known = pa.table({"query_id": query_id, "value": values}).filter(pa.array(~np.isnan(values)))
    means = known.group_by("query_id").aggregate([("value", "mean")]).sort_by("query_id")
    return means.select(["query_id", "value_mean"]).rename_columns(["query_id", "value"])
