"""Pairwise cross-entropy."""

import torch.nn.functional as F
from torch import Tensor, nn

from zelo.losses.pairs import gaps, log_odds, mean_over_pairs, pair_weights


class RankNet(nn.Module):
    """Cross-entropy of sigmoid(score gap) against the preference sigmoid(logit(y_a) - logit(y_b)), over all pairs of a query.

    The pairwise cost with soft preferences of RankNet (Burges et al. 2005, section 3); scores are log odds. With target=link
    and solver=bradley_terry the preference is what the ratings say of the pair. Least where the gaps of the scores are those
    of the logits: a query's offset does not count. A pair counts as the harmonic mean of its documents' weights. Its memory
    grows with the square of a list: loader.documents bounds it.
    """

    compares = True

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar, in nats a pair; a query with one document counts nothing. All [B, D]; mask is True where a document is."""
        given = gaps(scores.float().masked_fill(~mask, 0.0))
        wanted = gaps(log_odds(targets)).sigmoid()
        entropy = F.binary_cross_entropy_with_logits(given, wanted, reduction="none")
        return mean_over_pairs(entropy, pair_weights(weights, mask))
