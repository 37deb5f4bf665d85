"""Every system measured on every query of a split, by labels or by judge ratings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.metrics.agreement import CUTOFF, PREFIX, agreement
from zelo.metrics.ir_measure import values_of
from zelo.protocols import Metric
from zelo.records import DEV, QREL

NATURAL, JUDGE = "natural", "judge"
"""Protocols: labels as they are, nothing forced into the candidates; ratings by judges."""


@dataclass(frozen=True)
class MeasuredSplit:
    """One split, measured: `values` [systems, metrics, queries].

    Labels from ratings are known up to an error: `draws` then are values by labels as likely as these, and `values` their mean.
    """

    split: str
    protocol: str
    systems: list[str]
    metrics: list[str]
    primary: int  # which of the metrics decides
    queries: list[str]  # in order of id, so that resamples do not depend on the order of rows
    values: np.ndarray
    draws: tuple[np.ndarray, ...] = ()  # [S, M, Q] each

    @property
    def samples(self) -> tuple[np.ndarray, ...]:
        """What tests and intervals go by: a median over these carries what the labels leave open. [S, M, Q] each."""
        return self.draws or (self.values,)

    def of(self, system: str) -> np.ndarray:
        """[M, Q] values of one system."""
        return self.values[self.systems.index(system)]

    def mean(self, system: str) -> float:
        """The deciding metric of one system."""
        return float(self.of(system)[self.primary].mean())

    def key(self, metric: str) -> str:
        """Split and metric in one name, without the system: dev/nDCG@10 is of labels, judge_agreement/dev/nDCG@10 is not."""
        kind, name = ("", metric) if self.protocol == NATURAL else (f"{PREFIX}/", metric.removeprefix(f"{PREFIX}/"))
        return f"{kind}{self.split}/{name}"

    @property
    def title(self) -> str:
        """The deciding metric in words."""
        name = self.metrics[self.primary]
        return name if self.protocol == NATURAL else f"{name} (against judge ratings, no human labels)"


def by_labels(
    runs: Mapping[str, pa.Table], split: str, qrels: pa.Table, metrics: Mapping[str, Metric], primary: str
) -> MeasuredSplit:
    """runs: system -> a ranked run (SCORED); qrels: QREL rows of this split; primary: key of the metric that decides."""
    named = {metric.name: metric for metric in metrics.values()}
    found = {system: values_of(named, run, qrels) for system, run in runs.items()}
    decides = list(named).index(metrics[primary].name)
    queries = sorted(pc.unique(qrels["query_id"]).to_pylist())
    cells = np.array([[columns[metric] for metric in named] for _, columns in found.values()])
    return MeasuredSplit(
        split, NATURAL, list(runs), list(named), decides, queries, cells.reshape(len(runs), len(named), len(queries))
    )


def by_grades(
    runs: Mapping[str, pa.Table], split: str, graded: pa.Table, metrics: Mapping[str, Metric], primary: str
) -> MeasuredSplit:
    """By grades that judges' ratings give. graded: rows of this split of a grade stage, with the draws of each grade."""
    drawn = pc.list_flatten(graded["drawn"]).to_numpy().reshape(len(graded), -1)
    labels = graded.select(["query_id", "doc_id", "relevance", "split"])
    found = [
        by_labels(
            runs, split, labels.set_column(2, QREL.field("relevance"), pa.array(column, pa.int32())), metrics, primary
        )
        for column in drawn.T
    ]
    return replace(
        found[0],
        protocol=JUDGE,
        metrics=[f"{PREFIX}/{name}" for name in found[0].metrics],
        values=np.mean([one.values for one in found], axis=0),
        draws=tuple(one.values for one in found),
    )


def by_judge(runs: Mapping[str, pa.Table], examples: pa.Table) -> MeasuredSplit:
    """Agreement of every system with the ratings of dev queries; the teacher, being these ratings, agrees fully."""
    name = f"{PREFIX}/nDCG@{CUTOFF}"
    queries = sorted(pc.unique(examples["query_id"]).to_pylist())
    values = [agreement(run, examples, CUTOFF) for run in runs.values()]
    cells = np.array([[one[query] for query in queries] for one in values]).reshape(len(runs), 1, len(queries))
    return MeasuredSplit(DEV, JUDGE, list(runs), [name], 0, queries, cells)
