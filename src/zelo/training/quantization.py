"""Document vectors in few bits, as they are compared with a query's vector in full."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32, INT8, BINARY = "float32", "int8", "binary"
BITS = {FLOAT32: 32, INT8: 8, BINARY: 1}
LEVELS = 255  # steps between the least and the largest of 256 numbers


def bytes_of(width: int, numbers: str) -> int:
    """Of one document's vector; the ranges of int8 are kept once for all."""
    return -(-width * BITS[numbers] // 8)


@dataclass(frozen=True)
class Ranges:
    """What the least and the largest number of each dimension are, over a corpus."""

    low: Tensor  # [dim]
    high: Tensor  # [dim]

    @staticmethod
    def of(parts: Iterable[Tensor]) -> "Ranges":
        """Of all vectors [n, dim], part by part."""
        ends = [(part.amin(0), part.amax(0)) for part in parts]
        low, high = (torch.stack(side) for side in zip(*ends, strict=True))
        return Ranges(low.amin(0), high.amax(0))


def coarse(vectors: Tensor, numbers: str, ranges: Ranges | None) -> Tensor:
    """[n, dim] float32: what vectors are after they were kept as such numbers.

    int8: the nearest of 256 numbers at equal steps within each dimension's range. binary: the sign, over the root of dim, so that
    lengths are 1; the query stays in full (asymmetric distance, as in Charikar 2002's signs against whole vectors).
    """
    if numbers == INT8:
        assert ranges is not None
        step = ((ranges.high - ranges.low) / LEVELS).clamp(min=1e-12)
        kept = ((vectors - ranges.low) / step).round().clamp(0, LEVELS).to(torch.uint8)
        return ranges.low + kept.float() * step
    if numbers == BINARY:
        return torch.where(vectors > 0, 1.0, -1.0) / vectors.shape[1] ** 0.5
    return vectors
