"""What a ranking is expected to lose against the true one, as the posterior sees it: when to stop asking."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from zelo.likelihood.randomness import mix, random, uniform

_TOP = 10
_DRAWS = 100  # their mean is then right to about a tenth of its value
_CHANCE = 1 << 20  # a stream that no graph draws from
_CELLS_AT_ONCE = 1 << 19  # of draws: they stay in the cache


def expected_loss(
    rating: np.ndarray,
    stderr: np.ndarray,
    covariance: np.ndarray,
    seeds: np.ndarray,
    link: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """[B] expected 1 - DCG@10(order of the ratings) / DCG@10(order of the truth).

    The mean over draws of the truth from N(rating, covariance); a document's gain is the probability that it is preferred to
    an average one. rating, stderr: [B, n]; covariance: [B, n, n] of centred ratings, which is put on the scale of the standard
    errors: these know that soft labels are no Bernoulli draws. seeds: [B] uint64.

    It is as good as the solver's prior. Simulated, three hard votes, ratings of true precision 2.5, `staged` stopped at 0.01:
    a true loss of 0.006 with ridge 2.5, 0.008 with 1, 0.015 with 0.3 and 0.025 with 0.1.
    """
    scale = (stderr**2).sum(1) / np.einsum("bii->b", covariance)
    covariance = covariance * scale[:, None, None]
    loss = np.empty(len(rating))
    step = max(1, _CELLS_AT_ONCE // (rating.shape[1] * _DRAWS))
    for begin in range(0, len(rating), step):
        part = slice(begin, begin + step)
        # Products this small gain nothing from a second thread and lose many times their time to waking it.
        with threadpool_limits(1, "blas"):
            loss[part] = _mean_loss(rating[part], covariance[part], seeds[part], link)
    return loss


def _mean_loss(
    rating: np.ndarray, covariance: np.ndarray, seeds: np.ndarray, link: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    count, n = rating.shape
    top = min(_TOP, n)
    # A constant direction is added, so that there is a Cholesky factor, and taken out of the draws again.
    lift = np.einsum("bii->b", covariance) / n
    factor = np.linalg.cholesky(covariance + lift[:, None, None])
    normal = ndtri(uniform(random(mix(seeds), _CHANCE, np.arange(n * _DRAWS // 2)))).reshape(count, _DRAWS // 2, n)
    noise = normal @ factor.transpose(0, 2, 1)
    noise -= noise.mean(2, keepdims=True)
    truth = rating[:, None] + np.concatenate([noise, -noise], 1)  # [B, draws, n]
    shown = np.argsort(-rating, axis=1, kind="stable")[:, None, :top]
    best = np.sort(np.partition(truth, n - top, axis=2)[:, :, n - top :], axis=2)[:, :, ::-1]
    discount = 1 / np.log2(2 + np.arange(top))
    reached = link(np.take_along_axis(truth, np.broadcast_to(shown, (count, _DRAWS, top)), 2)) @ discount
    return (1 - reached / (link(best) @ discount)).mean(1)
