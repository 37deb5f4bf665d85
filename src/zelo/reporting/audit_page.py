"""What an audit found, as a reader sees it: the same figures on the terminal and in the report."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from zelo.auditing.advice import AVERAGE, DO_NOT_AVERAGE, KEEP, LEAVE, STOP
from zelo.budget.request_batch import faults_in_words, reasons_in_words
from zelo.facts import Facts
from zelo.reporting import lineage, plots
from zelo.reporting.judge_costs import listed, money

if TYPE_CHECKING:
    from zelo.pipeline.run import Result
    from zelo.store.table import Table

TOGETHER = "all together"
TONES = {KEEP: "gain", AVERAGE: "gain", STOP: "loss", LEAVE: "loss", DO_NOT_AVERAGE: "loss"}


@dataclass(frozen=True)
class Column:
    """One figure of each judge: where it stands in audit.json, what it is called, and what it says."""

    key: str
    name: str  # two short lines
    meaning: str
    show: Callable[[float], str]
    turned: bool = False  # shown as its complement to one

    @property
    def title(self) -> str:
        """The name on one line."""
        return self.name.replace("-\n", "").replace("\n", " ")


@dataclass(frozen=True)
class Cell:
    """A figure in words; without one, the reason."""

    text: str
    interval: str = ""
    missing: str = ""


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _points(value: float) -> str:
    return _minus(f"{round(100 * value):+d}".replace("+0", "0"))


def _size(value: float) -> str:
    return f"{100 * value:.0f}"


def _correlation(value: float) -> str:
    return _minus(f"{value:+.2f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


_FLIPS = "same verdict in both presentation orders; chance: 50 %"
COLUMNS = (
    Column("flips", "both\norders", _FLIPS, _percent, True),
    Column("same_again", "asked\nagain", "same verdict when asked again in the same order", _percent),
    Column("position_bias", "first\ngains", "points of preference that the document shown first gains", _points),
    Column("sway", "orders\ngain", "points that a document gains by telling the judge to prefer it", _points),
    Column("circles", "cir-\ncles", "triads in which a beats b, b beats c and c beats a; chance: 25 %", _percent),
    Column("longer", "longer\nwins", "rank correlation of the preference with the ratio of lengths", _correlation),
    Column("labels", "with\nlabels", "prefers the document with the higher label; chance: 50 %", _percent),
    Column("human", "with\npeople", "prefers the document that people prefer; chance: 50 %", _percent),
)
_AGAIN = "points that a preference moves, on average, when asked again"
_BEYOND = "rank correlation with lengths beyond what"
# Only in the report, which is wide enough: each stands behind another.
MORE_COLUMNS = {
    "same_again": (Column("change_again", "change\nagain", _AGAIN, _size),),
    "longer": (
        Column("longer_beyond_labels", "beyond\nlabels", f"{_BEYOND} labels explain", _correlation),
        Column("longer_beyond_judges", "beyond\nothers", f"{_BEYOND} the other judges say", _correlation),
    ),
}


@dataclass(frozen=True)
class Audited:
    """An audit of a run, and the stage whose judges it looked at."""

    stage: str
    judged: str
    table: "Table"
    found: Facts  # audit.json

    @staticmethod
    def of(result: "Result") -> "Audited | None":
        """None where no audit ran."""
        stage = lineage.deepest(result, "disagreements")
        if stage is None:
            return None
        table = result.tables[stage]
        found = json.loads((table.path / "audit.json").read_text(encoding="utf-8"))
        return Audited(stage, str(result.upstream(stage, "outcomes")), table, found)


def columns(audit: Facts, every: bool = False) -> list[Column]:
    """The figures that were measured for at least one judge."""
    known = [each for one in COLUMNS for each in (one, *(MORE_COLUMNS.get(one.key, ()) if every else ()))]
    judges = audit["judges"].values()
    return [column for column in known if any("value" in judge["measures"][column.key] for judge in judges)]


def cell(measures: Facts, column: Column) -> Cell:
    """One figure of one judge, or of all together."""
    measured = measures.get(column.key)
    if measured is None:
        return Cell("")
    if "value" not in measured:
        return Cell("–", missing=measured["not_measured"])
    ends = [measured["value"], measured["ci_low"], measured["ci_high"]]
    if column.turned:
        ends = [None if end is None else 1 - end for end in (ends[0], ends[2], ends[1])]
    value, low, high = ends
    return Cell(column.show(value), "" if low is None or high is None else _interval(low, high, column))


def _interval(low: float, high: float, column: Column) -> str:
    short = [column.show(end).removesuffix(" %") for end in (low, high)]
    return "–".join(short) if column.show is _percent else " … ".join(short)


def not_measured(audit: Facts) -> list[str]:
    """What could not be measured and why, one line for each reason."""
    reasons: dict[str, list[str]] = {}
    for column in COLUMNS:
        measured = {name: judge["measures"][column.key] for name, judge in audit["judges"].items()}
        missing = {name: one["not_measured"] for name, one in measured.items() if "value" not in one}
        title = column.title
        whole = len(missing) == len(measured) and len(set(missing.values())) == 1
        for name, why in missing.items():
            reasons.setdefault(why, []).append(title if whole else f"{title} ({name})")
    return [f"{', '.join(dict.fromkeys(what))}: {why}" for why, what in reasons.items()]


def agreement(audit: Facts) -> str:
    """Krippendorff's alpha in a sentence."""
    alphas = [audit["together"][f"alpha_{level}"] for level in ("interval", "nominal")]
    if "value" not in alphas[0]:
        return f"Agreement between judges: not measured, {alphas[0]['not_measured']}."
    shown = []
    for measured, of in zip(alphas, ("preferences", "verdicts"), strict=True):
        if "value" in measured:
            ends = "" if measured["ci_low"] is None else f" [{measured['ci_low']:.2f}, {measured['ci_high']:.2f}]"
            shown.append(_minus(f"{measured['value']:.2f}{ends}") + f" of {of}")
    return f"Agreement between judges, Krippendorff's alpha (1: full, 0: by chance): {', '.join(shown)}."


