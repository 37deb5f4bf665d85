"""Does a claim hold? What it says of one figure, held against the interval of that figure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from zelo.errors import BadInput
from zelo.evaluation.paired import ALPHA
from zelo.evaluation.verdict import FEWEST
from zelo.metrics.significance import FlipTest

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told at this size"
SIDES = ("above", "below")


@dataclass(frozen=True)
class Contrast:
    """A metric of one system is on one side of that of another system, or of a number."""

    metric: str
    of: str
    side: str  # one of SIDES
    than: str | float

    @staticmethod
    def read(node: Mapping[str, str | float]) -> "Contrast":
        """From {metric: nDCG@10, of: SYSTEM, above: SYSTEM or number}. Raises BadInput for anything else."""
        sides = [side for side in SIDES if side in node]
        if set(node) != {"metric", "of", *sides} or len(sides) != 1:
            raise BadInput(
                f"claim: contrast {dict(node)} is to have the keys metric, of, and either {' or '.join(SIDES)}."
            )
        return Contrast(str(node["metric"]), str(node["of"]), sides[0], node[sides[0]])


@dataclass(frozen=True)
class Found:
    """A contrast with its figures. low, high: the 95 % interval of the difference, of - than."""

    contrast: Contrast
    value: float
    difference: float
    low: float
    high: float
    queries: int

    @staticmethod
    def of(contrast: Contrast, values: np.ndarray, other: np.ndarray, resamples: int, seed: int) -> "Found":
        """From values of the same queries. values: [Q]; other: [Q] of the other system, or the number, [Q] times."""
        test = FlipTest.of((values - other)[None], resamples, seed)
        low, high = (float(end[0]) for end in test.interval(np.array([ALPHA])))
        return Found(contrast, float(values.mean()), float(test.mean[0]), low, high, len(values))

    @property
    def verdict(self) -> str:
        """HOLDS or FAILS where the interval is on one side of 0, or no verdict: OPEN. Below FEWEST queries it is OPEN."""
        if self.queries < FEWEST or self.low <= 0 <= self.high:
            return OPEN
        return HOLDS if (self.low > 0) == (self.contrast.side == "above") else FAILS

    @property
    def text(self) -> str:
        """The figures in one line."""
        other = self.value - self.difference
        than = f"{self.contrast.than} {other:.4g}" if isinstance(self.contrast.than, str) else f"{other:.4g}"
        return (
            f"{self.contrast.metric}: {self.contrast.of} {self.value:.4g} {self.contrast.side} {than}?"
            f" {self.difference:+.2g} [{self.low:+.2g}, {self.high:+.2g}], {self.queries} queries"
        )


def verdict(found: Iterable[Found]) -> str:
    """A claim holds where each of its contrasts does, and does not hold where one is on the wrong side.

    As all must hold, none needs a correction for their number (the intersection-union test: Berger, Technometrics 24, 1982).
    """
    said = {one.verdict for one in found}
    return FAILS if FAILS in said else HOLDS if said == {HOLDS} else OPEN
