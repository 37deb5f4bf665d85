"""What a calibrator can use of the judges' answers, and the refusal of what nobody could use."""

import numpy as np

from zelo.errors import BadInput, OfQueries, first_few
from zelo.records import Answers, Asks, Rated


def answered(calibrator: str, rated: Rated, answers: Answers | None) -> Answers:
    """Those of `answers` that somebody gave (p is a number, weight is not 0); there may be none.

    Raises BadInput naming the first rating or the first row of the answers that cannot be used.
    """
    _refuse(calibrator, "rating", ~np.isfinite(rated.rating), rated.rating, "rate the queries again")
    if answers is None:
        nothing = np.empty(0, np.int64)
        return Answers(Asks(nothing, nothing, False, nothing), nothing.astype(float), nothing.astype(float))
    asks, p, weight = answers.asks, np.asarray(answers.p, float), np.asarray(answers.weight, float)
    _refuse(calibrator, "answer", (p < 0) | (p > 1) | np.isinf(p), p, "a preference lies in [0, 1]; ask again")
    given = ~np.isnan(p)
    bad = given & ~((weight >= 0) & np.isfinite(weight))
    _refuse(calibrator, "answer", bad, weight, "a weight is finite and 0 or more; ask again")
    for side in (asks.a, asks.b):
        unknown = (side < 0) | (side >= len(rated.rating))
        _refuse(calibrator, "question", unknown, side, f"the {len(rated.rating):,} rated documents have no such number")
    use = np.flatnonzero(given & (weight > 0))
    criterion = None if asks.criterion is None else asks.criterion[use]
    return Answers(Asks(asks.a[use], asks.b[use], asks.across, criterion), p[use], weight[use])


def query_of(rated: Rated) -> np.ndarray:
    """[N] int32 number of each document's query."""
    return np.repeat(np.arange(len(rated.sizes), dtype=np.int32), rated.sizes)


def refuse_without(calibrator: str, what: str, queries: np.ndarray, total: int, fix: str) -> None:
    """Raises BadInput if there are any of these queries, of `total` in all. queries: [B] numbers."""
    if len(queries):
        raise OfQueries(
            f"calibrator={calibrator}: {len(queries):,} of {total:,} queries {what} (query numbers {first_few(queries)}); {fix}",
            queries,
        )


def _refuse(calibrator: str, what: str, bad: np.ndarray, values: np.ndarray, fix: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise BadInput(f"calibrator={calibrator}: {what} number {row} is {values[row]}; {fix}")
