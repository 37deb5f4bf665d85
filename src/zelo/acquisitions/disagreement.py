"""Where the students differ: what the pairwise one said of two documents, and what the pointwise one's scores say of them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from zelo.records import Chosen, FirstPass, starts


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """The pair of each query where the two students differ most: |p - F(difference of scores)|, F the logistic function.

    No label is read. The scores are log odds, so F needs no scale of its own. The first of the two documents is the one that
    the pairwise student prefers.
    """

    reads: ClassVar[str] = "outcomes"

    def choose(self, first: FirstPass) -> Chosen:
        """A pair of every query that was compared; equal differences are broken by the documents' ids."""
        assert first.edges is not None
        assert first.p is not None
        a, b = first.edges.T
        differs = np.abs(first.p - expit(first.score[a] - first.score[b]))
        query = np.searchsorted(starts(first.sizes), a, "right") - 1
        order = np.lexsort((b, a, -differs, query))
        worst = order[np.unique(query[order], return_index=True)[1]]
        turned = first.p[worst] < 0.5
        return Chosen(
            a=np.where(turned, b[worst], a[worst]), b=np.where(turned, a[worst], b[worst]), urgency=differs[worst]
        )

    def bar(self, urgency: np.ndarray) -> float:
        """None: however little they differ, the cap on pairs decides. urgency: [K] differences of all queries."""
        return 0.0
