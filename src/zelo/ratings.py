"""The ratings of all queries as integers, and back."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.likelihood.links import LinkFunction
from zelo.likelihood.randomness import content_seed
from zelo.pools import Pools
from zelo.records import DOMAIN, Asks, Questions, Rated
from zelo.store.table import Table

COLUMNS = ["query_id", "rating", "stderr"]
QUESTIONS_AT_ONCE = 1 << 17


class Ratings:
    """The rows of a ratings table, grouped by query, documents numbered in their order.

    Raises BadInput for ratings of another dataset.
    """

    def __init__(self, tables: Mapping[str, Table], link: LinkFunction, seed: int) -> None:
        self.table = tables["ratings"]
        self.queries = tables["data"].read("queries")
        self._data = tables["data"]
        fit = self.table.manifest.get("fit", {})
        self.query_row, self.rated = rated(self.table.read("ratings", COLUMNS), self.queries, link, seed, fit)

    @property
    def on_one_scale(self) -> bool:
        """Whether a calibrator has moved any query."""
        return self.table.has("scales") and bool((self.table.read("scales")["offset"].to_numpy() != 0).any())

    @cached_property
    def _documents(self) -> pa.Table:
        return self._data.read("documents")

    @cached_property
    def _candidates(self) -> Pools:
        """All rated documents of each query."""
        rows = pc.index_in(self._doc_id, self._documents["doc_id"].combine_chunks()).to_numpy().astype(np.int32)
        return Pools(self.query_row, self.rated.sizes, rows)

    @cached_property
    def _doc_id(self) -> pa.ChunkedArray:
        return self.table.read("ratings", ["doc_id"])["doc_id"]

    def questions(self, asks: Asks) -> Iterator[Questions]:
        """What the judges are asked, some at a time."""
        home = np.repeat(self.query_row, self.rated.sizes)
        ids = self._documents["doc_id"].combine_chunks()
        for start in range(0, len(asks.a), QUESTIONS_AT_ONCE):
            part = slice(start, start + QUESTIONS_AT_ONCE)
            a, b = asks.a[part], asks.b[part]
            yield Questions(
                queries=self.queries,
                documents=self._documents,
                query_row=home[a].astype(np.int32),
                a_row=pc.index_in(self._doc_id.take(a), ids).to_numpy().astype(np.int32),
                b_row=pc.index_in(self._doc_id.take(b), ids).to_numpy().astype(np.int32),
                repeat=np.zeros(len(a), np.int16),
                query_b_row=home[b].astype(np.int32) if asks.across else None,
                criterion=None if asks.criterion is None else asks.criterion[part],
                candidates=self._candidates,
            )


def rated(rows: pa.Table, queries: pa.Table, link: LinkFunction, seed: int, fit: Facts) -> tuple[np.ndarray, Rated]:
    """([Q] rows of the query table, the ratings of these queries), of all queries or of some.

    rows: RATING, or its COLUMNS, grouped by query; fit: what the calibrator has noted. Raises BadInput for ratings of another
    dataset.
    """
    places = pc.index_in(rows["query_id"], queries["query_id"].combine_chunks())
    if places.null_count:
        row = int(places.is_null().to_numpy().argmax())
        raise BadInput(
            f"ratings: row {row} is of query {rows['query_id'][row].as_py()!r}, which this dataset lacks: they belong to"
            " another dataset. Rate this one's queries."
        )
    query = places.to_numpy()
    first = np.concatenate([[True], np.diff(query) != 0])[: len(query)]
    query_row = query[first]
    names = queries["query_id"].take(query_row).to_pylist()
    return query_row, Rated(
        sizes=np.diff(np.append(np.flatnonzero(first), len(query))),
        rating=rows["rating"].to_numpy(),
        stderr=rows["stderr"].to_numpy(),
        seeds=np.array([content_seed(name, seed) for name in names], np.uint64),
        domain=_domains(queries)[query_row],
        link=link,
        criteria=_criteria(fit),
    )


def _domains(queries: pa.Table) -> np.ndarray:
    """[queries] int32, a number for each domain, whichever queries are looked at; 0 everywhere where there are none."""
    if DOMAIN not in queries.column_names:
        return np.zeros(len(queries), np.int32)
    names = queries[DOMAIN].to_pylist()
    numbers = {name: number for number, name in enumerate(sorted({name or "" for name in names}))}
    return np.array([numbers[name or ""] for name in names], np.int32)


def _criteria(fit: Facts) -> np.ndarray | None:
    """What a rubric's calibration found about its criteria."""
    names = ("discrimination", "difficulty")
    return np.stack([np.array(fit[name]) for name in names], 1) if all(name in fit for name in names) else None
