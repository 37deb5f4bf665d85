"""Documents stay whole."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class NoSplitting:
    """A long document is cut by each model where its input ends."""

    WHOLE: ClassVar[Literal[True]] = True

    @property
    def rule(self) -> str:
        """Nothing is done."""
        return "documents are not split"

    def split(self, documents: pa.Table) -> list[list[tuple[str, str]]]:
        """Each document as it is."""
        return [[(row["title"], row["text"])] for row in documents.to_pylist()]
