"""Where the work is done. Nothing here can change a result's identity."""

from dataclasses import dataclass

from zelo.backbones import device
from zelo.errors import BadInput

FSDP2 = "fsdp2"  # Lightning's ModelParallelStrategy
STRATEGIES = ("auto", "ddp", FSDP2)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a student is trained on, as arguments of Lightning's Trainer. Everything else runs on the first device."""

    accelerator: str  # cpu or gpu
    devices: int  # of each machine, one process each
    num_nodes: int  # machines that share the store
    strategy: str  # auto (one process, or ddp), ddp or fsdp2
    micro_batch: int | None  # queries that a process reads at once; null: its whole share of a batch

    def __post_init__(self) -> None:
        if self.accelerator not in ("cpu", "gpu"):
            raise BadInput(f"hardware.accelerator={self.accelerator}: cpu or gpu.")
        for name in ("devices", "num_nodes", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"hardware.{name}={value}: at least 1.")
        if self.strategy.startswith("deepspeed"):
            raise BadInput(
                f"hardware.strategy={self.strategy}: DeepSpeed takes no backward pass of zelo's own, and its checkpoints are"
                f" pickles. {FSDP2} shards weights, gradients and optimizer state."
            )
        if self.strategy not in STRATEGIES:
            raise BadInput(f"hardware.strategy={self.strategy}: one of {', '.join(STRATEGIES)}.")

    def check(self) -> None:
        """Raises BadInput when no such device is there: before any work, not in the middle of it."""
        device.check(self.device)

    def check_devices(self) -> None:
        """Raises BadInput when this machine has fewer GPUs than processes."""
        if self.accelerator == "gpu" and self.devices > 1:
            import torch

            if self.devices > (there := torch.cuda.device_count()):
                raise BadInput(
                    f"hardware.devices={self.devices}: torch sees {there} here; set hardware.devices={there}."
                )

    @property
    def device(self) -> str:
        """The torch device to score on."""
        return device.CUDA if self.accelerator == "gpu" else device.CPU

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.devices * self.num_nodes

    def apply(self) -> None:
        """Makes it the hardware of the pretrained models, too: judges and retrievers know no hardware."""
        device.choose(self.device)
