"""What a measurement ran on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from zelo.facts import Facts

CPUINFO = Path("/proc/cpuinfo")


def described(device: str) -> Facts:
    """Processor, cores, threads, GPU and versions. device: of torch, where models are."""
    import torch

    return {
        "cpu": cpu(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("zelo", "torch", "transformers", "sentence-transformers")},
    }


def cpu() -> str:
    """The processor's name."""
    found = re.search(
        r"^model name\s*:\s*(.+)$",
        CPUINFO.read_text(encoding="utf-8", errors="replace") if CPUINFO.exists() else "",
        re.M,
    )
    return found[1].strip() if found else platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def load() -> float | None:
    """Mean number of processes that wanted a core in the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
