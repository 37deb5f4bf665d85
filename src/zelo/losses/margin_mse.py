"""Squared errors of margins."""

from torch import Tensor, nn

from zelo.losses.pairs import check_sharpness, gaps, mean_over_pairs, pair_weights, wanted_scores


class MarginMSE(nn.Module):
    """Mean of (margin of scores - margin of the targets' sharpened logits)^2 between a query's best document and each other.

    Margin-MSE (Hofstaetter et al. 2020, arXiv 2010.02666) with the document of the best target in the place of the labelled
    one: without labels there is no other positive. Documents that share the best target all stand in it. Scores are log odds;
    a query's offset does not count, the size of a margin does: `sharpness` sets the deviation of the logits within a query
    (null: their own). Over all pairs instead of the best one's it would be centred_mse. A pair counts as the harmonic mean of
    its documents' weights.
    """

    compares = True

    def __init__(self, *, sharpness: float | None) -> None:
        super().__init__()
        check_sharpness(sharpness)
        self.sharpness = sharpness

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar; a query with one document counts nothing. All [B, D]; mask is True where a document is."""
        there = mask & (weights > 0)
        highest = targets.masked_fill(~there, -1.0).max(1, keepdim=True).values
        best = there & (targets == highest)
        error = gaps((scores.float() - wanted_scores(targets, weights, mask, self.sharpness)).masked_fill(~mask, 0.0))
        return mean_over_pairs(error.square(), pair_weights(weights, mask) * best.unsqueeze(2))
