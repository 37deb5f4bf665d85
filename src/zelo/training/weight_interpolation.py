"""Weights between the untuned and the trained ones, chosen on dev."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zelo.progress import Advance, progress
from zelo.training.datamodule import DataModule
from zelo.training.grad_cache import Pieces
from zelo.training.hardware import Hardware


@dataclass(frozen=True)
class WeightMixture:
    """How much of the trained weights a student has, from 0 (the untuned ones) to 1, and what dev said of each share."""

    share: float
    dev: dict[float, float]
    values: np.ndarray  # what each dev row tells of the metric, with that share


def learning(model: Any) -> dict[str, Tensor]:
    """Copies of the weights that learn, on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def mix(
    model: Any,
    start: Mapping[str, Tensor],
    dev: Mapping[float, float],
    shares: Sequence[float],
    data: DataModule,
    hardware: Hardware,
    precision: str,
    label: str,
) -> WeightMixture:
    """Puts (1 - share) start + share trained into the model, by the share that ranks dev best; of equals the least.

    Weights on the line between a pretrained and a tuned model often rank better than either (WiSE-FT: Wortsman et al., CVPR
    2022, arXiv 2109.01903, section 3). model: with its trained weights; start: what `learning` gave before; dev: what the untuned
    weights reached (0) and the trained ones (1), which is absent where nothing was trained; data: its dev batches.
    """
    trained, dev, values = learning(model), dict(dev), dict[float, np.ndarray]()
    if 1.0 in dev:
        with progress(f"{label}: weights between", len(shares) * len(data.dev), "queries") as advance:
            for share in shares:
                _put(model, start, trained, share)
                values[share] = _values(model, data, hardware, precision, advance)
                dev[share] = data.dev.measure(values[share])
    best = max(sorted(dev), key=dev.__getitem__)
    _put(model, start, trained, best)
    if best not in values:
        with progress(f"{label}: the weights that are kept", len(data.dev), "queries") as advance:
            values[best] = _values(model, data, hardware, precision, advance)
    return WeightMixture(best, {share: dev[share] for share in sorted(dev)}, values[best])


def _put(model: Any, start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in trained:
                # What LoRA adds is the product of two factors: on the line if one of them, which starts at zero, moves alone.
                whole = share == 1 or ("lora_A" in name and share > 0)
                exact = trained if whole else start if share == 0 else None  # to the last bit
                weight.copy_(exact[name] if exact else torch.lerp(start[name].float(), trained[name].float(), share))


def _values(model: Any, data: DataModule, hardware: Hardware, precision: str, advance: Advance) -> np.ndarray:
    """As in validation: in pieces where memory does not hold a batch, and in the trainer's precision."""
    model.to(hardware.device).eval()
    pieces, values = Pieces(model, None, micro_batch=hardware.micro_batch), []
    for batch in data.val_dataloader():
        on_device = {key: value.to(hardware.device) for key, value in batch.items()}
        with torch.no_grad(), _casting(hardware.device, precision):
            scores = pieces.score(on_device, partial(data.dev.part, collate=data.collate))
        values.append(data.dev.values(scores.float().cpu().numpy(), batch["targets"].numpy(), batch["mask"].numpy()))
        advance(len(batch["mask"]))
    return np.concatenate(values)


def _casting(device: str, precision: str) -> AbstractContextManager[object]:
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return torch.autocast(device, kinds[precision]) if precision in kinds else nullcontext()
