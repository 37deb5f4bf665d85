"""Binary cross-entropy with soft targets."""

import torch.nn.functional as F
from torch import Tensor, nn


class BCE(nn.Module):
    """Weighted mean of the cross-entropy -(y log p + (1 - y) log(1 - p)), p = sigmoid(score): scores are log odds.

    Least where p = y, as MSE is, but its gradient p - y does not vanish where the sigmoid is flat (Baum and Wilczek 1988, on
    outputs as probabilities). Like MSE it is for scores with a zero of their own, as those of a cross-encoder: cosines over a
    temperature lie far above 0, and would first have to come down.
    """

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar, in nats. All [B, D]; mask is True where a document is."""
        weights = weights.float().masked_fill(~mask, 0.0)
        scores = scores.float().masked_fill(~mask, 0.0)
        entropy = F.binary_cross_entropy_with_logits(scores, targets.float(), reduction="none")
        return (weights * entropy).sum() / weights.sum().clamp(min=1e-12)
