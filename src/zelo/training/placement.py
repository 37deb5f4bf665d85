"""Where Lightning finds a process of a training among the others."""

import os

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import Strategy

from zelo.executors import ray_train
from zelo.training.hardware import FSDP2, Hardware
from zelo.training.sharded import ShardedWeights


def placed(hardware: Hardware) -> tuple[int, str | Strategy, ClusterEnvironment]:
    """Lightning's devices (of this machine), strategy, and environment.

    Ray Train may place more processes on one machine than on another. Its RayFSDPStrategy is PyTorch's first FSDP.
    """
    if hardware.processes == 1:
        return hardware.devices, "auto", LightningEnvironment()
    sharded = ShardedWeights(hardware.processes) if hardware.strategy == FSDP2 else None
    if ray_train.PLACED:
        ray = ray_train.lightning()
        here, environment = int(os.environ["LOCAL_WORLD_SIZE"]), ray.RayLightningEnvironment()
        return here, sharded or ray.RayDDPStrategy(find_unused_parameters=True), environment
    # pretrained models have parts that no score needs
    return hardware.devices, sharded or "ddp_find_unused_parameters_true", TorchElasticEnvironment()
