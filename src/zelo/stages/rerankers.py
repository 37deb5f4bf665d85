"""Every reranker over the candidates of every first stage, and how that changes with the number of candidates."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import passages
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.metrics.ir_measure import ranked
from zelo.metrics.significance import bootstrap
from zelo.protocols import Metric
from zelo.ranking import rows_of
from zelo.stages.score import best, candidates
from zelo.store.table import Table

DATA, LABELS, CANDIDATES = "data", "labels", "candidates"
REST = "/rest"  # ends the role of a second table of the same reranker's scores
ALONE = None  # in place of a reranker: the first stage's own order


@dataclass(frozen=True, kw_only=True)
class Rerankers:
    """Writes rerankers.json: the mean of a metric for each first stage, reranker and number of reranked candidates.

    A reranker orders the first `depth` candidates of a first stage, the others follow in the first stage's order. As the
    literature does for want of a protocol, all rerankers get the same candidates of several first stages; with more of
    them a reranker can get worse (arXiv 2411.11767).
    """

    # data, labels, first stages, and rerankers: stages with scores of all candidates, perhaps in two, NAME and NAME/rest
    inputs: dict[str, str]
    first_stages: list[str]  # which of the inputs are first stages
    candidates_as: str  # what the role `candidates` is called in the results
    metric: Metric
    split: str
    depths: list[int]
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        if missing := [role for role in self.first_stages if role not in self.inputs]:
            raise BadInput(f"rerankers: first_stages name {missing[0]!r}, none of the inputs {', '.join(self.inputs)}.")
        if not self.depths or sorted(set(self.depths)) != self.depths or self.depths[0] < 1:
            raise BadInput(
                f"rerankers: depths={self.depths}; write ascending numbers of candidates, as in [10,20,50,100]."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where a reranker has no score of a candidate."""
        queries, qrels = tables[DATA].read("queries", ["query_id"]), tables[LABELS].read("qrels")
        qrels = qrels.filter(pc.equal(qrels["split"], self.split))
        documents, split = tables[DATA].read("documents", ["doc_id"]), passages.read(tables[DATA])
        rows: list[Facts] = []
        names = [role for role in self.inputs if role not in (DATA, LABELS, *self.first_stages) and REST not in role]
        if len(qrels):
            known = {name: _scores(name, tables, queries, documents) for name in names}
            for role in self.first_stages:
                order = _Order.of(candidates(tables[role]), qrels, self.depths[-1], queries, documents)
                rows += self._of_first_stage(role, order, known, qrels, split)
        facts = {
            "metric": self.metric.name,
            "split": self.split,
            "queries": len(pc.unique(qrels["query_id"])),
            "depths": self.depths,
            "rows": rows,
        }
        (out / "rerankers.json").write_text(
            json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        none = [f"rerankers: {self.split} has no labels, so nothing can be compared"]
        return {"rows": len(rows)} | ({} if len(qrels) else {"notes": none})

    def _of_first_stage(
        self,
        role: str,
        order: "_Order",
        known: dict[str, tuple[np.ndarray, np.ndarray]],
        qrels: pa.Table,
        split: pa.Table | None,
    ) -> list[Facts]:
        runs: list[tuple[str | None, int, pa.Table]] = [(ALONE, self.depths[-1], order.reranked(None, 0))]
        for name, (key, score) in known.items():
            found = order.scores(name, role, key, score)
            runs += [(name, depth, order.reranked(found, depth)) for depth in self.depths]
        values = [self.metric.values(passages.by_document(run, split, "score"), qrels) for _, _, run in runs]
        asked = sorted(values[0])
        matrix = np.array([[one[query] for query in asked] for one in values])
        low, high = bootstrap(matrix, self.resamples, self.seed)
        named = self.candidates_as if role == CANDIDATES else role
        return [
            {
                "first_stage": named,
                "reranker": name,
                "depth": depth,
                "value": float(matrix[n].mean()),
                "ci_low": float(low[n]),
                "ci_high": float(high[n]),
            }
            for n, (name, depth, _) in enumerate(runs)
        ]


@dataclass(frozen=True)
class _Order:
    """The candidates of a first stage, best first, grouped by query. rank: [N] place among the query's; key: [N] of the pair."""

    table: pa.Table
    rank: np.ndarray
    key: np.ndarray

    @staticmethod
    def of(found: pa.Table, qrels: pa.Table, depth: int, queries: pa.Table, documents: pa.Table) -> "_Order":
        """Of the judged queries, at most `depth` each."""
        judged = pc.unique(qrels["query_id"])
        table = best(found.filter(pc.is_in(found["query_id"], judged)), depth)
        query = table["query_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        starts = np.flatnonzero(np.diff(query, prepend=-1))
        rank = np.arange(len(query)) - np.repeat(starts, np.diff(starts, append=len(query)))
        return _Order(table, rank, _keys(table, queries, documents))

    def scores(self, name: str, role: str, key: np.ndarray, score: np.ndarray) -> np.ndarray:
        """[N] scores of a reranker. key: [K] ascending, score: [K]. Raises BadInput where one is missing."""
        place = np.minimum(np.searchsorted(key, self.key), max(len(key) - 1, 0))
        there = key[place] == self.key if len(key) else np.zeros(len(self.key), bool)
        if not there.all():
            lost = self.table.slice(int(np.argmin(there)), 1).to_pylist()[0]
            raise BadInput(
                f"rerankers: {name} has no score of document {lost['doc_id']!r} for query {lost['query_id']!r}, a candidate"
                f" of {role}. Name the stage that scores it as {name}{REST}, or lower stages.rerankers.depths and top_k"
                " together."
            )
        return score[place]

    def reranked(self, score: np.ndarray | None, depth: int) -> pa.Table:
        """SCORED rows: the first `depth` by `score` [N], ties by doc_id, then the others as they stood."""
        if score is None:
            return ranked(self.table)
        first = self.rank < depth
        # Ranks among all that are reranked order them within each query, and ties stay ties.
        level = np.unique(score, return_inverse=True)[1].astype(np.float64) + 1.0
        placed = np.where(first, level, -self.rank.astype(np.float64))
        return ranked(self.table.set_column(2, "score", pa.array(placed)))


def _scores(
    name: str, tables: dict[str, Table], queries: pa.Table, documents: pa.Table
) -> tuple[np.ndarray, np.ndarray]:
    """([K] keys, ascending; [K] float32 scores) of all pairs that a reranker has scored."""
    parts = [candidates(tables[name])]
    if tables[name].has("rest"):
        parts.append(tables[name].read("rest"))
    if name + REST in tables:
        parts.append(candidates(tables[name + REST]))
    table = pa.concat_tables(parts)
    key, place = np.unique(_keys(table, queries, documents), return_index=True)
    return key, table["score"].to_numpy()[place]


def _keys(pairs: pa.Table, queries: pa.Table, documents: pa.Table) -> np.ndarray:
    """[N] query row * documents + document row."""
    query = rows_of(pairs["query_id"], queries["query_id"])
    return query * len(documents) + rows_of(pairs["doc_id"], documents["doc_id"])
