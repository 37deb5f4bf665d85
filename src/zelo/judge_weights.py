"""How far each judge is believed: what its answers count for wherever the answers of several judges are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.optimize import minimize

from zelo.store.table import Table

LEAST = 0.01  # of the mean weight: nobody is silenced, so that a quorum stays one
SPREADS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # of the prior, relative to its mean; one of them is chosen
NARROW = (1e-3, 50)  # equal weights lie in
FOLDS = 10  # of the items; with fewer items than that nothing is learned


@dataclass(frozen=True)
class Learned:
    """Weights of M judges, and how much I items say about them."""

    weights: np.ndarray  # [M], 1 on average
    spread: float  # of SPREADS; 0: equal weights, as the items do not tell the judges' worth apart
    held_out: np.ndarray  # [I, M] weights of the same spread that were learned without the item's fold


def learned(odds: np.ndarray) -> Learned:
    """The weights that make known answers most probable. odds: [I, K, M] log odds of each judge for the answer of an item
    against K others, inf where there is none, 0 where the judge says nothing.

    P(answer) = softmax over the documents of the weighted sum of log odds (conditional logit, McFadden 1974). All judges are
    fitted together, so that judges who err together share what one of them would count for: copies of a judge are one voice.
    Prior: w ~ N(s, s^2 spread^2), w >= 0, s free. The spread is the smallest whose cross-validated likelihood is within one
    standard error of the best one's (Breiman et al. 1984, section 3.4.3): little evidence leaves the weights nearly equal. A
    judge that never says anything gets the least weight.
    """
    count = odds.shape[2]
    said = np.abs(np.where(np.isfinite(odds), odds, 0)).max((0, 1), initial=0) > 0
    odds = odds[..., said]
    if len(odds) < FOLDS or not said.any():
        return Learned(np.ones(count), 0.0, np.ones((len(odds), count)))
    fold = np.arange(len(odds)) * FOLDS // len(odds)
    loss, held_out = np.empty((len(SPREADS), len(odds))), np.empty((len(SPREADS), *odds[:, 0].shape))
    for number in range(FOLDS):
        out = fold == number
        for place, spread in enumerate(SPREADS):
            held_out[place, out] = found = _mode(odds[~out], spread)
            loss[place, out] = _losses(odds[out], found)[0]
    worse = loss - loss[loss.sum(1).argmin()]
    chosen = int(np.argmax(worse.sum(1) <= worse.std(1) * np.sqrt(len(odds))))
    return Learned(_all(_mode(odds, SPREADS[chosen]), said), SPREADS[chosen], _all(held_out[chosen], said))


def read(tables: Mapping[str, Table]) -> pa.Table | None:
    """WEIGHT rows of the input `weights`; None where a stage has none: all judges count 1."""
    return tables["weights"].read("weights") if "weights" in tables else None


def differ(weights: pa.Table | None) -> bool:
    """Whether some judge counts more than another."""
    return weights is not None and len(pc.unique(weights["weight"])) > 1


def weighted(outcomes: pa.Table, weights: pa.Table | None) -> pa.Table:
    """The outcomes with each weight multiplied by its judge's; a judge without one counts 1. weights: WEIGHT, None: all 1."""
    if weights is None:
        return outcomes
    place = pc.index_in(outcomes["judge"].cast(pa.string()), weights["judge"].combine_chunks())
    factor = pc.fill_null(weights["weight"].take(place), 1.0)
    values = pc.multiply(outcomes["weight"], factor.cast(pa.float32()))
    return outcomes.set_column(outcomes.schema.get_field_index("weight"), "weight", values)


def _all(found: np.ndarray, said: np.ndarray) -> np.ndarray:
    """[..., M] of those who `said` [M] something, 1 on average. Rounded, so that no digit hangs on the machine's sums."""
    weights = np.zeros((*found.shape[:-1], len(said)))
    weights[..., said] = found
    return np.maximum(weights / np.maximum(weights.mean(-1, keepdims=True), 1e-12), LEAST).round(2)


def _mode(odds: np.ndarray, spread: float) -> np.ndarray:
    """[M] weights, 0 or more: the posterior mode, for a prior of this spread."""
    one = np.ones(odds.shape[2])

    def equal(scale: np.ndarray) -> tuple[float, np.ndarray]:
        losses, slope = _losses(odds, scale * one)
        return losses.sum(), slope.sum(keepdims=True)

    scale = minimize(equal, [1.0], jac=True, bounds=[NARROW], method="L-BFGS-B").x
    if spread == 0:
        return scale * one
    # The scale is free: only the ratios of weights are drawn towards 1.
    precision = (np.diag(one) - 1 / len(one)) / (scale * spread) ** 2

    def penalised(weights: np.ndarray) -> tuple[float, np.ndarray]:
        losses, slope = _losses(odds, weights)
        return losses.sum() + weights @ precision @ weights / 2, slope + precision @ weights

    return minimize(penalised, scale * one, jac=True, bounds=[(0, None)] * len(one), method="L-BFGS-B").x


def _losses(odds: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([I] -log P(answer), [M] slope of their sum)."""
    there = np.isfinite(odds[..., 0])
    odds = np.where(there[..., None], odds, 0)
    # -log P = log(1 + sum exp(-difference)); its slope is minus the mean difference under the softmax.
    against = np.where(there, -odds @ weights, -np.inf)
    most = np.maximum(against.max(1), 0)
    odd = np.exp(against - most[:, None])
    total = np.exp(-most) + odd.sum(1)
    share = odd / total[:, None]
    return most + np.log(total), -share.ravel() @ odds.reshape(-1, len(weights))
