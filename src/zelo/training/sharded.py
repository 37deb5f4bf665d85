"""Weights, gradients and the optimizer's state spread over the processes of a training."""

from pathlib import Path
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType, fully_shard
from torch.distributed.tensor import DTensor

WHOLE = StateDictOptions(full_state_dict=True)


class ShardedWeights(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 (Zhao et al. 2023, arXiv 2304.11277), with checkpoints in one file without pickle."""

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Spreads whole tensors as the model's are."""
        checkpoint = self.checkpoint_io.load_checkpoint(checkpoint_path)
        model: Any = self.model
        set_model_state_dict(model, checkpoint["state_dict"], options=WHOLE)
        for optimizer, known in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            state = FullyShardedDataParallel.rekey_optim_state_dict(known, OptimStateKeyType.PARAM_NAME, model)
            set_optimizer_state_dict(model, optimizer, optim_state_dict=state, options=WHOLE)
        return checkpoint


def spread(model: nn.Module, mesh: DeviceMesh) -> None:
    """Spreads a model layer by layer: one is brought together when it is needed and let go afterwards."""
    if any(isinstance(weight, DTensor) for weight in model.parameters()):
        return
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = [layer for items in lists for layer in items if next(layer.parameters(), None) is not None]
    for part in [*reversed(layers), model]:  # what lies inside another comes first
        fully_shard(part, mesh=mesh)
