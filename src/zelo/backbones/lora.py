"""Low-rank adapters: few weights learn, and what is exported has them merged (Hu et al. 2021, LoRA, equation 3)."""

from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

ADAPTER = "default"


def adapt(network: "PreTrainedModel", rank: int, alpha: float) -> None:
    """Puts adapters of this rank, times alpha / rank, on every linear layer below the head; nothing else learns then.

    They start at zero, so that no score moves. Raises BadInput where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise BadInput(
            f"backbone.lora_rank={rank} needs peft: pip install 'zelo[lora]', or train all weights with backbone.lora_rank=null."
        ) from error
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS"),  # type: ignore[arg-type]
        network,
        ADAPTER,
    )
    for name, weight in network.named_parameters():
        weight.requires_grad_("lora_" in name)
        if weight.requires_grad:
            weight.data = weight.data.float()  # in 16 bits most steps would round to nothing


def merged(network: Any) -> "dict[str, Tensor]":
    """The network's tensors under the names of a network without adapters, each adapter added to its layer's weight."""
    state = network.state_dict()
    for name, module in network.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight, added = module.base_layer.weight.detach(), module.get_delta_weight(ADAPTER).detach()
            state[f"{name}.base_layer.weight"] = (weight.float() + added.float()).to(weight.dtype)
    return {name.replace(".base_layer.", "."): weight for name, weight in state.items() if ".lora_" not in name}
