"""What solvers share that maximise a posterior: their settings, and the fit of all queries."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from zelo.errors import BadInput, OfQueries, first_few
from zelo.likelihood.blocks import Blocks
from zelo.likelihood.links import LinkFunction
from zelo.likelihood.newton import minimise
from zelo.records import Comparisons, Fit
from zelo.solvers.diagnosis import diagnosed, predicted

_LEAST_TOLERANCE = 1e-12

Stderr = Literal["laplace", "two_walk"]


@dataclass(frozen=True, kw_only=True)
class Iterative:
    """What is set of every solver that iterates to its ratings."""

    NAME: ClassVar[str]

    ridge: float  # precision of the prior
    tolerance: float  # largest absolute gradient of a query that counts as converged
    max_steps: int  # per query
    stderr: Stderr | None  # how standard errors are computed; None: they are not

    def __post_init__(self) -> None:
        if not 0 < self.ridge < np.inf:
            raise BadInput(
                f"solver={self.NAME}: ridge={self.ridge} must be positive: without a prior, documents that win all have no"
                " rating; try 0.001"
            )
        if not 0 < self.tolerance < np.inf:
            raise BadInput(f"solver={self.NAME}: tolerance={self.tolerance} must be a positive gradient; try 1e-6")
        if self.tolerance < _LEAST_TOLERANCE:
            raise BadInput(f"solver={self.NAME}: tolerance={self.tolerance} is below what float64 can reach; try 1e-9")
        if self.max_steps < 1:
            raise BadInput(f"solver={self.NAME}: max_steps={self.max_steps} must be at least 1; try 50")
        if self.stderr is not None and self.stderr not in get_args(Stderr):
            raise BadInput(
                f"solver={self.NAME}: stderr={self.stderr} must be one of {', '.join(get_args(Stderr))}, or null for none"
            )


@dataclass(frozen=True, kw_only=True)
class PosteriorMode(Iterative):
    """Ratings under a Gaussian prior, each query's where its posterior is highest, found by Newton steps."""

    lapse: float  # share of a soft preference that is no answer but uniform noise, taken out before the fit
    held_out: float  # share of the pairs that a second fit leaves out and predicts

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("lapse", self.lapse), ("held_out", self.held_out)):
            if not 0 <= value < 1:
                raise BadInput(f"solver={self.NAME}: {name}={value} must be a share in [0, 1); 0 turns it off")

    @property
    def link(self) -> LinkFunction:
        """The solver's link, with its derivatives."""
        raise NotImplementedError

    def fit(self, comparisons: Comparisons) -> Fit:
        """Ratings of all queries at once, mean 0 each, with standard errors and a diagnosis.

        A query without comparisons has ratings 0 and the prior's standard deviation. Raises BadInput naming unusable rows, or
        the queries that did not converge.
        """
        return self._fit(Blocks(comparisons, lapse=self.lapse))

    def _fit(self, blocks: Blocks) -> Fit:
        fitted = diagnosed(blocks, *self._converged(blocks), self.link, self.ridge, self.stderr)
        if not self.held_out:
            return fitted
        unseen, _, _ = self._converged(blocks.hiding(self.held_out))
        loss, figures = predicted(blocks, unseen, self.link, self.held_out)
        return replace(
            fitted, diagnosis=fitted.diagnosis | figures, queries=fitted.queries | {"held_out_log_loss": loss}
        )

    def _converged(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rating, steps, gradient = minimise(blocks, self.link, self.ridge, self.tolerance, self.max_steps)
        bad = np.flatnonzero(~(gradient <= self.tolerance))
        if len(bad):
            raise OfQueries(
                f"the ratings of {len(bad):,} of {len(gradient):,} queries did not converge (query numbers {first_few(bad)}):"
                f" gradient {gradient[bad].max():.1e} after {steps[bad].max()} Newton steps, wanted {self.tolerance:.1e}; "
                "raise solver.max_steps, solver.tolerance or solver.ridge",
                bad,
            )
        return rating, steps, gradient
