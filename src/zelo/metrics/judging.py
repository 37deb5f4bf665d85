"""What the answers of one judge say about the judge: order, repetition, contradictions, spread, and known preferences.

The answers of a judge come as columns: `pair` [A], `order` [A] (0: the pair's first document was shown first, 1: second) and
`p` [A], P(the pair's first document preferred). `query` [E] is the query of each pair.
"""

import numpy as np

from zelo.metrics.measure import Measure, Resampling

TIE = 1e-6
"""Preferences this near to one half are ties: float32 answers and their means are no more exact."""
BINS = 10
CHANCE_OF_A_CIRCLE = 0.25
"""Share of intransitive triads when each verdict is a coin's: 2 of the 8 outcomes (Kendall and Babington Smith 1940)."""


def verdicts(p: np.ndarray) -> np.ndarray:
    """1 for the first document, -1 for the second, 0 for a tie, nan where p is nan; same shape."""
    lean = p - 0.5
    return np.where(np.abs(lean) <= TIE, 0.0, np.sign(lean))


def position_bias(
    pair: np.ndarray, order: np.ndarray, p: np.ndarray, query: np.ndarray, interval: Resampling
) -> Measure:
    """Mean over pairs judged in both orders of P(document shown first preferred) - 1/2; 0 is no bias."""
    mean = _means(pair, order, p, len(query))
    bias = (mean[:, 0] - mean[:, 1]) / 2
    both = ~np.isnan(bias)
    return interval.mean(bias[both], query[both], "no pair was answered in both orders")


def flips(pair: np.ndarray, order: np.ndarray, p: np.ndarray, query: np.ndarray, interval: Resampling) -> Measure:
    """Share of pairs whose verdict changes with the order; a tie against a verdict counts half. A coin's is 1/2.

    With repeats it is the mean over all ways to take one answer of each order.
    """
    counts = _verdict_counts(2 * pair + order, p, 2 * len(query)).reshape(-1, 2, 3)
    asked = counts.sum(axis=2)
    both = asked.min(axis=1) > 0
    apart = np.einsum("ei,ij,ej->e", counts[both, 0], _APART, counts[both, 1]) / asked[both].prod(axis=1)
    return interval.share(apart, query[both], "no pair was answered in both orders")


def same_again(pair: np.ndarray, order: np.ndarray, p: np.ndarray, query: np.ndarray, interval: Resampling) -> Measure:
    """Share of repeats in one order that have the same verdict; a tie against a verdict counts half."""
    counts = _verdict_counts(2 * pair + order, p, 2 * len(query))
    asked = counts.sum(axis=1)
    again = asked > 1
    # No two of the same verdict are apart, so that the pairs of an answer with itself add nothing.
    apart = np.einsum("ci,ij,cj->c", counts[again], _APART, counts[again]) / (asked * (asked - 1))[again]
    return interval.share(1 - apart, np.repeat(query, 2)[again], "no pair was answered twice in one order")


def change_again(
    pair: np.ndarray, order: np.ndarray, p: np.ndarray, query: np.ndarray, interval: Resampling
) -> Measure:
    """Mean absolute difference of p between two repeats in one order."""
    cell = 2 * pair + order
    rows = np.lexsort((p, cell))
    cell, p = cell[rows], p[rows]
    asked = np.bincount(cell, minlength=2 * len(query))
    place = np.arange(len(cell)) - np.repeat(np.cumsum(asked) - asked, asked)
    # Of n ascending values the k-th is the larger one in k differences and the smaller one in n - 1 - k.
    total = np.bincount(cell, (2 * place - asked[cell] + 1) * p, 2 * len(query))
    again = asked > 1
    change = total[again] / (asked * (asked - 1) / 2)[again]
    return interval.mean(change, np.repeat(query, 2)[again], "no pair was answered twice in one order")