def sample(audit: Facts) -> str:
    """What was asked, in a sentence."""
    sample = audit["sample"]
    orders = "both orders" if sample["orders"] > 1 else "one order"
    times = f"{sample['repeats']} times each" if sample["repeats"] > 1 else "once each"
    judges = len(audit["judges"])
    return (
        f"{sample['pairs']:,} pairs of {sample['queries']:,} queries in {orders}, {times};"
        f" {judges} judge{'s' * (judges > 1)}, {sample['answers']:,} answers"
    )


def too_few(audit: Facts) -> str:
    """Where fewer queries could be asked about than were to be: why, and what to do; else nothing."""
    sample = audit["sample"]
    if "wanted" not in sample:
        return ""
    short = sample["there"] < sample["wanted"]
    remedy = "add queries, which need no labels" if short else "raise top_k, or choose a retriever that finds more"
    return (
        f"{sample['pairs']:,} pairs instead of {sample['wanted_pairs']:,}: of the {sample['there']:,} train and dev queries"
        f" {sample['queries']:,} have the three candidates that it takes, and {sample['wanted']:,} were wanted. To learn more,"
        f" {remedy}."
    )


def costs(audit: Facts) -> list[tuple[str, str]]:
    """(judges, dollars) of the whole run with each judge alone, the two cheapest, and all; one line where all are free."""
    alone, steps = audit["cost"]["alone"], audit["cost"]["steps"]
    if steps[-1]["usd"] == 0:
        return [(_named(steps[-1]["judges"]), money(0.0))]
    several = [steps[count - 1] for count in sorted({2, len(steps)}) if 1 < count <= len(steps)]
    return [
        *((name, money(usd)) for name, usd in alone.items()),
        *((_named(step["judges"]), money(step["usd"])) for step in several),
    ]


def whole_run(audit: Facts) -> str:
    """What the whole run asks, and what the estimate rests on."""
    cost = audit["cost"]
    return (
        f"A whole run compares {cost['pairs']:,} pairs ({cost['queries']:,} queries, {cost['pairs_per_query']:,} pairs each)."
        " Estimated cost, from the mean cost of a question in this sample:"
    )


def _named(judges: list[str]) -> str:
    if len(judges) > 3:
        return f"all {len(judges)}"
    return " and ".join([", ".join(judges[:-1]), judges[-1]] if len(judges) > 1 else judges)


def outcomes(judge: Facts) -> str:
    """How a judge's questions ended: counts by status, and faults on the way by class."""
    faults = faults_in_words(judge["calls"])
    parts = [listed(judge["status"]) + (f" (on the way: {faults})" if faults else "")]
    return "; ".join(parts + reasons_in_words(judge["calls"]))


def view(audit: Facts) -> dict[str, object]:
    """What the template shows."""
    shown = columns(audit, every=True)
    rows = [(name, judge["measures"]) for name, judge in audit["judges"].items()]
    if len(rows) > 1:
        rows.append((TOGETHER, audit["together"]))
    return {
        "sample": sample(audit),
        "too_few": too_few(audit),
        "advice": [
            one | {"tone": TONES.get(one["verdict"], "muted"), "text": one["text"].replace(" %", "\u00a0%")}
            for one in audit["advice"]
        ],
        "columns": shown,
        "rows": [{"name": name, "cells": [cell(measures, column) for column in shown]} for name, measures in rows],
        "agreement": agreement(audit),
        "not_measured": not_measured(audit),
        "scores": [
            _scores(name, judge["scores"], place) for place, (name, judge) in enumerate(audit["judges"].items())
        ],
        "whole_run": whole_run(audit),
        "costs": costs(audit),
        "labels": audit["known"]["labels"],
    }


def _scores(name: str, scores: Facts, place: int) -> dict[str, object]:
    if "counts" not in scores:
        return {"name": name, "svg": "", "words": f"Not measured: {scores['not_measured']}."}
    words = f"{_percent(scores['fullest'])} in the fullest tenth (uniform: 10 %), evenness {scores['evenness']:.2f} (uniform: 1)"
    return {"name": name, "svg": Markup(plots.histogram(scores["counts"], f"scores{place}")), "words": words}
