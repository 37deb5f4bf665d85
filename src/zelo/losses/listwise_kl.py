"""Listwise softmax distillation."""

import torch
from torch import Tensor, nn

from zelo.errors import BadInput
from zelo.losses.pairs import EDGE


class ListwiseKL(nn.Module):
    """KL(softmax(wanted) || softmax(score)) over a query's documents; a document counts in both as its weight says.

    wanted: with `sharpness` the log odds of the targets at this deviation within the query, around their mean: they undo the link
    up to a factor, which standardising removes, so that it is the standardised rating whatever its size. With `temperature` the
    log odds over it, as in the distillation of a reranker's scores (Hinton et al. 2015; for embeddings zembed-1, 2026). One of
    the two is given. The student's temperature is model.temperature: scores come divided by it.
    The gradient sees differences of scores only: a query's offset does not count. A weight is a share of the softmax,
    w exp(score), as if the document stood in the list w times: the minimum is at the wanted scores whatever the weights.
    """

    compares = True

    def __init__(self, *, sharpness: float | None, temperature: float | None) -> None:
        super().__init__()
        if (sharpness is None) == (temperature is None):
            raise BadInput(
                f"loss.sharpness={sharpness}, loss.temperature={temperature}: give one of the two, the other null."
            )
        for name, value in (("sharpness", sharpness), ("temperature", temperature)):
            if value is not None and value <= 0:
                raise BadInput(f"loss.{name}={value}: must be above 0.")
        self.sharpness, self.temperature = sharpness, temperature

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar; a query weighs as the mean weight of its documents, and with one document nothing. All [B, D]."""
        there = mask & (weights > 0)
        weights = weights.float().masked_fill(~there, 0.0)
        absent = ~there & there.any(1, keepdim=True)  # a query without any keeps finite numbers, and counts nothing
        share = weights.masked_fill(~there, 1.0).log()
        wanted = torch.log_softmax(
            (self._wanted(targets, weights, there) + share).masked_fill(absent, -torch.inf), dim=1
        )
        given = torch.log_softmax(
            (scores.float().masked_fill(~there, 0.0) + share).masked_fill(absent, -torch.inf), dim=1
        )
        terms = (wanted.exp() * (wanted - given)).masked_fill(~there, 0.0)
        count = there.sum(1)
        weight = weights.sum(1) / count.clamp(min=1) * (count > 1)
        return (terms.sum(1) * weight).sum() / weight.sum().clamp(min=1e-12)

    def _wanted(self, targets: Tensor, weights: Tensor, there: Tensor) -> Tensor:
        odds = torch.logit(targets.float(), eps=EDGE).masked_fill(~there, 0.0)
        if self.sharpness is None:
            assert self.temperature is not None
            return odds / self.temperature
        total = weights.sum(1, keepdim=True).clamp(min=1e-12)
        centred = (odds - (weights * odds).sum(1, keepdim=True) / total).masked_fill(~there, 0.0)
        deviation = ((weights * centred.square()).sum(1, keepdim=True) / total).sqrt().clamp(min=1e-6)
        return self.sharpness * centred / deviation
