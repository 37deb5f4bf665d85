"""Where the work is done. Nothing here can change a result's identity."""

from dataclasses import dataclass

from zelo.backbones import device
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
        device.check(self.device)

    @property
    def device(self) -> str:
        """The torch device to score on."""
        return device.CUDA if self.accelerator == "gpu" else device.CPU

    def apply(self) -> None:
        """Makes it the hardware of the pretrained models, too: judges and retrievers know no hardware."""
        device.choose(self.device)
