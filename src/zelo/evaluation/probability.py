"""Scores as probabilities: how reliable they are, and a threshold for a precision. Made on dev, measured on test."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from zelo.evaluation.labelled_scores import LabelledScores
from zelo.evaluation.threshold import chosen, in_words, measured, transfer
from zelo.facts import Facts
from zelo.metrics.measure import Resampling
from zelo.metrics.significance import drawn

BINS = 10
RESAMPLES = 2000  # of queries, at most


def report(
    dev: LabelledScores,
    test: LabelledScores,
    domains: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
    precision: float,
    resamples: int,
    seed: int,
) -> Facts:
    """What one system's scores say. domains: name -> [Q] bool, of dev and of test; precision: the wanted one."""
    interval = Resampling(min(resamples, RESAMPLES), seed)
    scale = platt(dev.score, dev.relevant)
    found: Facts = {"documents": len(test.score), "relevant": int(test.relevant.sum())}
    if scale is not None and len(test.score):
        slope, intercept = scale
        found |= {"slope": slope, "intercept": intercept}
        found |= reliability(
            expit(slope * test.score + intercept), test.relevant, test.query, len(test.labelled), interval
        )
    cut = chosen(dev, precision, interval)
    found["threshold"] = cut.facts()
    if cut.score is not None:
        found["threshold"] |= measured(test, cut.score, interval)
        found["transfer"] = transfer(dev, test, domains, cut.score, precision, interval)
    return found


def platt(score: np.ndarray, relevant: np.ndarray) -> tuple[float, float] | None:
    """(slope, intercept) of the log odds of relevance in the score; None where all or none are relevant.

    Logistic regression towards (n + 1) / (n + 2) and 1 / (m + 2) for n relevant and m other documents, so that it ends where the
    scores part them (Platt, Probabilistic Outputs for Support Vector Machines, 1999, section 2.2). Scores that are log odds
    already have slope 1 and intercept 0 (Cox, Biometrika 45, 1958). score, relevant: [N].
    """
    hits = int(relevant.sum())
    if hits in (0, len(score)):
        return None
    target = np.where(relevant, (hits + 1) / (hits + 2), 1 / (len(score) - hits + 2))
    centre, spread = score.mean(), score.std() or 1.0
    unit = (score - centre) / spread

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = weights[0] * unit + weights[1]
        error = expit(odds) - target
        return float((np.logaddexp(0, odds) - target * odds).mean()), np.array([error @ unit, error.sum()]) / len(unit)

    base = np.log((hits + 1) / (len(score) - hits + 1))
    slope, intercept = minimize(loss, [0.0, base], jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return float(slope / spread), float(intercept - slope * centre / spread)


def reliability(p: np.ndarray, relevant: np.ndarray, query: np.ndarray, queries: int, interval: Resampling) -> Facts:
    """The expected calibration error; the mean probability and the share that is relevant, for each of BINS parts of equal size.

    ECE = sum over parts of |sum of (p - relevant)| / N (Guo et al., ICML 2017, equation 3; parts of equal size as in Nguyen and
    O'Connor, EMNLP 2015). It is not negative, so few queries make it too large. Intervals are over queries. p, relevant,
    query: [N].
    """
    edges = np.unique(np.quantile(p, np.arange(1, BINS) / BINS))
    part = np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[
        1
    ]  # equal probabilities stay together
    parts = int(part.max()) + 1

    def sums(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(query * parts + part, values, queries * parts).reshape(queries, parts).astype(np.float64)

    count, expected, hits = sums(None), sums(p), sums(relevant.astype(np.float64))
    gap, size = expected - hits, count.sum(axis=1)
    ece = interval.of_draws(lambda times: np.abs(times @ gap).sum(axis=1) / (times @ size), queries, len(p), "")
    with np.errstate(invalid="ignore"):  # a resample may lack a part
        shares = [times @ hits / (times @ count) for times in drawn(queries, interval.resamples, interval.seed)]
    low, high = np.nanpercentile(np.concatenate(shares), [2.5, 97.5], axis=0)
    total = count.sum(axis=0)
    columns = {
        "p": expected.sum(axis=0) / total,
        "relevant": hits.sum(axis=0) / total,
        "ci_low": low,
        "ci_high": high,
        "documents": total.astype(np.int64),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return {"ece": ece.facts(), "parts": [dict(zip(columns, row, strict=True)) for row in rows]}


def words_of(system: str, found: Facts, precision: float, queries: dict[str, int]) -> list[str]:
    """For the terminal and the report. queries: split -> labelled queries."""
    lines = []
    if "ece" in found:
        ece = found["ece"]
        ends = "" if ece["ci_low"] is None else f", 95 % interval {ece['ci_low']:.3f} to {ece['ci_high']:.3f}"
        lines.append(
            f"{system} as a probability (Platt scaling on dev): ECE {ece['value']:.3f}{ends}, where"
            f" {found['relevant'] / found['documents']:.1%} of {found['documents']:,} documents of {queries['test']} test"
            " queries are relevant"
        )
    return [*lines, *in_words(system, found, precision, queries)]
