"""Puts candidates in order window by window, from the last to the first, by a scorer that sees some of them at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zelo.protocols import WindowScorer
from zelo.records import ANSWERED, Outcomes, Questions, starts


@dataclass
class Ordered:
    """The order of N candidates, and what it rests on."""

    score: np.ndarray  # [N] float32, the number of the query's candidates that stand behind it
    windows: int = 0  # that were asked about
    left: Counter[str] = field(default_factory=Counter)  # status -> windows without an answer: they stay as they stood
    unnamed: int = 0  # documents that an answer left out: they stand behind the others of their window


def order(scorer: WindowScorer, candidates: Questions, ask: Callable[[Questions], Outcomes]) -> Ordered:
    """The candidates in the order that the scorer's windows bring them into.

    candidates: a query and a document each, those of a query together and in the first stage's order. ask: one outcome per
    question. The n-th windows of all queries are asked about together, for a window shows what the one before has put first.
    """
    bounds = _bounds(candidates.query_row)
    planned = [scorer.windows(size) for size in np.diff(bounds).tolist()]
    place = np.arange(len(candidates))  # [N] row of `candidates` that stands here
    found = Ordered(np.empty(len(candidates), np.float32))
    for number in range(max(map(len, planned), default=0)):
        shown = [
            np.arange(first + windows[number].start, first + windows[number].stop)
            for first, windows in zip(bounds[:-1].tolist(), planned, strict=True)
            if number < len(windows)
        ]
        outcomes = ask(candidates.take(place[np.concatenate(shown)]))
        status = outcomes.status.to_pylist()
        ends = starts(np.array([len(window) for window in shown]))
        for window, low, high in zip(shown, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            found.windows += 1
            if status[low] != ANSWERED:
                found.left[status[low]] += 1
                continue
            p = outcomes.p[low:high]
            found.unnamed += int((p <= 0).sum())
            place[window] = place[window][np.argsort(-p, kind="stable")]
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        found.score[place[low:high]] = np.arange(high - low)[::-1]
    return found


def foreseen(scorer: WindowScorer, candidates: Questions, recall: Callable[[Questions], Outcomes]) -> list[Questions]:
    """The windows, in the order that known answers bring the candidates into, or else the first stage. recall: known ones."""
    found: list[Questions] = []

    def noted(questions: Questions) -> Outcomes:
        found.append(questions)
        return recall(questions)

    order(scorer, candidates, noted)
    return found


def _bounds(query_row: np.ndarray) -> np.ndarray:
    """[Q + 1] where each query's rows begin, and the end."""
    return np.append(np.flatnonzero(np.diff(query_row, prepend=-1)), len(query_row))
