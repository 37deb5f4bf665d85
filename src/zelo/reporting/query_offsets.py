"""What calibration changed: the offsets of the queries, and how well ratings predict its answers before and after."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from zelo.store.table import Table

BINS = 10


@dataclass(frozen=True)
class QueryOffsets:
    """A calibration. `before` and `after` are what the ratings say about M answers, as metrics.predicted_answers has them."""

    offset: np.ndarray  # [Q]
    stderr: np.ndarray  # [Q], nan where nothing is known
    kind: str  # of the answers
    before: np.ndarray  # [M]
    after: np.ndarray  # [M]
    answer: np.ndarray  # [M] mean of the judges is the mean of their rows
    criteria: np.ndarray | None = None  # [C, 2] discrimination and difficulty, where a rubric's model was fitted


def of_table(table: Table) -> QueryOffsets | None:
    """As calibration wrote it down beside its table; None where no offset differs from 0."""
    if not table.has("predicted"):
        return None
    scales = table.read("scales", ["offset", "stderr"])
    offset, error = (scales[name].cast(pa.float64()).to_numpy() for name in ("offset", "stderr"))
    predicted = table.read("predicted")
    before, after, answer = (predicted[name].to_numpy() for name in ("before", "after", "answer"))
    return QueryOffsets(offset, error, table.manifest["answers_about"], before, after, answer, _criteria(table))


def bins(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of x and y in ten bins of equally many rows, in order of x; fewer where there are fewer rows."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _criteria(table: Table) -> np.ndarray | None:
    fit = table.manifest.get("fit", {})
    names = ("discrimination", "difficulty")
    return np.stack([np.array(fit[name]) for name in names], 1) if all(name in fit for name in names) else None
