"""What a reader should know about a run, in lines: what is missing, why, and what a later run does about it."""

from typing import TYPE_CHECKING

from zelo.budget.price import money
from zelo.budget.request_batch import faults_in_words, reasons_in_words
from zelo.evaluation.order import in_words
from zelo.facts import Facts
from zelo.records import ANSWERED, DEV, FAILED, TRUNCATED, UNSENT
from zelo.reporting.evaluation import NO_LABELS
from zelo.training.judging import judging_in_words
from zelo.training.parity import parity_in_words

if TYPE_CHECKING:
    from zelo.pipeline.run import Result


def notes(result: "Result") -> list[str]:
    """What a reader should know about this run, one line each."""
    lines = []
    for name, table in result.tables.items():
        figures = table.manifest
        lines += figures.get("notes", [])
        lines += [f"{name}: {line}" for line in _retrieved(figures)]
        if figures.get("queries_with_all_pairs"):
            count = figures["queries_with_all_pairs"]
            lines.append(
                f"{name}: {count} queries have too few candidates for this degree; all their pairs were judged"
            )
        when = " (when this was computed; nothing was sent now)" if result.facts[name]["status"] == "cached" else ""
        lines += [f"{name}: {line}{when}" for line in _judged(figures)]
        if apart := figures.get("fit", {}).get("disconnected_queries"):
            named = ", ".join(figures["fit"]["disconnected"]) + " ..." * (apart > 5)
            lines.append(
                f"{name}: the comparisons of {apart} queries are not connected ({named}); only the largest"
                " connected part of each is rated"
            )
        lines += [f"{name}: {line}" for line in _later(figures)]
        if parity := figures.get("parity"):
            lines.append(f"{name}: {parity_in_words(parity)}")
        if judging := figures.get("judging"):
            lines.append(f"{name}: {judging_in_words(judging)}")
        if order := figures.get("order"):
            lines.append(f"{name}: {in_words(order)}")
        if figures.get("protocol") == "judge" and figures["split"] == DEV:
            lines.append(
                f"{name}: test has no labels, so all metrics are judge agreement ({NO_LABELS}) on the dev queries, which"
                " also selected the checkpoints: differences are less reliable than with labels"
            )
        if figures.get("absent"):
            lines.append(f"{name}: not in this run, so not evaluated: {', '.join(figures['absent'])}")
    return lines


def _retrieved(figures: Facts) -> list[str]:
    """What a ranking lacks: queries with too little to compare, and documents that are their query."""
    lines = []
    if below := figures.get("queries_below_two"):
        none = f", {without:,} of them none" if (without := figures.get("queries_without")) else ""
        lines.append(f"{below:,} of {figures['queries']:,} queries have fewer than two candidates{none}")
    if own := figures.get("own_documents"):
        counted = f"{own:,} documents" if own > 1 else "1 document"
        line = f"{counted} with their query's own id {'are' if own > 1 else 'is'} left out of the candidates"
        if figures["own_documents_unlike"]:
            line += "; most of their texts are unlike the query's: if equal ids are a coincidence, set keep_own_document=true"
        lines.append(line)
    return lines


def _later(figures: Facts) -> list[str]:
    """What a later run does about the pairs without an answer."""
    unread: dict[bool, set[str]] = {True: set(), False: set()}  # by whether the judge can be asked again
    unasked = False
    for judge, counts in missing(figures).items():
        without = set(counts) - {"limit"}
        unasked |= bool(without & {FAILED, UNSENT})
        unread["price" in figures["judges"][judge]] |= without - {FAILED, UNSENT}
    lines = ["failed and unsent calls are missing; the next run sends only these"] * unasked
    for paid, statuses in unread.items():
        if statuses:
            again = f", and ask_again=[{','.join(sorted(statuses))}] sends them again" * paid
            lines.append(
                f"what is {' or '.join(sorted(statuses))} is missing, so this is partial; the ledger keeps these replies, and the"
                f" next run parses them again without a call{again}"
            )
    return lines


def missing(figures: Facts) -> Facts:
    """Per judge how many pairs have no answer and may get one, by status, and what kept the rest from being asked."""
    found = {}
    for judge, facts in figures.get("judges", {}).items():
        if counts := facts.get("missing"):
            found[judge] = counts | ({"limit": facts["limit"]} if facts.get("limit") else {})
    return found


def _judged(figures: Facts) -> list[str]:
    """How the questions of each judge ended, where some brought no answer or cost something."""
    lines = []
    for judge, facts in figures.get("judges", {}).items():
        ended = {status: count for status, count in facts["status"].items() if count}
        line = ", ".join(f"{count:,} {status}" for status, count in ended.items())
        if facts.get("calls") or facts.get("from_ledger"):
            cost = money(facts["price"], facts["usd"])
            line += f"; {facts['from_ledger']:,} pairs from the ledger, {facts['calls']:,} calls, {cost}"
        if facts.get("limit"):
            line += f"; the rest was not sent: {facts['limit']}"
        if facts.get("faults"):
            line += f"; faults on the way: {faults_in_words(facts)}"
        if facts["status"].get(TRUNCATED):
            line += "; truncated answers need a higher max_tokens"
        if facts.get("cut"):
            line += f"; {facts['cut']:,} documents were truncated"
        if set(ended) - {ANSWERED} or ";" in line:
            lines.append(f"{judge} {line}")
        lines += [f"{judge} {reason}" for reason in reasons_in_words(facts)]
    return lines
