"""vectors.npy: the vectors of all tokens of a corpus, written to their places by the processes that encode."""

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zelo.store.liveness import half_of

if TYPE_CHECKING:
    from torch import Tensor


class TokenFile:
    """A reserved file, open to several writers of different rows; none is kept where `storage` is None."""

    def __init__(self, path: Path, dim: int, storage: str | None) -> None:
        self.keeps, self.stored = storage is not None, np.dtype(storage or "float32")
        self.row_bytes = dim * self.stored.itemsize
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            assert version == (1, 0)
            np.lib.format.read_array_header_1_0(file)
            self.begin = file.tell()
        # Written as a file, not through a map: its pages would count as this process's memory. Not read, either: over NFS a
        # writer that has not read the page around writes its own bytes alone.
        self.file = os.open(path, os.O_WRONLY)

    def __enter__(self) -> "TokenFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self.keeps:
            os.fsync(self.file)  # before anything says that these texts are read
        os.close(self.file)

    def write(self, hidden: "Tensor", rows: np.ndarray, lengths: np.ndarray) -> None:
        """hidden: [B, L, dim]; rows: [B] of the first token of each text; lengths: [B] tokens of each."""
        import torch

        if not self.keeps:
            return
        unit = torch.nn.functional.normalize(hidden, dim=-1).cpu().numpy()
        for place, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
            left = memoryview(unit[place, :length].astype(self.stored).tobytes())
            at = self.begin + row * self.row_bytes
            while left:  # a system writes at most 2 GB at once
                written = os.pwrite(self.file, left, at)
                left, at = left[written:], at + written


def reserved(path: Path, count: int, dim: int, storage: str | None, label: str) -> int:
    """Makes the file of `count` token vectors, zeros as yet, where it is not there; the bytes that it holds.

    Raises OSError for a disk that is full, in words. label: of the texts.
    """
    stored = np.dtype(storage or "float32")
    shape = (count if storage else 0, dim)
    size = shape[0] * dim * stored.itemsize
    if not path.exists():
        half = half_of(path)
        with half.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(stored), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + size)
            file.flush()
            _reserve(file.fileno(), file.tell() + size, label)
        half.rename(path)
    return size


def _reserve(file: int, size: int, label: str) -> None:
    """Takes the disk's room for a file of zeros now, so that a full disk is found before any text is read. Raises OSError."""
    if sys.platform == "darwin":  # which has no posix_fallocate
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = f"{error.strerror}; the token vectors of the {label} take {size / 1e9:,.1f} GB"
            raise OSError(error.errno, f"{need}; backbone.storage=float16 halves float32, null keeps none") from error
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
            raise
