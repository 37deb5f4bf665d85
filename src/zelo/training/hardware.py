"""Where the work is done. Nothing here can change a result's identity."""

import os
import re
from dataclasses import dataclass

from zelo.backbones import device
from zelo.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a student is trained on: one process a device, all nodes together. Everything else runs on the first device."""

    accelerator: str  # cpu or gpu
    devices: int  # of each node
    nodes: int  # machines that share the store
    node: int | None  # which of them this is, from 0; null: what SLURM says, else 0
    address: str | None  # by which the other nodes reach node 0, HOST or HOST:PORT; null: its host name and a free port
    sharded: bool  # whether weights, gradients and the optimizer's state are spread over the processes (FSDP)
    micro_batch: int | None  # queries that a process reads at once; null: its whole share of a batch

    def __post_init__(self) -> None:
        if self.accelerator not in ("cpu", "gpu"):
            raise BadInput(f"hardware.accelerator={self.accelerator}: cpu or gpu.")
        for name in ("devices", "nodes", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"hardware.{name}={value}: at least 1.")
        if self.node is not None and not 0 <= self.node < self.nodes:
            raise BadInput(f"hardware.node={self.node}: from 0 to {self.nodes - 1}, as hardware.nodes={self.nodes}.")
        if self.address is not None and not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+)(:\d{1,5})?", self.address):
            raise BadInput(f"hardware.address={self.address}: write HOST or HOST:PORT.")

    def check(self) -> None:
        """Raises BadInput when what was asked for is not there: before any work, not in the middle of it."""
        device.check(self.device)
        if self.accelerator == "gpu" and self.devices > 1:
            import torch

            if self.devices > (there := torch.cuda.device_count()):
                raise BadInput(
                    f"hardware.devices={self.devices}: torch sees {there} here; set hardware.devices={there}."
                )
        if self.here >= self.nodes:
            raise BadInput(
                f"hardware.nodes={self.nodes}, but SLURM says that this is node {self.here}, counted from 0; set"
                " hardware.nodes to the number of nodes."
            )

    @property
    def device(self) -> str:
        """The torch device to score on."""
        return device.CUDA if self.accelerator == "gpu" else device.CPU

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.devices * self.nodes

    @property
    def here(self) -> int:
        """The number of this node."""
        if self.node is not None or self.nodes == 1:
            return self.node or 0
        return int(os.environ.get("SLURM_NODEID", "0"))

    def apply(self) -> None:
        """Makes it the hardware of the pretrained models, too: judges and retrievers know no hardware."""
        device.choose(self.device)
