"""Squared errors that are blind to the offset of a query."""

from torch import Tensor, nn

from zelo.losses.pairs import check_sharpness, wanted_scores


class CentredMSE(nn.Module):
    """Weighted mean of (score - sharpened logit(target))^2, both less their weighted mean over the query's documents.

    Comparisons within a query leave its offset open (zELO, arXiv 2509.12541): this loss leaves it open, too. Scores are log
    odds and are compared as such, since behind a sigmoid, as in MSE, the offset would still decide where the curve is flat.
    Gaps are wanted at a size, which `sharpness` sets: the deviation of the targets' logits within a query (null: their own).
    Up to a factor it is the mean squared error of the gaps of all pairs of a query.
    """

    compares = True

    def __init__(self, *, sharpness: float | None) -> None:
        super().__init__()
        check_sharpness(sharpness)
        self.sharpness = sharpness

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar; a query with one document counts nothing. All [B, D]; mask is True where a document is."""
        weights = weights.float().masked_fill(~mask, 0.0)
        weights = weights * ((weights > 0).sum(1, keepdim=True) > 1)
        error = (scores.float() - wanted_scores(targets, weights, mask, self.sharpness)).masked_fill(~mask, 0.0)
        offset = (weights * error).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1e-12)
        return (weights * (error - offset).square()).sum() / weights.sum().clamp(min=1e-12)
