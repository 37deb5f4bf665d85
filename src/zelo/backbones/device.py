"""Where the pretrained models of this process run: what the run's hardware says, and never what happens to be there."""

from pathlib import Path

from zelo.errors import BadInput

AFFECTS_RESULTS = False  # Hardware is no part of a result: what one machine made, another reuses.

CPU, CUDA = "cpu", "cuda"
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of x86 and ARM
_chosen = CPU


def choose(device: str) -> None:
    """From now on models go to this torch device."""
    global _chosen
    _chosen = device


def wanted() -> str:
    """The torch device that was chosen, whether it is there or not."""
    return _chosen


def chosen() -> str:
    """The torch device to put a model on. Raises BadInput where it is not there."""
    check(_chosen)
    return _chosen


def fast_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 where models go: on a GPU, and on a CPU with instructions for it.

    Without these a CPU takes several times as long.
    """
    if _chosen != CPU:
        return True
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:  # no Linux
        return False
    return bool(words & _BFLOAT16)


def check(device: str) -> None:
    """Raises BadInput where torch does not see the device."""
    import torch

    if device == CUDA and not torch.cuda.is_available():
        raise BadInput(
            "hardware.accelerator=gpu asks for a GPU and torch sees none. Use hardware=cpu, or install a CUDA build of torch."
        )
