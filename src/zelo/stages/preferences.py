"""Averages the judges and keeps their preferences as they are, for a student that learns to compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo import judge_weights
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics import tally
from zelo.outcomes import Graphs, check_quorum
from zelo.records import PREFERENCE, SPLITS
from zelo.store.shards import write_shard
from zelo.store.table import Table

COLUMNS = ["query_id", "doc_a", "doc_b", "judge", "p", "weight"]


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Writes preferences (PREFERENCE): a row per pair that has a quorum, with its query's split.

    A pair's preference is the mean over the answers to it, weighted as each and its judge count; what failed is no answer, and
    fewer than `quorum` judges are no preference. A pair that two judge stages asked about stands here twice.
    """

    inputs: dict[
        str, str
    ]  # data: the load stage; perhaps weights: a stage that weighs judges; each other: a judge stage
    quorum: int

    def __post_init__(self) -> None:
        if self.quorum < 1:
            raise BadInput(
                f"preferences: quorum={self.quorum}; at least one judge must have answered, set quorum >= 1."
            )
        if not self._judged or "data" not in self.inputs:
            raise BadInput("preferences: its inputs are data, the load stage, and one or several judge stages.")

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for a quorum that the judges of a stage above cannot reach."""
        check_quorum(self.quorum, {self.inputs[role]: stages[role] for role in self._judged})

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Shard by shard. Raises BadInput when no pair has a quorum, or a preference is none."""
        queries = tables["data"].read("queries")
        files = [file for role in self._judged for file in tables[role].shards("outcomes")]
        weights = judge_weights.read(tables)
        read = (judge_weights.weighted(pq.read_table(file, columns=COLUMNS), weights) for file in files)
        below = sum(self._shard(outcomes, queries, out, n) for n, outcomes in enumerate(read))
        shards = Table("preferences", "", out, {}).shards("preferences")
        made = pa.concat_tables([pq.read_table(path, columns=["split", "unanimous"]) for path in shards])
        if not len(made):
            raise BadInput(f"preferences: {tally.why_nothing(tally.of_files(files), self.quorum)}")
        return {
            "rows": len(made),
            "splits": {split: int(pc.sum(pc.equal(made["split"], split)).as_py()) for split in SPLITS},
            "unanimous": int(pc.sum(made["unanimous"]).as_py()),
            "pairs_below_quorum": below,
        }

    @property
    def _judged(self) -> list[str]:
        return [role for role in self.inputs if role not in ("data", "weights")]

    def _shard(self, outcomes: pa.Table, queries: pa.Table, out: Path, number: int) -> int:
        """Writes one shard; pairs below the quorum."""
        _refuse_what_is_none(outcomes)
        graphs = Graphs.of(outcomes)
        p, weight, judges = graphs.average(outcomes)
        enough = judges >= self.quorum
        home = np.repeat(np.arange(len(graphs.sizes)), graphs.sizes)[graphs.edges[:, 0]]
        split = queries["split"].take(pc.index_in(graphs.query_id, queries["query_id"].combine_chunks()))
        table = pa.table(
            {
                "query_id": graphs.query_id.take(pa.array(home)),
                "doc_a": graphs.doc_id.take(pa.array(graphs.edges[:, 0])),
                "doc_b": graphs.doc_id.take(pa.array(graphs.edges[:, 1])),
                "p": p,
                "weight": weight,
                "unanimous": graphs.unanimous(outcomes),
                "split": split.take(pa.array(home)),
            }
        )
        write_shard(table.filter(pa.array(enough)), PREFERENCE, out, "preferences", number)
        return int((~enough).sum())


def _refuse_what_is_none(outcomes: pa.Table) -> None:
    """Raises BadInput naming the first preference outside [0, 1] and the first document compared with itself."""
    p = outcomes["p"].to_numpy()  # null becomes nan
    wrong = (p < 0) | (p > 1)
    alone = pc.equal(outcomes["doc_a"], outcomes["doc_b"]).to_numpy()
    for found, fault in (
        (wrong, "is no probability; judges answer in [0, 1]"),
        (alone, "compares a document with itself"),
    ):
        if found.any():
            row = int(np.argmax(found))
            named = [outcomes[name][row].as_py() for name in ("query_id", "doc_a", "doc_b", "judge")]
            raise BadInput(
                f"preferences: p={p[row]} of judge {named[3]} for query {named[0]!r}, documents {named[1]!r} and {named[2]!r},"
                f" {fault}. Fix the judge's answers and ask again."
            )
