"""Pairwise cross-entropy."""

import torch.nn.functional as F
from torch import Tensor, nn

from zelo.losses.pairs import check_sharpness, gaps, mean_over_pairs, pair_weights, wanted_scores


class RankNet(nn.Module):
    """Cross-entropy of sigmoid(score gap) against sigmoid(gap of the targets' sharpened logits), over all pairs of a query.

    The pairwise cost with soft preferences of RankNet (Burges et al. 2005, section 3); scores are log odds. `sharpness` sets
    the deviation of the logits within a query; null leaves them, and with target=link and solver=bradley_terry a preference is
    then what the ratings say of the pair. Least where the gaps of scores and logits are the same: a query's offset does not
    count. A pair counts as the harmonic mean of its documents' weights. Its memory grows with the square of a list:
    loader.documents bounds it.
    """

    compares = True

    def __init__(self, *, sharpness: float | None) -> None:
        super().__init__()
        check_sharpness(sharpness)
        self.sharpness = sharpness

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar, in nats a pair; a query with one document counts nothing. All [B, D]; mask is True where a document is."""
        given = gaps(scores.float().masked_fill(~mask, 0.0))
        wanted = gaps(wanted_scores(targets, weights, mask, self.sharpness)).sigmoid()
        entropy = F.binary_cross_entropy_with_logits(given, wanted, reduction="none")
        return mean_over_pairs(entropy, pair_weights(weights, mask))
