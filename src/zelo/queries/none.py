"""No queries are made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class NoQueries:
    """Only the queries that people have asked."""

    CHEAP: ClassVar[Literal[True]] = True

    most: ClassVar[int] = 0
    mix: ClassVar[bool] = False
    top_k: ClassVar[int] = 1

    def make(self, documents: pa.Table, examples: Sequence[str]) -> Iterator[pa.Table]:
        """Nothing."""
        return iter(())
