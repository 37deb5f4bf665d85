"""Chooses the pairs that a second pass asks the expensive judges about, from the scores of the first pass's students."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.outcomes import Graphs
from zelo.protocols import Acquisition
from zelo.records import CANDIDATE, TRAIN, Chosen, FirstPass, starts
from zelo.stages.labelled import refuse_other_labels
from zelo.store.shards import write_parquet, write_shard
from zelo.store.table import Table

SHARD = 512  # queries: the unit of work of the stages below
LABELS, OUTCOMES = "labels", "outcomes"  # roles, one of which an acquisition reads
ASKED = ["query_id", "doc_a", "doc_b"]
ACQUIRED = pa.schema(
    [
        ("query_id", pa.string()),
        (
            "doc_a",
            pa.string(),
        ),  # with the highest label, or, of disagreement, the one that the pairwise student prefers
        ("doc_b", pa.string()),
        ("why", pa.string()),  # name of the acquisition
        ("urgency", pa.float64()),  # of failures the rank of doc_a, of disagreement how far the students differ
        ("missing", pa.bool_()),  # doc_a is no candidate of the first stage
    ]
)


@dataclass(frozen=True, kw_only=True)
class Acquire:
    """Writes candidates (CANDIDATE), two of each chosen query, for a judge stage to compare; and `acquired` (ACQUIRED).

    Train queries only. The most urgent come first where there are more than `share` of the gold pairs; what the gold judges
    were asked already is not asked again.
    """

    inputs: dict[
        str, str
    ]  # data; gold: a judge stage; scores: a score stage; labels: a labelled or outcomes: a judge stage
    acquisition: Acquisition
    share: float  # most pairs that are added, of the gold ones

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput(
                f"acquire: share={self.share} must be above 0 and at most 1, such as 0.25 of the gold pairs."
            )
        if self.acquisition.reads not in self.inputs:
            raise BadInput(
                f"acquire: acquisition={self._name} reads {self.acquisition.reads}, which are none of its inputs."
                " pipeline=refine is for failures, which need labels, pipeline=refine_without_labels for disagreement."
            )

    def check_inputs(self, stages: Mapping[str, object]) -> None:
        """Raises BadInput for labels of any other than train queries."""
        if LABELS in stages:
            refuse_other_labels(stages[LABELS])

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where there is no gold pair or no score of a train query."""
        queries = tables["data"].read("queries", ["query_id", "split"])
        train = queries.filter(pc.equal(queries["split"], TRAIN))["query_id"].combine_chunks()
        gold = _gold(tables["gold"], train)
        options = [self._choose(*part) for part in _parts(tables, train)]
        if not len(gold) or not options:
            raise BadInput(
                "acquire: the first pass has no gold pair, or no score, of any train query; judge more queries."
            )
        found = pa.concat_tables(options)
        bar = self.acquisition.bar(found["urgency"].to_numpy())
        urgent = found.filter(pc.and_(pc.greater(found["urgency"], bar), pc.is_valid(found["doc_b"])))
        fresh = urgent.filter(pc.invert(pc.is_in(_pair(urgent), _pair(gold))))
        order = [("urgency", "descending"), ("query_id", "ascending")]
        chosen = fresh.sort_by(order).slice(0, int(self.share * len(gold))).sort_by("query_id")
        write_parquet(chosen, ACQUIRED, out, "acquired")
        _write_candidates(chosen, out)
        return {
            "rows": len(chosen),
            "why": self._name,
            "options": len(found),
            "bar": bar,
            "above_bar": len(urgent),
            "known": len(urgent) - len(fresh),
            "gold_pairs": len(gold),
            "missing": pc.sum(chosen["missing"]).as_py() or 0,
        }

    @property
    def _name(self) -> str:
        return type(self.acquisition).__name__.lower()

    def _choose(self, scored: pa.Table, labelled: pa.Table | None, outcomes: pa.Table | None) -> pa.Table:
        """ACQUIRED rows, one of each query that has an option."""
        first, doc_id, query_id = _first_pass(scored, labelled, outcomes)
        chosen: Chosen = self.acquisition.choose(first)
        query = np.searchsorted(starts(first.sizes), chosen.a, "right") - 1
        ids = query_id.take(pa.array(query))
        missing = pa.array(np.zeros(len(query), bool))
        if labelled is not None:
            missing = labelled["missing"].combine_chunks().take(pc.index_in(ids, labelled["query_id"].combine_chunks()))
        return pa.table(
            {
                "query_id": ids,
                "doc_a": doc_id.take(pa.array(chosen.a)),
                "doc_b": doc_id.take(pa.array(chosen.b, mask=chosen.b < 0)),
                "why": pa.repeat(self._name, len(query)),
                "urgency": chosen.urgency,
                "missing": missing,
            },
            schema=ACQUIRED,
        )


