"""What it changes to ask about many pairs by one request: the same judge asked both ways, pair for pair."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from zelo.auditing.advice import ENOUGH, MIN_SAME_AGAIN, UNKNOWN, Advice, dollars
from zelo.auditing.sample import AuditSample
from zelo.facts import Facts
from zelo.metrics.judging import verdicts
from zelo.metrics.measure import Measure
from zelo.metrics.tally import Tally
from zelo.records import ONE_PAIR

MANY, ONE = "many pairs in a request", "one pair in a request"
NEITHER = "no pair was answered in both layouts"


@dataclass(frozen=True)
class LayoutPair:
    """One judge's answers with many pairs in a request, and with one; of two figures the first is of many pairs."""

    same_verdict: Measure  # share of pairs
    difference: Measure  # mean absolute difference of the probabilities
    tokens: tuple[float, float]  # of a question
    usd: tuple[float | None, float | None]  # of a question; None: not known

    def facts(self) -> Facts:
        """For a JSON file."""
        return {
            "same_verdict": self.same_verdict.facts(),
            "difference": self.difference.facts(),
            "tokens_per_question": list(self.tokens),
            "usd_per_question": list(self.usd),
        }

    def advice(self, name: str) -> Advice:
        """name: of the judge."""
        about, same = f"{name}, many pairs or one", self.same_verdict
        many, one = self.tokens
        price = f"A question takes {many:,.0f} tokens with many pairs in a request and {one:,.0f} with one"
        costs = [dollars(usd) for usd in self.usd if usd]
        price += f" ({costs[0]} and {costs[1]})." if len(costs) == 2 else "."
        if same.value is None or self.difference.value is None or same.count < ENOUGH:
            return Advice(about, UNKNOWN, f"Fewer than {ENOUGH} pairs were answered in both layouts. {price}")
        text = (
            f"Both layouts prefer the same document in {100 * same.value:.0f} % of {same.count} pairs, and their probabilities"
            f" differ by {self.difference.value:.2f}. {price}"
        )
        if same.value >= MIN_SAME_AGAIN:
            return Advice(about, MANY, text)
        fix = "Many pairs in a request change its mind: lower its pairs_per_state, to 1 if need be."
        return Advice(about, ONE, f"{text} {fix}")


def layouts(
    sample: AuditSample, tallies: Mapping[str, Tally], usd: Mapping[str, float | None]
) -> dict[str, LayoutPair]:
    """Per judge that was asked in both layouts. usd: judge -> US dollars per question, None where that is not known."""
    judges, found = sample.answers.judges, {}
    for name in judges:
        both = (name, name + ONE_PAIR)
        if both[1] in judges:
            many, one = (sample.p[judges.index(layout)] for layout in both)
            there = ~np.isnan(many) & ~np.isnan(one)
            query = sample.answers.query[there]
            same = (verdicts(many[there]) == verdicts(one[there])).astype(float)
            tokens = [tallies[layout].tokens / max(tallies[layout].asked, 1) for layout in both]
            found[name] = LayoutPair(
                sample.interval.share(same, query, NEITHER),
                sample.interval.mean(np.abs(many[there] - one[there]), query, NEITHER),
                (tokens[0], tokens[1]),
                (usd[both[0]], usd[both[1]]),
            )
    return found
