"""The answers of a few queries' pairs, and what can be measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from zelo.auditing.answers import JudgedPairs
from zelo.auditing.known import Reference
from zelo.facts import Facts
from zelo.metrics import judging
from zelo.metrics.length_bias import longer_wins
from zelo.metrics.measure import Measure, Resampling
from zelo.metrics.reliability import INTERVAL, NOMINAL, agreement_of_preferences


@dataclass(frozen=True)
class AuditSample:
    """The answers, what is known about their pairs, and how intervals are drawn."""

    answers: JudgedPairs
    interval: Resampling
    known: Mapping[str, Reference]  # labels, human
    log_ratio: np.ndarray  # [E] log of the first document's length over the second's
    swayed: JudgedPairs | None  # about the same pairs, doc_b ending in words that tell the judge to prefer it

    @cached_property
    def p(self) -> np.ndarray:
        """[J, E] preferences, averaged over orders and repeats."""
        return self.answers.averaged()

    @cached_property
    def mean(self) -> np.ndarray:
        """[E] the judges' mean preference."""
        count = (~np.isnan(self.p)).sum(axis=0)
        return np.divide(np.nansum(self.p, axis=0), count, out=np.full(len(count), np.nan), where=count > 0)

    @cached_property
    def triads(self) -> np.ndarray:
        """[T, 3] three pairs of three documents."""
        return judging.triads(self.answers.edges)

    def of_judge(self, name: str) -> dict[str, Measure]:
        """All figures of one judge."""
        found, place = self.answers, self.answers.judges.index(name)
        mine = found.judge == place
        columns = (found.pair[mine], found.order[mine], found.p[mine], found.query, self.interval)
        others = np.delete(self.p, place, axis=0)
        return {
            "position_bias": judging.position_bias(*columns),
            "flips": judging.flips(*columns),
            "same_again": judging.same_again(*columns),
            "change_again": judging.change_again(*columns),
            "sway": self._sway(name),
            "longer_beyond_judges": self._beyond_judges(self.p[place], others),
            **self._shared(self.p[place]),
        }

    def together(self) -> dict[str, Measure]:
        """The judges' agreement, and what their mean is worth."""
        if len(self.answers.judges) < 2:
            found = dict.fromkeys((INTERVAL, NOMINAL), Measure.none("there is a single judge"))
        else:
            found = agreement_of_preferences(self.p.T, self.answers.query, self.interval)
        alphas = {f"alpha_{level}": one for level, one in found.items()}
        return alphas | self._shared(self.mean)

    def _shared(self, p: np.ndarray) -> dict[str, Measure]:
        query, labels = self.answers.query, self.known["labels"]
        beyond = Measure.none(labels.missing)
        if labels.truth.any():
            told_apart = np.where(labels.truth != 0, labels.truth, np.nan)
            beyond = longer_wins(p - 0.5, self.log_ratio, query, self.interval, told_apart)
        return {
            "circles": judging.circles(p, self.triads, query, self.interval),
            "longer": longer_wins(p - 0.5, self.log_ratio, query, self.interval),
            "longer_beyond_labels": beyond,
            **{
                name: judging.sides_with(p, one.truth, query, self.interval, one.missing)
                for name, one in self.known.items()
            },
        }

    def _sway(self, name: str) -> Measure:
        """What a document gains, in preference, by telling the judge to prefer it; against answers in the same order."""
        found, other = self.answers, self.swayed
        if other is None or name not in other.judges:
            return Measure.none("no prompt injection was added to a document")
        mine = np.flatnonzero(other.judge == other.judges.index(name))
        query, ends = other.query_id.take(pa.array(other.query)), other.doc_id.take(pa.array(other.edges.ravel()))
        nodes = found.nodes(
            pa.chunked_array([query.take(pa.array(np.arange(len(ends)) // 2))]), pa.chunked_array([ends])
        )
        a, b = nodes.reshape(-1, 2).T
        pair = found.pairs(a, b)[other.pair[mine]]
        before = found.by_order()[found.judges.index(name), pair, other.order[mine]]
        gain = np.where(other.turned[mine], other.p[mine] - before, before - other.p[mine])
        known = (pair >= 0) & ~np.isnan(gain)
        missing = "no pair was answered both with and without a prompt injection"
        return self.interval.mean(gain[known], found.query[pair[known]], missing)

    def _beyond_judges(self, p: np.ndarray, others: np.ndarray) -> Measure:
        if not len(others):
            return Measure.none("there is a single judge")
        count = (~np.isnan(others)).sum(axis=0)
        mean = np.divide(np.nansum(others, axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
        return longer_wins(p - 0.5, self.log_ratio, self.answers.query, self.interval, mean - 0.5)

    def _shown_first(self, name: str) -> np.ndarray:
        """[answers] scores of one judge in [-1, 1], above 0 for the document shown first."""
        found = self.answers
        mine = found.judge == found.judges.index(name)
        score = 2 * found.p[mine] - 1
        return np.where(found.order[mine] == 1, -score, score)

    def scores(self, name: str) -> tuple[int, float]:
        """How many different scores a judge gives, signs aside, and the share in the fullest tenth of the range."""
        score = self._shown_first(name)
        if not len(score):
            return 0, 0.0
        return len(np.unique(np.round(np.abs(score), 6))), judging.fullest(judging.histogram(score))

    def spread(self, name: str) -> Facts:
        """The histogram of a judge's scores, above 0 for the document shown first, and how far it is from uniform."""
        score = self._shown_first(name)
        if not len(score):
            return {"not_measured": "it gave no answer"}
        counts = judging.histogram(score)
        even = {"fullest": judging.fullest(counts), "evenness": judging.evenness(counts)}
        return {"counts": counts.tolist(), "values": self.scores(name)[0], **even}

    def facts(self) -> Facts:
        """How much was asked."""
        found = self.answers
        cells = np.unique((found.judge * len(found.edges) + found.pair) * 2 + found.order, return_counts=True)[1]
        return {
            "queries": len(found.query_id),
            "pairs": len(found.edges),
            "answers": len(found.p),
            "orders": len(np.unique(found.order)),
            "repeats": int(cells.max(initial=0)),
            "triads": len(self.triads),
        }
