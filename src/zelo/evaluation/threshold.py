"""A threshold for a wanted precision: chosen on dev, its precision and recall told of test, within and across domains."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zelo.evaluation.labelled_scores import LabelledScores
from zelo.facts import Facts
from zelo.metrics.measure import MIN_QUERIES, Resampling
from zelo.metrics.significance import drawn

LEAST = 10
"""Documents that a threshold must keep on dev: of fewer, a precision is an accident."""
CUTS = 400
"""Scores that are tried in resamples, at most."""
ALL = "all"  # domains together


@dataclass(frozen=True)
class PrecisionThreshold:
    """The lowest score of a relevant document from which on the wanted precision holds on dev."""

    score: float | None  # None: no score has it
    low: (
        float | None
    )  # 95 % interval over the dev queries; None where there are too few, or most resamples have no such score
    high: float | None
    precision: float  # on dev; where there is no threshold, the best that at least LEAST documents have
    documents: int  # that are at or above it on dev

    def facts(self) -> Facts:
        """For a JSON file."""
        return {
            "score": self.score,
            "ci_low": self.low,
            "ci_high": self.high,
            "dev_precision": self.precision,
            "dev_documents": self.documents,
        }


def chosen(dev: LabelledScores, precision: float, interval: Resampling) -> PrecisionThreshold:
    """The threshold for this precision."""
    cuts = np.unique(dev.score[dev.relevant])
    taken, hits = (len(score) - np.searchsorted(np.sort(score), cuts) for score in (dev.score, dev.score[dev.relevant]))
    share = hits / np.maximum(taken, 1)
    place = int(_lowest(taken[None], hits[None], precision)[0])
    if place < 0:
        enough = np.flatnonzero(taken >= LEAST)
        if not len(enough):
            return PrecisionThreshold(None, None, None, 0.0, 0)
        best = int(enough[np.argmax(share[enough])])
        return PrecisionThreshold(None, None, None, float(share[best]), int(taken[best]))
    low, high = _interval(dev, cuts, precision, interval)
    return PrecisionThreshold(float(cuts[place]), low, high, float(share[place]), int(taken[place]))


def measured(test: LabelledScores, score: float, interval: Resampling) -> Facts:
    """Precision and recall of what scores at least so much, with intervals over the queries.

    Recall is of all relevant documents that have a label: those that the system does not rank are missed.
    """
    above = test.score >= score
    queries = len(test.labelled)
    taken = np.bincount(test.query[above], minlength=queries).astype(np.float64)
    hits = np.bincount(test.query[above & test.relevant], minlength=queries).astype(np.float64)

    def ratio(whole: np.ndarray, missing: str) -> Facts:
        found = interval.of_draws(lambda times: times @ hits / (times @ whole), queries, int(whole.sum()), missing)
        return found.facts()

    return {
        "precision": ratio(taken, "no document has such a score"),
        "recall": ratio(test.labelled.astype(np.float64), "no document is relevant"),
        "documents": int(taken.sum()),
    }


def transfer(
    dev: LabelledScores,
    test: LabelledScores,
    domains: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
    score: float,
    precision: float,
    interval: Resampling,
) -> list[Facts]:
    """What one threshold is worth in each domain of test: that of all dev queries, and that of each domain's.

    domains: name -> [Q] bool, of dev and of test.
    """
    of_dev, of_test = domains
    alone = {name: chosen(dev.only(kept), precision, interval).score for name, kept in of_dev.items()}
    cuts = {ALL: score} | alone if of_test else {}
    return [
        {"from": source, "to": target, "score": cut} | ({} if cut is None else measured(test.only(kept), cut, interval))
        for source, cut in cuts.items()
        for target, kept in of_test.items()
    ]


def in_words(system: str, found: Facts, precision: float, queries: dict[str, int]) -> list[str]:
    """For the terminal and the report. queries: split -> labelled queries."""
    cut = found["threshold"]
    if cut["score"] is None:
        best = f"the best is {cut['dev_precision']:.0%} of {cut['dev_documents']} documents"
        few = f"fewer than {LEAST} documents can be told apart"
        return [
            f"{system}: a precision of {precision:.0%} cannot be reached on {queries['dev']} dev queries at any threshold;"
            f" {best if cut['dev_documents'] else few}"
        ]
    ends = "" if cut["ci_low"] is None else f" (95 % interval {cut['ci_low']:.3f} {_upper(cut['ci_high'])})"
    line = (
        f"{system}: scores from {cut['score']:.3f}{ends} have a precision of {cut['dev_precision']:.0%} on dev; on test"
        f" {_share(cut['precision'], 'precision')}, {_share(cut['recall'], 'recall')}"
    )
    rows = [row for row in found["transfer"] if row["from"] == ALL and "value" in row["precision"]]
    if len(rows) > 1:
        least, most = (end(rows, key=lambda row: row["precision"]["value"]) for end in (min, max))
        line += "; this one threshold has a precision from " + " to ".join(
            f"{row['precision']['value']:.0%} ({row['to']})" for row in (least, most)
        )
    return [line]


def _upper(score: float | None) -> str:
    return "or more, or none that has it" if score is None else f"to {score:.3f}"


def _share(found: Facts, name: str) -> str:
    if "value" not in found:
        return f"no {name}, as {found['not_measured']}"
    ends = "" if found["ci_low"] is None else f" ({found['ci_low']:.0%} to {found['ci_high']:.0%})"
    return f"{name} {found['value']:.0%}{ends}"


def _above(scores: LabelledScores, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([Q, C] documents, [Q, C] relevant documents of each query at or above each cut). cuts: [C] ascending."""
    queries, width = len(scores.labelled), len(cuts) + 1
    place = scores.query * width + np.searchsorted(cuts, scores.score, side="right")
    found = []
    for rows in (place, place[scores.relevant]):
        counts = np.bincount(rows, minlength=queries * width).reshape(queries, width)
        found.append(np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:].astype(np.float64))
    return found[0], found[1]


def _lowest(taken: np.ndarray, hits: np.ndarray, precision: float) -> np.ndarray:
    """[B] first of the ascending cuts that has the precision and keeps LEAST documents, -1 where none does. [B, C] each."""
    fine = (hits >= precision * taken - 1e-9) & (taken >= LEAST)
    return np.where(fine.any(axis=1), fine.argmax(axis=1), -1) if fine.shape[1] else np.full(len(fine), -1)


def _interval(
    dev: LabelledScores, cuts: np.ndarray, precision: float, interval: Resampling
) -> tuple[float | None, float | None]:
    """Ends of the 95 % interval of the threshold; resamples in which no score has the precision count as above all."""
    queries = len(dev.labelled)
    if queries < MIN_QUERIES:
        return None, None
    if len(cuts) > CUTS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, CUTS).round().astype(int)]
    taken, hits = _above(dev, cuts)
    places = [
        _lowest(times @ taken, times @ hits, precision) for times in drawn(queries, interval.resamples, interval.seed)
    ]
    place = np.sort(np.where((found := np.concatenate(places)) < 0, len(cuts), found))
    ends = [int(place[int(share * (len(place) - 1))]) for share in (0.025, 0.975)]
    if ends[0] == len(cuts):
        return None, None
    # An upper end beyond all scores is unbounded.
    return float(cuts[ends[0]]), None if ends[1] == len(cuts) else float(cuts[ends[1]])
