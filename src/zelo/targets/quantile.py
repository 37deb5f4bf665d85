"""Targets by rank among all documents of all queries: spread evenly over [0, 1] whatever the ratings' distribution."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from zelo.records import Rated
from zelo.targets.selection import Selection, refuse_no_number


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """target = share of all rated documents with a lower rating, equal ones counting half.

    One scale for all queries, so it needs calibrated ratings, and all of them at once. Only order is used: no unit, no
    link. (Ranks within each query would say nothing across queries.)
    """

    compares_queries: ClassVar[Literal[True]] = True

    selection: Selection

    def targets(self, rated: Rated) -> tuple[np.ndarray, np.ndarray]:
        """(target in (0, 1), weight), each [N]. Raises BadInput naming the first rating that is not a number."""
        refuse_no_number("quantile", rated.rating)
        _, place, counts = np.unique(rated.rating, return_inverse=True, return_counts=True)
        target = (np.cumsum(counts) - counts / 2)[place] / len(rated.rating) if len(rated.rating) else np.empty(0)
        return target, self.selection.weights(rated.rating, rated.stderr, rated.sizes, rated.seeds)
