"""Seconds of repeated calls as figures, and the memory that a call needs."""

import contextlib
import ctypes
import gc
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.special import bdtr

from zelo.facts import Facts

CONFIDENCE = 0.95
EVERY = 0.005  # seconds between two looks at the memory
RESIDENT = Path("/proc/self/statm")


def figures(seconds: Sequence[float]) -> Facts:
    """p50, its interval, p95 and the mean of N calls, in seconds.

    The interval is that of order statistics, which assumes no distribution (Conover, Practical Nonparametric Statistics, 3rd
    edition, section 3.2); None below six calls, where none covers 95 %. p95 is the smallest time that 95 % do not exceed.
    """
    ordered = np.sort(np.asarray(seconds, float))
    low, high = interval(len(ordered))
    return {
        "calls": len(ordered),
        "p50": float(np.median(ordered)),
        "p50_low": None if low is None else float(ordered[low]),
        "p50_high": None if high is None else float(ordered[high]),
        "p95": float(np.quantile(ordered, 0.95, method="inverted_cdf")),
        "mean": float(ordered.mean()),
    }


def interval(count: int) -> tuple[int, int] | tuple[None, None]:
    """Places, from 0, of the two order statistics between which the median lies with at least 95 % confidence."""
    rank = max((k for k in range(1, count // 2 + 1) if 1 - 2 * bdtr(k - 1, count, 0.5) >= CONFIDENCE), default=None)
    return (None, None) if rank is None else (rank - 1, count - rank)


class Memory:
    """Peak of the memory that a system needs above what the process held before it was loaded, in MB.

    Main memory is looked at every 5 ms (None where the system does not say), a GPU's is torch's own peak.
    """

    def __init__(self, device: str) -> None:
        with contextlib.suppress(AttributeError, OSError):  # glibc: what is freed goes back, so that its reuse is seen
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
        self.device, self.before, self.peak = device, _resident(), _resident()
        if device == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.gpu_before = torch.cuda.memory_allocated()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Looks while something runs inside."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(EVERY):
                self.peak = max(self.peak, _resident())

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self.peak = max(self.peak, _resident())

    @property
    def megabytes(self) -> Facts:
        """memory_mb and gpu_memory_mb."""
        gpu = None
        if self.device == "cuda":
            import torch

            gpu = (torch.cuda.max_memory_allocated() - self.gpu_before) / 1e6
        return {"memory_mb": (self.peak - self.before) / 1e6 if self.peak else None, "gpu_memory_mb": gpu}


def _resident() -> int:
    """Bytes; 0 where it is not known."""
    try:
        return int(RESIDENT.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
