"""Targets by the solver's own link: how likely a document is preferred to one of rating 0."""

from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.records import Rated
from zelo.targets.selection import Selection, refuse_no_number


@dataclass(frozen=True, kw_only=True)
class Link:
    """target = F(rating / temperature), F the link that the ratings were fitted with.

    A rating is the difference to the mean of the query's candidates (0), or on the calibrated scale to its zero; so at
    temperature 1 the target is the probability that the document is preferred to one of that rating; above 1 targets are
    drawn towards 1/2.
    """

    temperature: float  # in units of ratings per unit of the link's argument
    selection: Selection

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise BadInput(f"target=link: temperature={self.temperature} must be positive and finite; try 1")

    def targets(self, rated: Rated) -> tuple[np.ndarray, np.ndarray]:
        """(target in [0, 1], weight), each [N]. Raises BadInput naming the first rating that is not a number."""
        refuse_no_number("link", rated.rating)
        return rated.link(rated.rating / self.temperature), self.selection.weights(
            rated.rating, rated.stderr, rated.sizes, rated.seeds
        )
