"""What a student gained on each query against its baseline, and which queries are worth a closer look."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.facts import Facts


def pick(per_query: pa.Table | None, verdicts: list[Facts], fallback: list[str], count: int = 6) -> list[str]:
    """Ids of the queries worth a ladder: where the first student gained most, some between, where it lost most.

    Without a comparison per query, the first ones of `fallback`.
    """
    for verdict in verdicts:
        gain = gain_of(verdict, per_query)
        if gain:
            last = len(gain.queries) - 1
            ends = min(max(count // 3, 1), count)
            between = np.linspace(ends, last - ends, count - 2 * ends) if count > 2 * ends else []
            places = [*range(ends), *(round(float(place)) for place in between), *range(last - ends + 1, last + 1)]
            return [gain.queries[place] for place in sorted({place for place in places if 0 <= place <= last})][:count]
    return fallback[:count]


@dataclass(frozen=True)
class Gain:
    """A student and its baseline on the queries that both have, the largest gain first."""

    verdict: Facts
    queries: list[str]
    before: np.ndarray  # [Q] float64
    after: np.ndarray  # [Q] float64

    @property
    def difference(self) -> np.ndarray:
        """[Q] after minus before."""
        return self.after - self.before


def gain_of(verdict: Facts, per_query: pa.Table | None) -> Gain | None:
    if per_query is None:
        return None
    kinds = {name: per_query[name].cast(pa.string()) for name in ("system", "metric", "split")}
    here = pc.and_(pc.equal(kinds["metric"], verdict["metric"]), pc.equal(kinds["split"], verdict["split"]))
    after, before = (
        per_query.filter(pc.and_(here, pc.equal(kinds["system"], verdict[role]))).select(["query_id", "value"])
        for role in ("system", "baseline")
    )
    both = after.join(before, "query_id", join_type="inner", right_suffix="_before")
    if not len(both):
        return None
    difference = pc.subtract(both["value"], both["value_before"])
    both = both.append_column("difference", difference).sort_by(
        [("difference", "descending"), ("query_id", "ascending")]
    )
    values = (both[name].to_numpy() for name in ("value_before", "value"))
    return Gain(verdict, both["query_id"].to_pylist(), *values)
