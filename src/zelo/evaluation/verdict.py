"""One test in numbers and in a sentence: better, no difference shown or worse."""

import math
from collections.abc import Set as AbstractSet

from zelo.evaluation.measured import MeasuredSplit
from zelo.evaluation.paired import ALPHA, POWER, PairedTests
from zelo.facts import Facts

BETTER, NO_DIFFERENCE, WORSE = "better", "no difference shown", "worse"
MORE, LESS = "agrees more", "agrees less"
"""In place of better and worse where the judges that measure have made the training targets: they may not crown."""
FEWEST = 30
"""Evaluated queries below which no difference counts as shown."""


def verdicts_of(
    one: MeasuredSplit, pairs: list[tuple[str, str]], tests: PairedTests, taught: AbstractSet[str]
) -> list[Facts]:
    """A verdict for each pair. taught: systems whose training targets were made by the judges that measure here."""
    return [_verdict(one, pair, tests, place, bool(taught & set(pair))) for place, pair in enumerate(pairs)]


def _verdict(one: MeasuredSplit, pair: tuple[str, str], tests: PairedTests, place: int, circular: bool) -> Facts:
    (system, baseline), (value, base) = pair, (one.mean(name) for name in pair)
    mean, low, high = (float(column[place]) for column in (tests.difference, tests.low, tests.high))
    p, least = float(tests.p[one.primary, place]), float(tests.detectable[place])
    few = len(one.queries) < FEWEST
    up, down = (MORE, LESS) if circular else (BETTER, WORSE)
    word = NO_DIFFERENCE if few or p >= ALPHA else up if mean > 0 else down
    count = len(tests.difference)
    queries = f"{len(one.queries)} {one.split} queries"
    numbers = (
        f"{base:.3f} -> {value:.3f}, {queries}, 95 % interval of the difference [{low:+.3f}, {high:+.3f}], p = {p:.2g}"
        f"{', both' * (count > 1)} Holm-corrected{f' for {count} comparisons' * (count > 1)}"
    )
    if word == NO_DIFFERENCE:
        shown = "" if math.isnan(least) else f"; {POWER:.0%} sure to show {least:.3f} or more"
        why = f"{queries} are too few, at least {FEWEST} are needed; " * few
        text = f"{system}: no difference shown from {baseline} in {one.title} ({why}{mean:+.3f}, {numbers}{shown})"
    elif circular:
        text = f"{system} {word} with its own judges than {baseline} does, by {abs(mean):.3f} {one.title} ({numbers})"
    else:
        text = f"{system} is {word} than {baseline} by {abs(mean):.3f} {one.title} ({numbers})"
    return {
        "system": system,
        "baseline": baseline,
        "metric": one.metrics[one.primary],
        "split": one.split,
        "protocol": one.protocol,
        "value": value,
        "baseline_value": base,
        "difference": mean,
        "ci_low": low,
        "ci_high": high,
        "p_value": p,
        "detectable": None if math.isnan(least) else least,
        "queries": len(one.queries),
        "circular": circular,
        "verdict": word,
        "text": text,
    }
