"""Whether there is anything to learn from."""

import numpy as np

from zelo.errors import BadInput
from zelo.protocols import ListLoss


def check_comparable(name: str, loss: object, sizes: np.ndarray) -> None:
    """Raises BadInput when a loss that compares documents of one query gets no query with two. sizes: [Q] documents each."""
    if isinstance(loss, ListLoss) and loss.compares and not (sizes > 1).any():
        raise BadInput(
            f"{name}.loss={type(loss).__name__} compares the documents of a query with each other, and none of the {len(sizes)}"
            " train queries has two rated documents. Rate more candidates (top_k), keep more of them (target.selection), or"
            " take a loss of single documents: mse or bce."
        )
