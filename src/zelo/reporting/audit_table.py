"""An audit on the terminal: a table that fits 80 columns, what a whole run would cost, and the advice."""

import math
import textwrap
from typing import TYPE_CHECKING

from zelo.facts import Facts
from zelo.reporting import audit_page
from zelo.reporting.audit_page import TOGETHER, TONES

if TYPE_CHECKING:
    from rich.console import Console

INTERVALS_FROM = 100  # columns; a narrower table has figures without intervals
STYLES = {"gain": "green", "loss": "red"}
BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*#@"


def print_audit(audit: Facts, lines: "Console") -> None:
    """Everything that audit.json says, for somebody who is about to spend money."""
    lines.print()
    _say(lines, "", f"Audit: {audit_page.sample(audit)}", "bold")
    if few := audit_page.too_few(audit):
        _say(lines, "", few)
    _print_figures(audit, lines)
    _print_scores(audit, lines)
    _say(lines, "", audit_page.agreement(audit))
    for line in audit_page.not_measured(audit):
        _say(lines, "", f"Not measured: {line}.")
    for name, judge in audit["judges"].items():
        if judge["answered"] != 1.0:
            _say(lines, f"{name}: ", audit_page.outcomes(judge))
    lines.print()
    _say(lines, "", audit_page.whole_run(audit))
    for judges, usd in audit_page.costs(audit):
        _say(lines, "", f"{usd:>12}  {judges}")
    lines.print()
    for one in audit["advice"]:
        head = f"{one['about']}: {one['verdict']}. "
        _say(lines, head, one["text"], STYLES.get(TONES.get(one["verdict"], ""), "bold"))


def _say(lines: "Console", head: str, text: str, style: str = "") -> None:
    """A paragraph no wider than the terminal, its head in a style of its own; without a head, all of it."""
    from rich.text import Text

    first, *rest = textwrap.wrap(head + text, lines.width) or [""]
    shown = Text(first, "" if head else style)
    shown.stylize(style, 0, len(head))
    lines.print(shown, soft_wrap=True)
    for line in rest:
        lines.print(Text(line, "" if head else style), soft_wrap=True)


def _print_figures(audit: Facts, lines: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    columns, wide = audit_page.columns(audit), lines.width >= INTERVALS_FROM
    paid = any(judge["tokens"] for judge in audit["judges"].values())
    board = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    board.add_column("", overflow="fold")
    for name in ["an-\nswered", *(column.name for column in columns), *["$ per\n1,000"] * paid]:
        board.add_column(name, justify="right", no_wrap=True)
    rows = {name: judge["measures"] for name, judge in audit["judges"].items()}
    if len(rows) > 1:
        rows[TOGETHER] = audit["together"]
    for name, measures in rows.items():
        judge = audit["judges"].get(name) if name != TOGETHER else None
        cells = [audit_page.cell(measures, column) for column in columns]
        answered = "" if judge is None else _share(judge["answered"])
        price = [] if not paid else [_thousand(judge)]
        board.add_row(
            Text(name, "dim italic" if judge is None else ""), answered, *(cell.text for cell in cells), *price
        )
        if wide and any(cell.interval for cell in cells):
            board.add_row("", "", *(Text(cell.interval, "dim") for cell in cells), *[""] * paid)
    with lines.capture() as captured:
        lines.print(board)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    for column in columns:
        _say(lines, "", f"  {column.title}: {column.meaning}", "dim")
    if paid:
        _say(
            lines,
            "",
            "  $ per 1,000: dollars for a thousand usable preferences, failures that were paid for included",
            "dim",
        )
    lines.print()


def _print_scores(audit: Facts, lines: "Console") -> None:
    """A row of bars for each judge: how it uses its range."""
    scores = {name: judge["scores"] for name, judge in audit["judges"].items() if "counts" in judge["scores"]}
    bars = BARS if (lines.encoding or "").lower().startswith("utf") else PLAIN_BARS
    width = max(map(len, scores), default=0)
    if scores:
        where = "from -1 (the document shown second) to 1 (shown first)"
        _say(lines, "", f"Scores in ten bins {where}, uniform: 10 % in each, evenness 1:")
    for name, one in scores.items():
        most = max(one["counts"])
        drawn = "".join(bars[math.ceil(8 * count / most)] for count in one["counts"])
        fullest = f"{100 * one['fullest']:.0f} % in the fullest, evenness {one['evenness']:.2f}"
        lines.print(f"  {name:<{width}} |{drawn}| {fullest}", soft_wrap=True)


def _share(answered: float | None) -> str:
    return "–" if answered is None else f"{100 * answered:.0f} %"


def _thousand(judge: Facts | None) -> str:
    """What a thousand usable preferences of a judge cost."""
    if judge is None or not judge["usable"]:
        return ""
    price = judge["usd_per_preference"]
    return "?" if price is None else "free" if price == 0 else f"{1000 * price:,.2f}"
