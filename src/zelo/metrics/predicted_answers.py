"""How well ratings predict the answers that a calibrator asked for, before and after it moved them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.likelihood.links import LinkFunction
from zelo.store.table import Table

ANSWERS = 4000  # of the calibrator's that are looked at, even over all
PAIRS, CRITERIA, GHOSTS = "pairs", "criteria", "ghosts"  # what was asked about
PREDICTED = pa.schema([("before", pa.float64()), ("after", pa.float64()), ("answer", pa.float64())])
COLUMNS = ["query_id", "doc_a", "doc_b", "query_id_b", "criterion", "p"]


def predicted_answers(ratings: Table, answers: pa.Table, link: LinkFunction, slope: float) -> tuple[str, pa.Table]:
    """(what was asked about, PREDICTED rows) of at most ANSWERS answers whose documents are rated.

    For PAIRS of two queries `before` and `after` are the probability that the first document is preferred; for CRITERIA of a
    rubric and for GHOSTS, documents of another query, the rating itself. ratings: holds RATING, calibrated; answers: OUTCOME.
    """
    answers = answers.select(COLUMNS).filter(pc.is_valid(answers["p"]))
    answers = answers.take(np.unique(np.linspace(0, len(answers) - 1, min(ANSWERS, len(answers))).astype(int)))
    kind = PAIRS if answers["query_id_b"].null_count < len(answers) else GHOSTS
    kind = CRITERIA if answers["criterion"].null_count < len(answers) else kind
    queries = pc.unique(pa.concat_arrays([answers[name].combine_chunks() for name in ("query_id", "query_id_b")]))
    wanted = pc.field("query_id").isin(queries.drop_null())
    rows = pa.concat_tables([pq.read_table(path, filters=wanted) for path in ratings.shards("ratings")])
    before, after = _sides(rows, answers, "query_id", "doc_a")
    if kind == PAIRS:
        other = _sides(rows, answers, "query_id_b", "doc_b")
        before, after = (link(slope * (a - b)) for a, b in zip((before, after), other, strict=True))
    known = ~np.isnan(before)
    answer = answers["p"].to_numpy().astype(np.float64)
    return kind, pa.table([before[known], after[known], answer[known]], schema=PREDICTED)


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
