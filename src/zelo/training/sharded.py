"""Weights, gradients and the optimizer's state spread over the processes of a training."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Sharded(SingleDeviceStrategy):
    """One device of several, which holds a part of each tensor (FSDP: Zhao et al. 2023, arXiv 2304.11277).

    A layer is brought together when it is needed and let go afterwards. Gradients are summed over processes, not averaged: the
    loss is that of the whole batch in each of them.
    """

    def __init__(self, device: str) -> None:
        super().__init__(device=torch.device(device, torch.cuda.current_device()) if device == "cuda" else device)

    def model_to_device(self) -> None:
        """Moves the model there, then spreads it, layer by layer."""
        super().model_to_device()
        model: Any = self.lightning_module.model  # type: ignore[union-attr]
        if any(isinstance(weight, DTensor) for weight in model.parameters()):
            return
        lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
        layers = [layer for items in lists for layer in items if next(layer.parameters(), None) is not None]
        for part in [*reversed(layers), model]:  # what lies inside another comes first
            fully_shard(part)
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Spreads whole tensors as the model's are."""
        module: Any = self.lightning_module
        state = {key: _like(value, module.state_dict()[key]) for key, value in checkpoint["state_dict"].items()}
        module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Spreads what the optimizer knows of each weight as the weight is."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            for number, known in state["state"].items():
                for key, value in known.items():
                    known[key] = _like(value, weights[number])
            optimizer.load_state_dict(state)


def _like(value: object, known: object) -> object:
    if not isinstance(known, DTensor) or not isinstance(value, Tensor) or value.shape != known.shape:
        return value
    return distribute_tensor(value.to(known.device, known.dtype), known.device_mesh, known.placements)
