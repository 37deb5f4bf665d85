"""Trained weights back into a network that was made from its backbone."""

from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"


def restore(model: "nn.Module", checkpoint: Path, architectures: object) -> None:
    """Takes a torch module's weights from the checkpoint. architectures: of its network, for the error.

    Raises BadInput for a checkpoint of another architecture.
    """
    from safetensors.torch import load_file

    path = checkpoint / WEIGHTS
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:  # torch lists every name and shape that differs
        reason = str(error).strip().splitlines()[1].strip()[:200]
        raise BadInput(
            f"{path} is a checkpoint of another architecture than {architectures}: {reason}"
            " Name the backbone that it was trained from, adapters included."
        ) from error
