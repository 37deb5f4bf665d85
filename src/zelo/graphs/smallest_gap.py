"""The pairs that are hardest to tell apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from zelo.graphs.matching import GreedyRounds
from zelo.graphs.rounds import Round
from zelo.records import Fit


@dataclass(frozen=True, kw_only=True)
class SmallestGap(GreedyRounds):
    """A random cycle, then in rounds the pairs of the smallest |e_i - e_j|, none twice (zELO 2025, figure 9)."""

    NAME: ClassVar[str] = "smallest_gap"
    OPTIMISM: ClassVar[float] = 1.65  # three hard votes simulated, expected loss 0.004 to 0.012; soft labels 0.8
    COVARIANCE: ClassVar[bool] = False

    def value(self, group: Round, fit: Fit, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """[B, P] -|e_i - e_j|."""
        return -np.abs(group.rating[:, i] - group.rating[:, j])
