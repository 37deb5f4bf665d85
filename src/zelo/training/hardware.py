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
        if self.devices != 1:
            raise BadInput(f"hardware.devices={self.devices}: one device trains a student; more are not supported yet.")

    def check(self) -> None:
        """Raises BadInput when what was asked for is not there: before any work, not in the middle of it."""
        import torch

        if self.accelerator == "gpu" and torch.cuda.device_count() < self.devices:
            raise BadInput(
                f"hardware=gpu asks for {self.devices} GPU and torch sees {torch.cuda.device_count()}. Use hardware=cpu, or"
                " install a CUDA build of torch."
            )

    @property
    def device(self) -> str:
        """The torch device to score on."""
        return "cuda" if self.accelerator == "gpu" else "cpu"
