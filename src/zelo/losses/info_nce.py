"""The contrastive baseline: one positive among a query's documents."""

import torch
from torch import Tensor, nn


class InfoNCE(nn.Module):
    """-log of the best document's share of the softmax over its query's documents (van den Oord et al. 2018, equation 4).

    The positive is the document of the best target, the negatives are the query's other documents; of the targets nothing else
    is used, so it is what ratings have to beat. Documents that share the best target are each a positive, and no negatives.
    There are no in-batch negatives: a loss sees the scores of each query's own documents only. Scores are log odds, the cosine
    over model.temperature in an embedding. A document counts in the softmax, and a query in the mean, as the weight says: the
    document's own, and the positive's.
    """

    compares = True

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        """Scalar, in nats; a query without negatives counts nothing. All [B, D]; mask is True where a document is."""
        there = mask & (weights > 0)
        highest = targets.masked_fill(~there, -1.0).max(1, keepdim=True).values
        positive = there & (targets == highest)
        negative = there & ~positive
        weights = weights.float().masked_fill(~there, 1.0)
        mass = scores.float().masked_fill(~there, 0.0) + weights.log()
        against = mass.masked_fill(~negative, torch.finfo(torch.float32).min).logsumexp(1, keepdim=True)
        share = nn.functional.logsigmoid(mass - against)
        count = weights * positive * negative.any(1, keepdim=True) / positive.sum(1, keepdim=True).clamp(min=1)
        return -(count * share).sum() / count.sum().clamp(min=1e-12)
