"""What a sweep came out with: sweep.html and the table on the terminal. A row is a setting: jobs that differ in the seed only."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.evaluation.verdict import FEWEST
from zelo.metrics.agreement import PREFIX
from zelo.records import DEV, TEST
from zelo.reporting import compared, sweep_plots
from zelo.reporting.evaluation import NO_LABELS
from zelo.reporting.report import environment
from zelo.reporting.sweep_settings import Comparison, Setting, compare
from zelo.reporting.terminal import console
from zelo.store.references import PRUNED

if TYPE_CHECKING:
    from rich.table import Table

OUTSIDE = "out_of_domain"  # column: the domains that nothing was learned from
IMPORTANCE = "importance.json"  # of hydra/sweeper=optuna: {objective: {parameter: share}}
INTERVAL = "95 %"
BEST, ALIKE = "best", "like the best"  # not shown to differ from it
NAMED = 5  # settings in one sentence
WHOLE = ("pairs", "questions", "calls", "judges_tokens")  # figures that are counts


def page(folder: Path, rows: list[dict[str, str]]) -> str:
    """sweep.html of a sweep's folder: one file that needs no network; every text is escaped."""
    found = compare(folder, rows)
    columns = _columns(found, rows)
    columns = {title: cells for title, cells in columns.items() if title in _least(rows) or _differ(cells)}
    settings = [
        {
            "jobs": one.rows,
            "options": list(one.options.values()),
            "cells": [cells[place] for cells in columns.values()],
            "kind": "best" if one is found.best else one.rows[0]["status"].replace(" ", "-"),
            "remark": _remark(one, found),
            "reports": {
                row["job"] for row in one.rows if row["folder"] and (folder / row["folder"] / "report.html").exists()
            },
            "errors": [row["error"] for row in one.rows if row["error"]],
        }
        for place, one in enumerate(found.settings)
    ]
    template = environment().get_template("sweep.html.jinja")
    return template.render(
        title=folder.name,
        jobs=len(rows),
        settings=settings,
        options=list(found.settings[0].options) if found.settings else [],
        figures=list(columns),
        system=_system(rows),
        words=[*selection(found, rows), *verdict(found), *pruned(rows)],
        pictures=sweep_plots.pictures(found),
        parallel=sweep_plots.parallel(found),
        importance=_importance(folder),
    )


