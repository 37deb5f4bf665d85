"""A sequence classifier of one label: rows of tokens in, one logit each; written so that others load it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from zelo.backbones.first_token import first_token_only
from zelo.backbones.lora import merged
from zelo.backbones.pretrained import longest
from zelo.backbones.token_batches import TOKENS
from zelo.errors import BadInput
from zelo.protocols import PairReader, ParameterGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PADDING = 0.1  # share of a chunk that may be
WORTH = 1 / 8  # of `tokens`, from where on a chunk is read in one pass about as fast as a full one
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def check_lengths(max_length: int, tokens: int) -> None:
    """Raises BadInput for a row that holds nothing, or a chunk that holds no row."""
    if max_length < 8 or tokens < max_length:
        raise BadInput(f"model.max_length={max_length}, model.tokens={tokens}: 8 <= max_length <= tokens must hold.")


def opened(backbone: PairReader, max_length: int) -> "tuple[PreTrainedTokenizerFast, PreTrainedModel]":
    """The backbone's tokenizer and classifier. Raises BadInput for a `max_length` that it cannot read."""
    tokenizer, network = backbone.tokenizer(), backbone.classifier()
    if (limit := longest(network)) and max_length > limit:
        raise BadInput(f"model.max_length={max_length}: the backbone reads at most {limit} tokens; lower it.")
    first_token_only(network)
    return tokenizer, network


def padded(
    tokenizer: "PreTrainedTokenizerFast", rows: dict[str, list[list[int]]]
) -> tuple[dict[str, Tensor], np.ndarray]:
    """N rows of tokens as [N, L] with their `lengths`, shortest first, and [N] which row each was."""
    lengths = np.array([len(ids) for ids in rows["input_ids"]], np.int64)
    order = np.argsort(lengths, kind="stable")
    batch = tokenizer.pad({key: [values[i] for i in order] for key, values in rows.items()}, return_tensors="pt")
    return {**batch, "lengths": torch.from_numpy(lengths[order])}, order


def logits(network: "PreTrainedModel", batch: Mapping[str, Tensor], tokens: int) -> Tensor:
    """[N] float32 logits of what `padded` made, read in chunks of at most `tokens` tokens, a tenth of them padding at most.

    Without a gradient a chunk is no larger than is fastest.
    """
    lengths, found, start = batch["lengths"].tolist(), [], 0
    if not torch.is_grad_enabled():
        tokens = min(tokens, TOKENS[batch["input_ids"].device.type])
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and _takes(lengths[start : end + 1], tokens):
            end += 1
        chunk = {key: batch[key][start:end, : lengths[end - 1]] for key in INPUTS if key in batch}
        found.append(network(**chunk).logits[:, 0].float())
        start = end
    return torch.cat(found)


def _takes(lengths: list[int], tokens: int) -> bool:
    """Whether a chunk takes one more row, its last: within `tokens`, and little of it padding once it is worth a pass."""
    size = len(lengths) * lengths[-1]
    enough = (len(lengths) - 1) * lengths[-2] >= tokens * WORTH
    return size <= tokens and not (enough and sum(lengths) < (1 - PADDING) * size)


def parameter_groups(network: "PreTrainedModel", lr: float, fresh_head: bool) -> list[ParameterGroup]:
    """A fresh head learns ten times as fast as the body; what is frozen does not learn."""
    body = set(network.base_model.parameters())
    head = [weight for weight in network.parameters() if weight not in body and weight.requires_grad]
    learning = [weight for weight in network.base_model.parameters() if weight.requires_grad]
    groups: list[ParameterGroup] = [
        {"params": learning, "lr": lr},
        {"params": head, "lr": 10 * lr if fresh_head else lr},
    ]
    return [group for group in groups if group["params"]]


def export(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", scale: Tensor, folder: Path) -> None:
    """A folder that transformers loads, with a plain one-label head; adapters are merged, `scale` becomes part of the head."""
    state = merged(network)
    head = _head(network)
    for name in (f"{head}.weight", f"{head}.bias"):
        if name in state:
            state[name] = state[name] * scale
    network.save_pretrained(folder, state_dict={name: weight.contiguous() for name, weight in state.items()})
    tokenizer.save_pretrained(folder)


def _head(network: nn.Module) -> str:
    """The name of the linear layer that gives the one logit."""
    return [name for name, module in network.named_modules() if getattr(module, "out_features", None) == 1][-1]
