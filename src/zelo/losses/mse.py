"""The paper's pointwise loss."""

import torch
from torch import Tensor, nn


class MSE(nn.Module):
    """Weighted mean of (sigmoid(score) - target)^2 (zELO, arXiv 2509.12541, section 5.5; sigmoid as in the released models).

    Scores are log odds; the released models' division by 5 is model.temperature=5.
    """

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar. All [B, D]; mask is True where a document is."""
        weights = weights.masked_fill(~mask, 0.0)
        error = (torch.sigmoid(scores.float()) - targets).masked_fill(~mask, 0.0)
        return (weights * error.square()).sum() / weights.sum().clamp(min=1e-12)
