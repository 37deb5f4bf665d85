"""The scores of one system on the labelled queries of a split."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.evaluation.runs import worth


@dataclass(frozen=True)
class LabelledScores:
    """All that a system ranks for Q labelled queries. A document without a label counts as not relevant, as in every metric."""

    score: np.ndarray  # [N] float64
    relevant: np.ndarray  # [N] bool
    query: np.ndarray  # [N] int64 number of its query
    labelled: np.ndarray  # [Q] relevant documents that have a label, whether the system ranks them or not

    @staticmethod
    def of(run: pa.Table, qrels: pa.Table, queries: list[str]) -> "LabelledScores":
        """run: SCORED rows; qrels: QREL rows of these queries, in order of id."""
        ids = pa.array(queries, pa.string())
        run = run.filter(pc.is_in(run["query_id"], ids))
        truth = qrels.select(["query_id", "doc_id", "relevance"]).rename_columns(["query_id", "doc_id", "worth"])
        relevant = qrels.filter(pc.greater(qrels["relevance"], 0))
        return LabelledScores(
            run["score"].to_numpy().astype(np.float64),
            worth(run, truth) > 0,
            pc.index_in(run["query_id"], ids).to_numpy().astype(np.int64),
            np.bincount(pc.index_in(relevant["query_id"], ids).to_numpy(), minlength=len(queries)),
        )

    def only(self, kept: np.ndarray) -> "LabelledScores":
        """Those of some of the queries. kept: [Q] bool."""
        rows = kept[self.query]
        number = np.cumsum(kept) - 1
        return LabelledScores(self.score[rows], self.relevant[rows], number[self.query[rows]], self.labelled[kept])