def _parts(tables: dict[str, Table], train: pa.Array) -> Iterator[tuple[pa.Table, pa.Table | None, pa.Table | None]]:
    """Scores of some queries at a time, with their labels or their outcomes: of the same train queries, and never empty."""
    scored = _of(tables["scores"].read("scored"), train)
    known = pc.unique(scored["query_id"].combine_chunks())
    if LABELS in tables:
        labelled = _of(tables[LABELS].read("labelled"), known)
        for low in range(0, len(labelled), SHARD):
            part = labelled.slice(low, SHARD)
            yield _of(scored, part["query_id"].combine_chunks()), part, None
        return
    for file in tables[OUTCOMES].shards("outcomes"):
        outcomes = pq.read_table(file, columns=[*ASKED, "judge", "p", "weight", "query_id_b", "criterion"])
        within = pc.and_(pc.is_valid(outcomes["p"]), pc.is_null(outcomes["query_id_b"]))
        outcomes = _of(outcomes.filter(within), known)
        if len(outcomes):
            yield _of(scored, pc.unique(outcomes["query_id"].combine_chunks())), None, outcomes


def _of(table: pa.Table, queries: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["query_id"], queries))


def _first_pass(
    scored: pa.Table, labelled: pa.Table | None, outcomes: pa.Table | None
) -> tuple[FirstPass, pa.Array, pa.Array]:
    """The same as integers, with the ids of the N documents and of the Q queries."""
    scored = scored.sort_by([("query_id", "ascending"), ("doc_id", "ascending")])
    query_id = pc.unique(scored["query_id"].combine_chunks())
    doc_id = scored["doc_id"].combine_chunks()
    names = pc.unique(doc_id)
    query = pc.index_in(scored["query_id"], query_id).to_numpy().astype(np.int64)
    keys = query * len(names) + pc.index_in(doc_id, names).to_numpy()
    order = np.argsort(keys)

    def number(queries: pa.Array, documents: pa.Array) -> np.ndarray:
        """[K] global number of each document, -1 where it has no score."""
        ends = (pc.index_in(queries, query_id), pc.index_in(documents, names))
        q, d = (pc.fill_null(end, -1).to_numpy().astype(np.int64) for end in ends)
        wanted = q * len(names) + d
        at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
        return np.where((q >= 0) & (d >= 0) & (keys[at] == wanted), at, -1)

    first = {
        "sizes": np.bincount(query, minlength=len(query_id)),
        "score": scored["score"].to_numpy().astype(np.float64),
    }
    if labelled is not None:
        human = np.sort(number(*(labelled[name].combine_chunks() for name in ("query_id", "doc_id"))))
        if len(human) != len(query_id) or human[0] < 0:
            raise BadInput(
                "acquire: a labelled document has no score. Score the candidates that the labelled stage gives, all of them."
            )
        return FirstPass(**first, human=human), doc_id, query_id
    assert outcomes is not None
    graphs = Graphs.of(outcomes)
    p = graphs.average(outcomes)[0]
    node = number(graphs.query_id.take(pa.array(np.repeat(np.arange(len(graphs.sizes)), graphs.sizes))), graphs.doc_id)
    edges = node[graphs.edges]
    known = (edges >= 0).all(axis=1) & ~np.isnan(p)
    return FirstPass(**first, edges=edges[known], p=p[known]), doc_id, query_id


def _gold(table: Table, train: pa.Array) -> pa.Table:
    """`query_id`, `doc_a` and `doc_b` of each pair of a train query that was asked about, once, in order of the ids."""
    parts = []
    for file in table.shards("outcomes"):
        rows = _of(pq.read_table(file, columns=ASKED), train)
        parts.append(_ordered(rows).group_by(ASKED).aggregate([]))
    return pa.concat_tables(parts)


def _ordered(pairs: pa.Table) -> pa.Table:
    """The same pairs, the document with the lower id first."""
    a, b = pairs["doc_a"], pairs["doc_b"]
    first = pc.less(a, b)
    return pa.table([pairs["query_id"], pc.if_else(first, a, b), pc.if_else(first, b, a)], names=ASKED)


def _pair(pairs: pa.Table) -> pa.ChunkedArray:
    """A text for each pair, the same whichever way it is written; ids hold no line ends."""
    ordered = _ordered(pairs)
    return pc.binary_join_element_wise(*(ordered[name] for name in ASKED), "\n")


def _write_candidates(chosen: pa.Table, out: Path) -> None:
    """Both documents of each pair, in shards of so many queries."""
    for number, low in enumerate(range(0, max(len(chosen), 1), SHARD)):
        part = chosen.slice(low, SHARD)
        both = [
            pa.table(
                [part["query_id"], part[name], pa.repeat(rank, len(part)), pa.repeat(0.0, len(part))],
                names=CANDIDATE.names,
            )
            for rank, name in enumerate(("doc_a", "doc_b"))
        ]
        rows = pa.concat_tables(both).sort_by([("query_id", "ascending"), ("rank", "ascending")])
        write_shard(rows, CANDIDATE, out, "candidates", number)
