"""What calibration changed: the offsets of the queries, and how well ratings foretell its answers before and after."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.store import Table

ANSWERS = 4000  # of the calibrator's that are looked at, even over all
BINS = 10
PAIRS, CRITERIA, GHOSTS = "pairs", "criteria", "ghosts"
_COLUMNS = ["query_id", "doc_a", "doc_b", "query_id_b", "criterion", "p"]


@dataclass(frozen=True)
class Offsets:
    """A calibration. `before` and `after` are what the ratings say about M answers.

    For `pairs` of two queries, the probability that the first document is preferred; for `criteria` of a rubric and for
    `ghosts`, documents of another query, the rating itself.
    """

    offset: np.ndarray  # [Q]
    stderr: np.ndarray  # [Q], nan where nothing is known
    kind: str  # of the answers
    before: np.ndarray  # [M]
    after: np.ndarray  # [M]
    answer: np.ndarray  # [M] mean of the judges is the mean of their rows
    criteria: np.ndarray | None = None  # [C, 2] discrimination and difficulty, where a rubric's model was fitted


def of_table(stage: Any, table: Table) -> Offsets | None:
    """Of a calibrate stage and its table; None where no offset differs from 0."""
    if not table.has("scales"):
        return None
    scales = table.read("scales", ["offset", "stderr"])
    offset, error = (scales[name].cast(pa.float64()).to_numpy() for name in ("offset", "stderr"))
    if not offset.any():
        return None
    answers = table.read("answers", _COLUMNS)
    answers = answers.filter(pc.is_valid(answers["p"]))
    rows = np.unique(np.linspace(0, len(answers) - 1, min(ANSWERS, len(answers))).astype(int))
    answers = answers.take(rows)
    kind = PAIRS if answers["query_id_b"].null_count < len(answers) else GHOSTS
    kind = CRITERIA if answers["criterion"].null_count < len(answers) else kind
    queries = pc.unique(pa.concat_arrays([answers[name].combine_chunks() for name in ("query_id", "query_id_b")]))
    wanted = pc.field("query_id").isin(queries.drop_null())
    ratings = pa.concat_tables([pq.read_table(path, filters=wanted) for path in table.shards("ratings")])
    before, after = _sides(ratings, answers, "query_id", "doc_a")
    if kind == PAIRS:
        other = _sides(ratings, answers, "query_id_b", "doc_b")
        slope = table.manifest.get("fit", {}).get("slope", 1.0)
        before, after = (stage.solver.link(slope * (a - b)) for a, b in zip((before, after), other, strict=True))
    known = ~np.isnan(before)
    answer = answers["p"].to_numpy().astype(np.float64)
    return Offsets(offset, error, kind, before[known], after[known], answer[known], _criteria(table))


def bins(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of x and y in ten bins of equally many rows, in order of x; fewer where there are fewer rows."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _sides(ratings: pa.Table, answers: pa.Table, query: str, doc: str) -> tuple[np.ndarray, np.ndarray]:
    """([M] rating within its query, [M] calibrated rating) of a document of each answer; nan for one without a rating."""
    queries, docs = (pc.unique(ratings[name]) for name in ("query_id", "doc_id"))

    def keys(query: pa.ChunkedArray, doc: pa.ChunkedArray) -> np.ndarray:
        """Numbers of (query, document); negative where there is no such query or document."""
        places = (pc.index_in(values, among) for values, among in ((query, queries), (doc, docs)))
        q, d = (place.fill_null(-1).to_numpy().astype(np.int64) for place in places)
        return np.where((q < 0) | (d < 0), -1, q * max(len(docs), 1) + d)

    have, wanted = keys(ratings["query_id"], ratings["doc_id"]), keys(answers[query], answers[doc])
    order = np.argsort(have)
    place = order[np.minimum(np.searchsorted(have[order], wanted), len(have) - 1)]
    calibrated, offset, scale = (ratings[name].to_numpy()[place] for name in ("rating", "offset", "scale"))
    after = np.where(have[place] == wanted, calibrated, np.nan)
    return (after - offset) / scale, after


def _criteria(table: Table) -> np.ndarray | None:
    fit = table.manifest.get("fit", {})
    names = ("discrimination", "difficulty")
    return np.stack([np.array(fit[name]) for name in names], 1) if all(name in fit for name in names) else None
