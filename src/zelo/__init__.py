"""zelo: from queries and documents without labels to a reranker, an embedding model and their evaluation.

The command `zelo` runs all of it. This module is for notebooks, and imports nothing heavy before
it is needed.
"""

# pyright: reportImportCycles=false
# What a notebook calls is the whole program, which imports this package; at run time each import waits for its call.

from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput, ZeloError
from zelo.notebook import compose, judge, rate, run

if TYPE_CHECKING:
    from zelo.backbones.exported import Exported
    from zelo.served import Served

__all__ = ["BadInput", "ZeloError", "compose", "judge", "load", "rate", "rerank", "run"]


def load(folder: str | Path, device: str = "cpu") -> "Exported | Served":
    """The model in a folder that a run exported, RUN_FOLDER/reranker or RUN_FOLDER/embedding. device: cpu or cuda.

    Its `rank(query, documents)` is what `rerank` gives. RUN_FOLDER itself is the hybrid of hybrid.json: its `rank` uses BM25 and
    both models, and `search(query)` finds documents of the run. Raises BadInput for what is no model or cannot be loaded.
    """
    from zelo.backbones import device as devices
    from zelo.backbones.exported import Exported
    from zelo.hybrid_score import FILE
    from zelo.served import Served

    devices.check(device)
    path, setting = Path(folder).expanduser(), f"load({str(folder)!r})"
    return Served(path, device, setting) if (path / FILE).exists() else Exported(path, device, setting, batch_size=32)


def rerank(folder: str | Path, query: str, documents: list[str]) -> list[tuple[int, float]]:
    """(place among the documents, score) of each document, best first, by the model in `folder`. Raises BadInput as `load`."""
    return load(folder).rank(query, documents)
