"""Listwise softmax distillation."""

import torch
from torch import Tensor, nn

from zelo.errors import BadInput


class ListwiseKL(nn.Module):
    """KL(softmax(sharpness * z) || softmax(score)) over a query's documents, z the standardised logit of the targets.

    The logit undoes the link up to a factor, which standardising within the query removes, so that z is the standardised
    rating. Its gradient sees differences of scores only: a query's offset does not count. As in reranker distillation for
    embeddings (method: zembed-1, 2026).
    """

    compares = True

    def __init__(self, *, sharpness: float) -> None:
        super().__init__()
        if sharpness <= 0:
            raise BadInput(f"loss.sharpness={sharpness}: must be above 0.")
        self.sharpness = sharpness

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar; a query weighs as the mean weight of its documents, and with one document nothing. All [B, D]."""
        count = mask.sum(1, keepdim=True).clamp(min=1)
        logit = torch.logit(targets.float(), eps=1e-4).masked_fill(~mask, 0.0)
        centred = (logit - logit.sum(1, keepdim=True) / count).masked_fill(~mask, 0.0)
        deviation = (centred.square().sum(1, keepdim=True) / count).sqrt().clamp(min=1e-6)
        wanted = torch.log_softmax((self.sharpness * centred / deviation).masked_fill(~mask, -torch.inf), dim=1)
        given = torch.log_softmax(scores.float().masked_fill(~mask, -torch.inf), dim=1)
        terms = (wanted.exp() * (wanted - given)).masked_fill(~mask, 0.0)
        weight = weights.masked_fill(~mask, 0.0).sum(1) / count.squeeze(1) * (mask.sum(1) > 1)
        return (terms.sum(1) * weight).sum() / weight.sum().clamp(min=1e-12)
