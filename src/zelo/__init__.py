"""zelo: from queries and documents without labels to a reranker, an embedding model and their evaluation.

The command `zelo` runs all of it. This module is for notebooks: it loads exported models, and imports nothing heavy before.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput, ZeloError

if TYPE_CHECKING:
    from zelo.backbones.exported import Exported

__all__ = ["BadInput", "ZeloError", "load", "rerank"]


def load(folder: str | Path, device: str = "cpu") -> "Exported":
    """The model in a folder that a run exported, RUN_FOLDER/reranker or RUN_FOLDER/embedding. device: cpu or cuda.

    Its `rank(query, documents)` is what `rerank` gives. Raises BadInput for what is no model or cannot be loaded.
    """
    from zelo.backbones import device as devices
    from zelo.backbones.exported import Exported

    devices.check(device)
    return Exported(Path(folder).expanduser(), device, f"load({str(folder)!r})", batch_size=32)


def rerank(folder: str | Path, query: str, documents: list[str]) -> list[tuple[int, float]]:
    """(place among the documents, score) of each document, best first, by the model in `folder`. Raises BadInput as `load`."""
    return load(folder).rank(query, documents)
