"""Every document is trained on."""

from dataclasses import dataclass

import numpy as np

from zelo.targets.certainty import certainty, check_var0


@dataclass(frozen=True, kw_only=True)
class All:
    """All documents of all queries, each counting by its certainty, or all alike."""

    var0: float | None  # variance of a rating at which its target counts half; None: all count 1

    def __post_init__(self) -> None:
        check_var0("all", self.var0)

    def weights(self, rating: np.ndarray, stderr: np.ndarray, sizes: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """[N] in (0, 1]."""
        return certainty(stderr, self.var0)
