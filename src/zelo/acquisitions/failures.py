"""Where people and the reranker differ: a document that they label highest, and that it puts too low."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.errors import BadInput
from zelo.records import Chosen, FirstPass, starts

SHARE, LEAST, MOST = 75, 5.0, 30.0  # of the threshold that is read off the ranks: a percentile, and its limits


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The document with the highest label against the one that the student ranks just above it (zELO 2025, section 5.6).

    A query fails where that document's rank is above the threshold.
    """

    reads: ClassVar[str] = "labels"

    threshold: float | None  # a rank, the best being 1; None: the 75th percentile of the ranks, from 5 to 30

    def __post_init__(self) -> None:
        if self.threshold is not None and not self.threshold >= 1:
            raise BadInput(
                f"acquisition.threshold={self.threshold} is no rank: the best document has rank 1. Set 5, or null for the"
                " 75th percentile of the ranks."
            )

    def choose(self, first: FirstPass) -> Chosen:
        """Every query with its labelled document's rank as urgency; ties in score are broken by id."""
        assert first.human is not None
        low = starts(first.sizes)
        query = np.repeat(np.arange(len(first.sizes)), first.sizes)
        order = np.lexsort((-first.score, query))  # stable: documents come in order of id
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        at = place[first.human]
        top = at == low[:-1]
        return Chosen(a=first.human, b=np.where(top, -1, order[at - 1]), urgency=at - low[:-1] + 1.0)

    def bar(self, urgency: np.ndarray) -> float:
        """The rank up to which a query has not failed. urgency: [K] ranks of all queries."""
        if self.threshold is not None:
            return self.threshold
        return float(np.clip(np.percentile(urgency, SHARE), LEAST, MOST)) if len(urgency) else LEAST