def _importance(folder: Path) -> dict[str, list[tuple[str, float]]]:
    """Objective -> the share of its variance that each parameter explains, the largest first; what a search has written."""
    try:
        found = json.loads((folder / IMPORTANCE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no search, or one that was killed as it wrote
        return {}
    return {name: sorted(shares.items(), key=lambda one: -one[1]) for name, shares in found.items() if shares}


def print_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """What was varied and what came out, on the terminal."""
    found, lines = compare(folder, rows), console()
    lines.print()
    lines.print(_table(found, rows, lines.width))
    for line in (*selection(found, rows), *verdict(found), *pruned(rows)):
        lines.print(line, soft_wrap=True)
    for row in rows:
        if row["error"]:
            lines.print(f"Job {row['job']} {row['status']}: {row['error']}", soft_wrap=True)
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    lines.print(f"Sweep directory: {here}/ (sweep.csv, sweep.html)", soft_wrap=True)


def selection(found: Comparison, rows: list[dict[str, str]]) -> list[str]:
    """What the best is selected by, and what to know about it, one line each; nothing where nothing was measured."""
    keys = list(dict.fromkeys(row["selected_by"] for row in rows if row.get("selected_by")))
    if not keys:
        return []
    if len(keys) > 1:
        return [f"The jobs are measured differently on dev ({', '.join(keys)}), so none is called best."]
    lines = [f"dev, which selects the best: {keys[0]}"]
    if keys[0].startswith(f"{PREFIX}/"):
        lines[0] += f" ({NO_LABELS})"
    if any(row.get("test") for row in rows):
        lines.append(f"test, which selects nothing: {next(row['test'] for row in rows if row.get('test'))}")
    if seeds := max(one.measured for one in found.settings) - 1:
        lines.append(f"means of up to {seeds + 1} seeds, with 95 % intervals over seeds (Student's t)")
    if domains := _domains(rows):
        lines.append(f"by domain: {', '.join(domains)} of test; (out): nothing was learned from this domain")
    return lines


def pruned(rows: list[dict[str, str]]) -> list[str]:
    """How many jobs a search has ended early, in a sentence; nothing where it has ended none."""
    count = sum(row["status"] == PRUNED for row in rows)
    said = (
        f"{count} of {len(rows)} jobs pruned: their trainings fell behind on dev, and no figure here is made of them."
    )
    return [said] if count else []


def verdict(found: Comparison) -> list[str]:
    """The best setting and those that it is not shown to differ from, in a sentence each."""
    best = found.best
    if best is None or len(found.settings) < 2:
        return []
    values = [f"{split} {best.estimates[split].value:.3f}" for split in (DEV, TEST) if split in best.estimates]
    head = f"Best on dev: {best.name} ({', '.join(values)})"
    if found.untested:
        return [f"{head}; not tested against the others: {found.untested}."]
    tests = sum(one.p is not None for one in found.settings)
    how = f"paired permutation tests on {found.queries} dev queries{f', Holm-corrected for {tests}' * (tests > 1)}"
    few = f"; fewer than {FEWEST} queries show nothing" if found.queries < FEWEST else ""
    more = f" and {len(found.alike) - NAMED} more" if len(found.alike) > NAMED else ""
    others = ", ".join(f"{one.name} (p = {one.p:.2g})" for one in found.alike[:NAMED]) + more
    said = f"No difference shown from {others}" if others else "Better than every other"
    return [f"{head}. {said} ({how}{few})."]


def _columns(found: Comparison, rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Title -> a cell for each setting, of what is known of any: the most important first."""
    estimates = [one.estimates.get(DEV) for one in found.settings]
    spans = [f"{e.low:.3f}-{e.high:.3f}" if e and e.low is not None and e.high is not None else "" for e in estimates]
    columns = {
        DEV: [f"{estimate.value:.3f}" if estimate else "" for estimate in estimates],
        INTERVAL: spans,
        TEST: [f"{one.estimates[TEST].value:.3f}" if TEST in one.estimates else "" for one in found.settings],
    }
    columns |= {name: [_domain(one, column) for one in found.settings] for name, column in _domains(rows).items()}
    for column, title in compared.FIGURES.items():
        columns[title] = [_number(column, one.mean(column)) for one in found.settings]
    columns["seconds"] = [_number("seconds", one.mean("seconds")) for one in found.settings]
    return {title: cells for title, cells in columns.items() if any(cells)}


def _table(found: Comparison, rows: list[dict[str, str]], width: int) -> "Table":
    """As many columns as fit. A figure that is the same everywhere is left out first: it compares nothing."""
    from rich.table import Table

    options = {name: [one.options[name] for one in found.settings] for name in found.settings[0].options}
    columns = {"job": [one.jobs for one in found.settings], **options}
    figures, remarks = _columns(found, rows), [_remark(one, found) for one in found.settings]
    least = _least(rows)
    wide = sum(map(_width, columns, columns.values())) + _width("", remarks)
    wide += sum(_width(title, figures[title]) for title in figures if title in least)
    shown = []
    for title, cells in figures.items():
        if title not in least:
            fits = wide + _width(title, cells) <= width
            if not fits or not _differ(cells):
                continue
            wide += _width(title, cells)
        shown.append(title)
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        header_style="bold",
        title=_system(rows),
        title_justify="left",
        title_style="bold",
    )
    for name in columns:
        table.add_column(name, overflow="fold")
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for place, remark in enumerate(remarks):
        cells = [cells[place] for cells in columns.values()] + [figures[title][place] for title in shown]
        table.add_row(*cells, remark)
    return table


def _least(rows: list[dict[str, str]]) -> set[str]:
    """Columns that are always shown."""
    return {DEV, INTERVAL, TEST, "seconds", *_domains(rows)}


def _differ(cells: list[str]) -> bool:
    """Whether the settings that have a figure differ in it."""
    known = [cell for cell in cells if cell]
    return len(cells) == 1 or len(set(known)) > 1


def _width(title: str, cells: list[str]) -> int:
    return 2 + max(map(len, (title, *cells)))


def _remark(one: Setting, found: Comparison) -> str:
    """Best, not shown to differ from it, or how its jobs ended where they did not finish."""
    ended = [row["status"] for row in one.rows if row["status"] != "finished"]
    if ended:
        return ended[0] if len(one.rows) == 1 else f"{len(ended)} {ended[0]}"
    return BEST if one is found.best else ALIKE if any(one is other for other in found.alike) else ""


def _system(rows: list[dict[str, str]]) -> str | None:
    return next((row["system"] for row in rows if row.get("value")), None)


def _domains(rows: list[dict[str, str]]) -> dict[str, str]:
    """Domain -> column of its test figure, where jobs are measured by domain."""
    tests = {f"{row['test']}/" for row in rows if row.get("test")}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name.removeprefix(test): name for test in sorted(tests) for name in names if name.startswith(test)}


def _domain(one: Setting, column: str) -> str:
    """A domain's figure of a setting, marked where nothing was learned from the domain."""
    value, row = one.mean(column), one.rows[0]
    outside = column.removeprefix(f"{row.get('test')}/") in (row.get(OUTSIDE) or "").split(",")
    return "" if value is None else f"{value:.3f}{' (out)' * outside}"


def _number(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column in ("seconds", "compute_seconds"):
        return f"{value:,.1f}"
    if column == "judges_usd":
        return f"${value:,.2f}" if value else "free"
    return f"{value:,.0f}" if column in WHOLE else f"{value:.3g}"
