"""Weights between the untuned and the trained ones, chosen on dev."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """How much of the trained weights a student has, from 0 (the untuned ones) to 1, and what dev said of each share."""

    share: float
    dev: dict[float, float]


def learning(model: Any) -> dict[str, Tensor]:
    """Copies of the weights that learn, on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def mix(model: Any, start: Mapping[str, Tensor], shares: Iterable[float], data: Any, device: str) -> Mixture:
    """Puts (1 - share) start + share trained into the model, by the share that ranks dev best; of equals the least.

    Weights on the line between a pretrained and a tuned model often rank better than either (WiSE-FT: Wortsman et al., CVPR
    2022, arXiv 2109.01903, section 3). model: with its trained weights; start: what `learning` gave before; shares: between 0 and
    1, which are both tried too; data: its dev batches and rows.
    """
    trained, dev = learning(model), {}
    for share in sorted({0.0, 1.0, *shares}):
        _put(model, start, trained, share)
        dev[share] = _measured(model, data, device)
    best = max(dev, key=lambda share: (dev[share], -share))
    _put(model, start, trained, best)
    return Mixture(best, dev)


def _put(model: Any, start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in trained:
                exact = {0.0: start, 1.0: trained}.get(share)  # to the last bit
                weight.copy_(exact[name] if exact else torch.lerp(start[name], trained[name], share))


def _measured(model: Any, data: Any, device: str) -> float:
    model.to(device).eval()
    values = []
    with torch.no_grad():
        for batch in data.val_dataloader():
            scores = model({key: value.to(device) for key, value in batch.items()}).float().cpu().numpy()
            values.append(data.dev.values(scores, batch["targets"].numpy(), batch["mask"].numpy()))
    return data.dev.measure(np.concatenate(values))
