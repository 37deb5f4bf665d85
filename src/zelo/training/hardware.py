"""Where the work is done. Nothing here can change a result's identity."""

from dataclasses import dataclass

from zelo.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Lightning's accelerator and how many devices of it."""

    accelerator: str
    devices: int

    def __post_init__(self) -> None:
        if self.accelerator not in ("cpu", "gpu"):
            raise BadInput(f"hardware.accelerator={self.accelerator}: cpu or gpu.")

    @property
    def device(self) -> str:
        """The torch device to score on. Raises BadInput when there is no GPU."""
        import torch

        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise BadInput("hardware=gpu, but torch sees no GPU. Use hardware=cpu, or install a CUDA build of torch.")
        return "cuda" if self.accelerator == "gpu" else "cpu"
