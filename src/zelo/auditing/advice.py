"""Advice from the measurements of an audit, in words, for a user about to spend money."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from zelo.metrics.judging import CHANCE_OF_A_CIRCLE
from zelo.metrics.measure import Measure
from zelo.metrics.tally import Tally
from zelo.records import ANSWERED, FAILED, TRUNCATED, UNSENT

KEEP, CARE, STOP, UNKNOWN = "keep", "keep, with care", "do not spend on it", "cannot say"
LEAVE = "leave it out"  # STOP, of a judge that costs nothing
AGAINST = (STOP, LEAVE)
AVERAGE, ONE_IS_ENOUGH, DO_NOT_AVERAGE = "average them", "one is enough", "do not average them"

ENOUGH = 15
"""Pairs, or triads, below which a figure is shown but moves no advice: a share of 15 has an interval of some +-25 points."""
MIN_ANSWERED = 0.8
"""The run would stop below it: max_failure_rate is 0.2 unless it is set."""
MANY_CUT = 0.05
"""Share of answers cut by max_tokens that is named: each was paid for in full."""
MANY_FLIPS, TOO_MANY_FLIPS = 0.15, 1 / 3
"""Verdicts in two orders correlate by 1 - 2 * flips: 0.7, asked of tests since Nunnally (1978), and 1/3, mostly noise."""
ONE_PLACE, FEW_PLACES = 0.95, 20
"""Share of presented pairs in which one place wins that no text explains, and the pairs that it takes to say so."""
MIN_SAME_AGAIN = 1 - MANY_FLIPS
"""As for orders: two answers to one question should correlate by 0.7."""
MANY_CIRCLES = CHANCE_OF_A_CIRCLE / 2
"""Half of what coins give."""
LEAN = 0.05
"""Preferences that move by 5 points with the order are noise that costs nothing extra to see: they are named."""
SWAY = 0.1
"""A tenth of the range for a sentence: authors of texts could exploit it."""
LENGTH = 0.3
"""A correlation of medium size (Cohen 1988)."""
CROWDED = 0.5
"""Share of scores within one tenth of the range above which degrees of preference are lost."""
VOTES = 3
"""A judge with at most so many values gives votes by design: they cannot be spread."""
RELIABLE, TENTATIVE = 0.8, 0.667
"""Alpha from which conclusions may rest on a single judge, and from which they may do so tentatively (Krippendorff 2004)."""

KNOWN = {"labels": "the labels", "human": "people"}

BOTH_ORDERS = "stages.judge.presentation=both"

Finding = tuple[str, str]
"""STOP or CARE, and what was found."""


@dataclass(frozen=True)
class Advice:
    """What to do about a judge, or about all together: a verdict and why."""

    about: str
    verdict: str
    text: str

    def facts(self) -> dict[str, str]:
        """For a JSON file."""
        return {"about": self.about, "verdict": self.verdict, "text": self.text}


def on_judge(
    name: str,
    tally: Tally,
    faults: Mapping[str, int],
    measures: Mapping[str, Measure],
    scores: tuple[int, float],
    temperature: float | None,
) -> Advice:
    """scores: how many values its scores have, and the share of them in the fullest tenth of the range.

    temperature: None where the judge has none that could be lowered.
    """
    if not tally.asked:
        return Advice(name, UNKNOWN, "It was asked nothing.")
    place = [(CARE, f"It {words}.")] if (words := one_place(tally)) else []
    checks = (_unanswered(tally, faults), place, _order(measures), _repeats(measures, temperature), _circles(measures))
    findings = [*chain(*checks), *_known(measures), *_sway(measures), *_length(measures), *_spread(*scores)]
    stops, cares = ([text for verdict, text in findings if verdict == kind] for kind in (STOP, CARE))
    facts = _facts(measures)
    if stops:
        return Advice(name, STOP if tally.tokens or tally.usd else LEAVE, " ".join([*stops, *facts, *cares]))
    if not any(measures[key].count >= ENOUGH for key in ("flips", "labels", "human")):
        few = f"Fewer than {ENOUGH} pairs were answered in both orders or have a known answer."
        return Advice(name, UNKNOWN, " ".join([few, *facts, *cares]))
    shown = any(measures[key].count >= ENOUGH for key in KNOWN)
    doubt = [] if shown else ["This sample has too few known answers to show whether it is right."]
    money = [f"A usable preference costs {dollars(tally.usd / tally.usable)}."] if tally.usd and tally.usable else []
    return Advice(name, CARE if cares else KEEP, " ".join([*facts, *cares, *doubt, *money]))


def on_all(
    measures: Mapping[str, Measure], single: Mapping[str, Measure], advice: list[Advice], cheapest: str
) -> Advice:
    """measures: of the judges' mean and of their agreement; single: each judge's `labels`; cheapest: of those to be trusted."""
    about = "together"
    left_out = [one.about for one in advice if one.verdict in AGAINST]
    without = [f"Leave out {_listed(left_out)}."] if left_out else []
    if len(left_out) == len(advice):
        verdict = STOP if any(one.verdict == STOP for one in advice) else LEAVE
        return Advice(
            about, verdict, "None of these judges is reliable: fix a prompt or try another model, then audit again."
        )
    if len(advice) < 2:
        return Advice(
            about, UNKNOWN, "There is one judge: nothing contradicts its errors. A second judge would show them."
        )
    trusted = [one.about for one in advice if one.verdict in (KEEP, CARE)]
    if not trusted:
        text = "Too little was measured to say whether one judge, or several, should be kept."
        return Advice(about, UNKNOWN, " ".join([text, *without]))
    if len(left_out) == len(advice) - 1:
        return Advice(about, ONE_IS_ENOUGH, f"Only {cheapest} is reliable: the others would add noise.")
    alpha = measures["alpha_interval"]
    if alpha.value is None:
        return Advice(about, UNKNOWN, " ".join([f"Agreement was not measured: {alpha.missing}.", *without]))
    if alpha.count < ENOUGH:
        few = f"Fewer than {ENOUGH} pairs were answered by two judges: too few to say whether they agree."
        return Advice(about, UNKNOWN, " ".join([few, *without]))
    value = f"alpha {alpha.value:.2f}{_bracket(alpha, 1, 2)}"
    low = alpha.value if alpha.low is None else alpha.low
    if low <= 0:
        verdict, text = DO_NOT_AVERAGE, f"Their preferences agree no better than chance would have it ({value})."
    elif alpha.value >= RELIABLE:
        verdict = ONE_IS_ENOUGH
        text = f"They answer nearly the same ({value}): {cheapest} alone gives almost what all give."
    else:
        verdict, text = AVERAGE, f"They agree beyond chance ({value}), and differ enough for errors to cancel."
        if alpha.value < TENTATIVE:
            text += f" Below {TENTATIVE} none of them should judge alone."
    return Advice(about, verdict, " ".join([text, *_best(measures["labels"], single), *without]))


def _unanswered(tally: Tally, faults: Mapping[str, int]) -> Iterator[Finding]:
    """How its questions ended, before what went wrong on the way: faults count attempts, also those that a later one fixed."""
    if not tally.asked:
        return
    cut = tally.status[TRUNCATED] / tally.asked
    more = "raise its max_tokens"
    if tally.answered is not None and tally.answered < MIN_ANSWERED:
        ended = {name: count for name, count in tally.status.items() if count and name not in (ANSWERED, UNSENT)}
        worst = max(sorted(ended), key=lambda name: ended[name])
        class_of = max(sorted(faults), key=lambda name: faults[name], default="")
        named = f"mostly {worst}" + f": {class_of}" * bool(worst == FAILED and class_of)
        words = f"It answered only {percent(tally.answered)} of its questions ({named}): a run would stop."
        yield STOP, words + f" Answers were truncated: {more}." * (cut > MANY_CUT)
    elif cut > MANY_CUT:
        yield CARE, f"{percent(cut)} of its answers were truncated before a result, and paid for: {more}."


def _order(measures: Mapping[str, Measure]) -> Iterator[Finding]:
    """A lean of any size cancels in both orders: what is known then decides whether anything is left."""
    flips, bias = measures["flips"], measures["position_bias"]
    stop = False
    if flips.value is not None and flips.count >= ENOUGH and flips.value > MANY_FLIPS:
        good = _better_than_a_coin(measures) if flips.value > TOO_MANY_FLIPS else []
        stop = flips.value > TOO_MANY_FLIPS and not good
        coin = "; by chance in 50 %" if stop else ""
        words = f"Its verdict changes with the presentation order in {percent(flips.value)} of pairs{coin}."
        averaged = f" Averaged over both orders it agrees with {_listed(good)}." if good else ""
        yield STOP if stop else CARE, words + averaged
    if bias.value is not None and abs(bias.value) > LEAN and _beyond(bias, 0):
        side = "first" if bias.value > 0 else "second"
        remedy = f"asked in both orders ({BOTH_ORDERS}, at twice the calls) this cancels"
        remedy += ", but this sample does not show that a preference is left" * stop
        yield CARE, f"It prefers the document shown {side}, by {100 * abs(bias.value):.0f} points: {remedy}."


def one_place(tally: Tally) -> str:
    """What is wrong with a judge that goes by the place alone, and the fix; nothing of others. It takes no label."""
    share = tally.shown_first
    if share is None or tally.decided < FEW_PLACES or max(share, 1 - share) <= ONE_PLACE:
        return ""
    place, most = ("first", share) if share > 0.5 else ("second", 1 - share)
    return (
        f"chooses the document shown {place} in {percent(most)} of {tally.decided:,} pairs: it follows the position, not the"
        f" documents. Use a stronger model or another mode or prompt; {BOTH_ORDERS} cancels the position, and pipeline=audit"
        " shows whether a preference is left"
    )


def _better_than_a_coin(measures: Mapping[str, Measure]) -> list[str]:
    """Whom it is shown to side with, once its preferences are averaged over orders and repeats."""
    return [
        f"{words} in {percent(one.value)}"
        for key, words in KNOWN.items()
        if (one := measures[key]).value is not None and one.count >= ENOUGH and one.low is not None and one.low > 0.5
    ]


def _repeats(measures: Mapping[str, Measure], temperature: float | None) -> Iterator[Finding]:
    again = measures["same_again"]
    if again.value is not None and again.count >= ENOUGH and again.value < MIN_SAME_AGAIN:
        lower = "lower its temperature, or " if temperature else ""
        yield (
            CARE,
            f"It often changes its answer when asked again: {lower}ask it twice, once in each order ({BOTH_ORDERS}).",
        )


def _circles(measures: Mapping[str, Measure]) -> Iterator[Finding]:
    circles = measures["circles"]
    if circles.value is not None and circles.count >= ENOUGH and circles.value > MANY_CIRCLES:
        coins = f"by chance in {percent(CHANCE_OF_A_CIRCLE)}"
        verdict = STOP if circles.value >= CHANCE_OF_A_CIRCLE else CARE
        yield verdict, f"In {percent(circles.value)} of triads a beats b, b beats c and c beats a; {coins}."


def _known(measures: Mapping[str, Measure]) -> Iterator[Finding]:
    """What known preferences say against it: that it is worse than a coin, or not shown to be better."""
    for key, words in KNOWN.items():
        one = measures[key]
        if one.value is None or one.count < ENOUGH or one.low is None or one.high is None:
            continue
        if one.high < 0.5:
            yield STOP, f"It agrees with {words} less often than chance."
        elif one.low <= 0.5:
            yield CARE, f"It does not agree with {words} significantly more often than chance."


def _sway(measures: Mapping[str, Measure]) -> Iterator[Finding]:
    sway = measures["sway"]
    if sway.value is not None and sway.count >= ENOUGH and sway.value > SWAY and _beyond(sway, 0):
        gain = f"gains {100 * sway.value:.0f} points"
        yield (
            CARE,
            f"A document that tells it to prefer that document {gain}: do not show it texts from untrusted authors.",
        )


def _length(measures: Mapping[str, Measure]) -> Iterator[Finding]:
    """Only beyond what labels, or else other judges, explain: relevant documents may simply be longer."""
    for key, words in (("longer_beyond_labels", "labels say"), ("longer_beyond_judges", "the other judges say")):
        one = measures[key]
        if one.value is not None and one.count >= ENOUGH:
            if abs(one.value) >= LENGTH and _beyond(one, 0):
                kind = "longer" if one.value > 0 else "shorter"
                yield CARE, f"It favours the {kind} document beyond what {words} (rank correlation {one.value:+.2f})."
            return


def _spread(values: int, fullest: float) -> Iterator[Finding]:
    if values > VOTES and fullest > CROWDED:
        yield (
            CARE,
            f"{percent(fullest)} of its scores lie in one tenth of the range: a prompt that spreads them is more informative.",
        )


def _facts(measures: Mapping[str, Measure]) -> list[str]:
    flips, again = measures["flips"], measures["same_again"]
    parts = []
    if flips.value is not None:
        parts.append(f"prefers the same document in both orders in {percent(1 - flips.value)} of {flips.count} pairs")
    if again.value is not None:
        parts.append(f"repeats its verdict in {percent(again.value)} when asked again")
    for key, words in KNOWN.items():
        one = measures[key]
        if one.value is not None:
            parts.append(f"agrees with {words} in {percent(one.value)}{_bracket(one, 100, 0)} of {one.count} pairs")
    return [f"It {_listed(parts)}."] if parts else []


def _best(mean: Measure, single: Mapping[str, Measure]) -> list[str]:
    known = {name: one.value for name, one in single.items() if one.value is not None}
    if mean.value is None or mean.count < ENOUGH or not known:
        return []
    best = max(sorted(known), key=lambda name: known[name])
    return [
        f"Their mean agrees with the labels in {percent(mean.value)}, the best single one ({best}) in {percent(known[best])}."
    ]


def _beyond(one: Measure, value: float) -> bool:
    """Whether the whole interval lies on one side of the value."""
    return one.low is not None and one.high is not None and (one.low > value or one.high < value)


def _bracket(one: Measure, factor: float, digits: int) -> str:
    if one.low is None or one.high is None:
        return ""
    return f" [{factor * one.low:.{digits}f}, {factor * one.high:.{digits}f}]"


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def percent(share: float) -> str:
    """A share in words, without decimals."""
    return f"{100 * share:.0f} %"


def dollars(usd: float) -> str:
    """An amount above 0 with at least two digits that mean something."""
    if usd >= 0.995:
        return f"${usd:,.2f}" if usd < 99.5 else f"${usd:,.0f}"
    return f"${usd:.{1 - math.floor(math.log10(usd) + 1e-9)}f}"
