"""What the losses over gaps between a query's documents share: which are wanted, and how much each counts."""

from torch import Tensor, logit

from zelo.errors import BadInput

EDGE = 1e-4  # a target nearer than this to 0 or 1 counts as one at this distance: log odds of -9.2 and 9.2


def check_sharpness(sharpness: float | None) -> None:
    """Raises BadInput if it is no deviation."""
    if sharpness is not None and sharpness <= 0:
        raise BadInput(f"loss.sharpness={sharpness}: must be above 0, or null to take the targets' own gaps.")


def wanted_scores(targets: Tensor, weights: Tensor, mask: Tensor, sharpness: float | None) -> Tensor:
    """[B, D] the scores whose gaps are wanted: the targets' log odds, with `sharpness` as their deviation within each query.

    None leaves them at their size, for a student that shall say how likely a document is preferred. Gaps of soft ratings are
    several times smaller than those of a bi-encoder's scores, which would have to give up what they know to shrink so far; a
    student that only ranks is better asked for gaps of its own size: 2 where model.temperature is measured. All [B, D].
    """
    odds = logit(targets.float(), eps=EDGE).masked_fill(~mask, 0.0)
    if sharpness is None:
        return odds
    weights = weights.float().masked_fill(~mask, 0.0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    centred = odds - (weights * odds).sum(1, keepdim=True)
    deviation = (weights * centred.square()).sum(1, keepdim=True).sqrt().clamp(min=1e-6)
    return (sharpness * centred / deviation).masked_fill(~mask, 0.0)


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
