"""The candidates of the queries about one part of a collection: for experiments with domains in a collection that names none."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import CANDIDATE
from zelo.store.shards import write_shard
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class QueriesAbout:
    """Writes the candidates (CANDIDATE) of the queries of one domain.

    A query is of the domain where more than half of its `first` candidates have an id that `documents` matches: no label is read.
    """

    inputs: dict[str, str]  # candidates: a retrieve stage
    documents: str  # a regular expression, searched in document ids
    first: int  # candidates that count
    others: bool  # true: the queries that are not of the domain

    def __post_init__(self) -> None:
        try:
            re.compile(self.documents)
        except re.error as error:
            raise BadInput(f"queries_about: documents={self.documents!r} is no regular expression: {error}.") from None
        if self.first < 1:
            raise BadInput(f"queries_about: first={self.first}; at least one candidate must count.")

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard. Raises BadInput where no query is left."""
        rows = left = 0
        for number, file in enumerate(tables["candidates"].shards("candidates")):
            candidates = pq.read_table(file)
            counted = candidates.filter(pc.less(candidates["rank"], self.first))
            own = pc.match_substring_regex(counted["doc_id"], self.documents).cast(pa.int8())
            share = pa.table([counted["query_id"], own], names=["query", "own"]).group_by("query")
            shares = share.aggregate([("own", "mean")])
            about = shares["own_mean"].to_numpy() > 0.5
            queries = shares["query"].filter(pa.array(np.logical_xor(about, self.others)))
            kept = candidates.filter(pc.is_in(candidates["query_id"], queries.combine_chunks()))
            rows, left = rows + len(kept), left + len(queries)
            write_shard(kept, CANDIDATE, out, "candidates", number)
        if not left:
            raise BadInput(f"queries_about: documents={self.documents!r} leaves no query; name other documents.")
        return {"rows": rows, "queries": left}
