"""What it changes to ask about many pairs by one request: the same judge asked both ways, pair for pair."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zelo.asking import ONE_PAIR
from zelo.auditing.advice import ENOUGH, MIN_SAME_AGAIN, UNKNOWN, Advice, dollars
from zelo.auditing.sample import AuditSample
from zelo.metrics.judging import verdicts
from zelo.metrics.measure import Measure
from zelo.metrics.tally import Tally

MANY, ONE = "many pairs in a request", "one pair in a request"
NEITHER = "no pair was answered in both layouts"


def layouts(sample: AuditSample, tallies: Mapping[str, Tally], usd: Mapping[str, float | None]) -> dict[str, Any]:
    """Judge -> how its answers with many pairs and with one pair in a request agree, and what a question takes in each.

    usd: judge -> US dollars per question, None where that is not known.
    """
    found: dict[str, Any] = {}
    for name in sample.answers.judges:
        other = name + ONE_PAIR
        if other in sample.answers.judges:
            both = [sample.p[sample.answers.judges.index(one)] for one in (name, other)]
            found[name] = _compared(sample, *both) | {
                "tokens_per_question": [tallies[one].tokens / max(tallies[one].asked, 1) for one in (name, other)],
                "usd_per_question": [usd[one] for one in (name, other)],
            }
    return found


def _compared(sample: AuditSample, many: np.ndarray, one: np.ndarray) -> dict[str, Measure]:
    there = ~np.isnan(many) & ~np.isnan(one)
    query = sample.answers.query[there]
    same = (verdicts(many[there]) == verdicts(one[there])).astype(float)
    return {
        "same_verdict": sample.interval.share(same, query, NEITHER),
        "difference": sample.interval.mean(np.abs(many[there] - one[there]), query, NEITHER),
    }


def on_layouts(name: str, found: Mapping[str, Any]) -> Advice:
    """found: of `layouts`, of this judge."""
    about = f"{name}, many pairs or one"
    same, difference = found["same_verdict"], found["difference"]
    tokens, usd = found["tokens_per_question"], found["usd_per_question"]
    price = f"A question takes {tokens[0]:,.0f} tokens with many pairs in a request and {tokens[1]:,.0f} with one"
    priced = usd[0] is not None and usd[1] is not None and usd[1] > 0
    price += f" ({dollars(usd[0])} and {dollars(usd[1])})." if priced else "."
    if same.value is None or same.count < ENOUGH:
        return Advice(about, UNKNOWN, f"Fewer than {ENOUGH} pairs were answered in both layouts. {price}")
    text = (
        f"Both layouts prefer the same document in {100 * same.value:.0f} % of {same.count} pairs, and their probabilities"
        f" differ by {difference.value:.2f}. {price}"
    )
    if same.value >= MIN_SAME_AGAIN:
        return Advice(about, MANY, text)
    return Advice(
        about, ONE, f"{text} Many pairs in a request change its mind: lower its pairs_per_state, to 1 if need be."
    )


def facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """For a JSON file."""
    return {
        name: {key: value.facts() if isinstance(value, Measure) else value for key, value in one.items()}
        for name, one in found.items()
    }
