"""Where the stages that make vectors smaller leave them for each other."""

from pathlib import Path

import numpy as np

QUERIES, DOCUMENTS = (
    "queries.npy",
    "documents.npy",
)  # [N, dim] float32 of length 1, in the order of the load stage's tables
HALVINGS = "halvings.safetensors"  # matrices `1`, `2` and so on, each [dim / 2, dim]


def opened(folder: Path, name: str) -> np.ndarray:
    """The vectors, which stay on disk."""
    return np.load(folder / name, mmap_mode="r", allow_pickle=False)
