"""What the losses over pairs of a query's documents share: the gaps, and how much each counts."""

from torch import Tensor, logit

EDGE = 1e-4  # a target nearer than this to 0 or 1 counts as one at this distance: log odds of -9.2 and 9.2


def log_odds(targets: Tensor) -> Tensor:
    """[B, D] log(y / (1 - y)) of targets in [0, 1]: the unit that scores have in every loss."""
    return logit(targets.float(), eps=EDGE)


def gaps(values: Tensor) -> Tensor:
    """[B, D, D] value of the first document minus value of the second. values: [B, D]."""
    return values.unsqueeze(2) - values.unsqueeze(1)


def pair_weights(weights: Tensor, mask: Tensor) -> Tensor:
    """[B, D, D] harmonic mean of the two documents' weights; 0 for padding and for a document with itself.

    A certainty weight is v / (s^2 + v), s^2 the variance of a rating and v what is unexplained anyway. The gap of two ratings
    has the variance s_a^2 + s_b^2 and 2 v unexplained, so its certainty is 2 v / (s_a^2 + s_b^2 + 2 v): the harmonic mean.
    """
    weights = weights.float().masked_fill(~mask, 0.0)
    first, second = weights.unsqueeze(2), weights.unsqueeze(1)
    both = 2 * first * second / (first + second).clamp(min=1e-12)
    return both - both.diagonal(dim1=1, dim2=2).diag_embed()


def mean_over_pairs(values: Tensor, weights: Tensor) -> Tensor:
    """Scalar: the weighted mean of each query's pairs, then of the queries, each counting as the mean weight of its pairs.

    So a long list counts no more than a short one. A pair of weight 0 is none, a query without any counts nothing, and if no
    query has one the value is 0, with a gradient of zeros. values, weights: [B, D, D].
    """
    pairs = (weights > 0).sum((1, 2)).clamp(min=1)
    total = (weights * values).sum((1, 2)) / pairs
    return total.sum() / (weights.sum((1, 2)) / pairs).sum().clamp(min=1e-12)
