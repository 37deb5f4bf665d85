"""What a target asks of a selection, and of the ratings that it is made from."""

from typing import Protocol

import numpy as np

from zelo.errors import BadInput


class Selection(Protocol):
    """Which documents are trained on, and how much each counts, whatever other queries there are."""

    def weights(self, rating: np.ndarray, stderr: np.ndarray, sizes: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """[N] weights, 0 for a document that is not trained on. Arguments as of `Target.targets`."""
        ...


def refuse_no_number(target: str, rating: np.ndarray) -> None:
    """Raises BadInput naming the first rating that is not a number."""
    bad = ~np.isfinite(rating)
    if bad.any():
        row = int(bad.argmax())
        raise BadInput(f"target={target}: rating number {row} is {rating[row]}; rate the queries again")