def triads(edges: np.ndarray) -> np.ndarray:
    """[T, 3] rows of `edges` [E, 2] (each with its smaller document first) that are a-b, b-c and a-c of three documents."""
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    a, b = edges[order].T
    key = a * (int(edges.max(initial=0)) + 1) + b  # ascending
    after = np.searchsorted(a, b, "right") - np.searchsorted(a, b, "left")  # edges that go on from b
    first = np.repeat(np.arange(len(a)), after)
    start = np.repeat(np.searchsorted(a, b, "left") - (np.cumsum(after) - after), after)
    second = start + np.arange(len(first))
    wanted = a[first] * (int(edges.max(initial=0)) + 1) + b[second]
    third = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    closed = key[third] == wanted
    return order[np.stack([first, second, third], axis=1)[closed]]


def circles(p: np.ndarray, triad: np.ndarray, query: np.ndarray, interval: Resampling) -> Measure:
    """Share of triads, none of the three a tie, in which a beats b, b beats c and c beats a. By chance it is 1/4.

    p: [E] P(first document of each edge preferred), nan where not known; triad: [T, 3] of `triads`.
    """
    verdict = verdicts(p)[triad]
    known = np.isin(verdict, (-1.0, 1.0)).all(axis=1)
    around = (verdict[:, 0] == verdict[:, 1]) & (verdict[:, 1] != verdict[:, 2])
    missing = "no three documents were all compared with each other without a tie"
    return interval.share(around[known].astype(np.float64), query[triad[known, 0]], missing)


def sides_with(p: np.ndarray, truth: np.ndarray, query: np.ndarray, interval: Resampling, missing: str) -> Measure:
    """Share of pairs in which the document is preferred that is known to be better; a tie counts half, a coin's is 1/2.

    p: [E]; truth: [E] above 0 where the first document is the better one, below 0 where the second is, else 0 or nan.
    """
    known = ~np.isnan(p) & ~np.isnan(truth) & (truth != 0)
    right = (1 + verdicts(p[known]) * np.sign(truth[known])) / 2
    return interval.share(right, query[known], missing)


def histogram(score: np.ndarray) -> np.ndarray:
    """[10] counts of scores in [-1, 1], in bins of 0.2; what lies on an edge counts half on either side."""
    place = (score + 1) * (BINS / 2)
    edge = np.abs(place - np.round(place)) <= TIE * BINS
    nearest = np.round(place).astype(np.int64)
    above = np.clip(np.where(edge, nearest, np.floor(place).astype(np.int64)), 0, BINS - 1)
    below = np.clip(np.where(edge, nearest - 1, above), 0, BINS - 1)
    return (np.bincount(above, minlength=BINS) + np.bincount(below, minlength=BINS)) / 2


def fullest(counts: np.ndarray) -> float:
    """Share of the fullest bin; 1 / bins when uniform, 1 when all lies in one."""
    return float(counts.max() / counts.sum())


def evenness(counts: np.ndarray) -> float:
    """Entropy of the bins over that of the uniform distribution; 1 when uniform, 0 when all lies in one bin (Pielou 1966)."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(counts))) + 0.0  # of a single bin it is no -0.0


_APART = np.abs(np.arange(3)[:, None] - np.arange(3)) / 2  # [3, 3] how far two verdicts are apart: 0, 1/2 or 1


def _verdict_counts(cell: np.ndarray, p: np.ndarray, cells: int) -> np.ndarray:
    """[cells, 3] how often each cell has each verdict, from -1 to 1."""
    return np.bincount(3 * cell + verdicts(p).astype(np.int64) + 1, minlength=3 * cells).reshape(cells, 3)


def _means(pair: np.ndarray, order: np.ndarray, p: np.ndarray, pairs: int) -> np.ndarray:
    """[pairs, 2] mean over repeats in each order, nan where there is none."""
    cell = 2 * pair + order
    with np.errstate(invalid="ignore"):
        return (np.bincount(cell, p, 2 * pairs) / np.bincount(cell, minlength=2 * pairs)).reshape(-1, 2)
