"""Which layers of a pretrained network learn, and how much they remember for it."""

from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_frozen(count: int) -> None:
    """Raises BadInput for a number of layers that is none."""
    if count < 0:
        raise BadInput(f"backbone.frozen_layers={count}: at least 0 (all layers learn).")


def freeze(network: Any, count: int) -> None:
    """The embeddings and the `count` lowest layers learn no more; with 0 all learn.

    Raises BadInput where no layer would be left.
    """
    if not count:
        return
    from torch.nn import ModuleList

    base = network.base_model
    there = base.config.num_hidden_layers
    found = [module for module in base.modules() if isinstance(module, ModuleList) and len(module) == there]
    if not found or count >= there:
        raise BadInput(
            f"backbone.frozen_layers={count}: the model has {there if found else 'no list of'} layers, of which at least one"
            " has to learn; freeze fewer."
        )
    embeddings = base.embeddings if hasattr(base, "embeddings") else base.get_input_embeddings()
    for module in (embeddings, *found[0][:count]):
        module.requires_grad_(False)


def checkpoint_gradients(network: "PreTrainedModel") -> None:
    """From now on each layer is computed again for its gradient: less memory, a third more time, the same figures."""
    # transformers renamed it within version 5
    old, new = "gradient_checkpointing_enable", "activation_checkpointing_enable"
    getattr(network, new if hasattr(network, new) else old)({"use_reentrant": False})
    for (
        module
    ) in network.modules():  # it works on layers in training mode only; a layer's own parts, dropout too, are not
        module.training = hasattr(module, "gradient_checkpointing")
