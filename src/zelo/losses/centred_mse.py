"""Squared errors that are blind to the offset of a query."""

from torch import Tensor, nn

from zelo.losses.pairs import log_odds


class CentredMSE(nn.Module):
    """Weighted mean of (score - logit(target))^2, both less their weighted mean over the query's documents.

    Comparisons within a query leave its offset open (zELO, arXiv 2509.12541): this loss leaves it open, too. Scores are log
    odds and are compared as such, since behind a sigmoid, as in MSE, the offset would still decide where the curve is flat.
    Gaps are wanted at their size: where the student's are of another, model.temperature or target.temperature sets it. Up to
    a factor it is the mean squared error of the gaps of all pairs of a query.
    """

    compares = True

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar; a query with one document counts nothing. All [B, D]; mask is True where a document is."""
        weights = weights.float().masked_fill(~mask, 0.0)
        weights = weights * ((weights > 0).sum(1, keepdim=True) > 1)
        error = (scores.float() - log_odds(targets)).masked_fill(~mask, 0.0)
        offset = (weights * error).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1e-12)
        return (weights * (error - offset).square()).sum() / weights.sum().clamp(min=1e-12)
