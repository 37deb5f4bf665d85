"""Where the pretrained models of this process run: what the run's hardware says, and never what happens to be there."""

from zelo.errors import BadInput

AFFECTS_RESULTS = False  # Hardware is no part of a result: what one machine made, another reuses.

CPU, CUDA = "cpu", "cuda"
_chosen = CPU


def choose(device: str) -> None:
    """From now on models go to this torch device."""
    global _chosen
    _chosen = device


def chosen() -> str:
    """The torch device to put a model on. Raises BadInput where it is not there."""
    check(_chosen)
    return _chosen


def check(device: str) -> None:
    """Raises BadInput where torch does not see the device."""
    import torch

    if device == CUDA and not torch.cuda.is_available():
        raise BadInput(
            "hardware=gpu asks for a GPU and torch sees none. Use hardware=cpu, or install a CUDA build of torch."
        )
