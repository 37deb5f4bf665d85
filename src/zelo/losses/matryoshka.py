"""A loss at several widths of the vectors at once."""

import torch
from torch import Tensor, nn

from zelo.errors import BadInput
from zelo.protocols import ListLoss, Loss


class Matryoshka(nn.Module):
    """Mean of a loss over the scores of the whole vectors and of their first `widths` numbers.

    Matryoshka representation learning (Kusupati et al. 2022, arXiv 2205.13147, equation 1), all widths counting the same, so that
    a vector may be cut to one of them. A model that can be cut offers the widths (model=embedding); others get the loss it
    holds.
    """

    def __init__(self, *, loss: Loss, widths: list[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or len(set(widths)) < len(widths):
            raise BadInput(f"loss.widths={widths}: give one or more different widths, each at least 1.")
        self.loss, self.widths = loss, widths

    @property
    def compares(self) -> bool:
        """Whether the loss that it holds compares the documents of a query."""
        return isinstance(self.loss, ListLoss) and self.loss.compares

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar. scores: [B, D] or, at W widths, [B, D, W]; the others [B, D]."""
        if scores.dim() == 2:
            return self.loss(scores, targets, weights, mask)
        return torch.stack([self.loss(part, targets, weights, mask) for part in scores.unbind(2)]).mean()
