"""What a sweep came out with: sweep.html and the table on the terminal. A row is one job, as sweep.csv has it."""

from pathlib import Path
from typing import TYPE_CHECKING

from zelo.metrics.agreement import PREFIX
from zelo.reporting.evaluation import NO_LABELS
from zelo.reporting.report import environment
from zelo.reporting.terminal import console

if TYPE_CHECKING:
    from rich.table import Table

FIGURES = {"dev": "value", "test": "test_value"}  # of the system that is optimized, in words: column
OUTSIDE = "out_of_domain"  # column: the domains that nothing was learned from


def best(rows: list[dict[str, str]]) -> str | None:
    """The job whose system is best on dev, where all jobs are selected by one figure; else None. Test is never looked at."""
    found = [row for row in rows if row.get("value")]
    if len({row["selected_by"] for row in found}) != 1:
        return None
    return max(found, key=lambda row: float(row["value"]))["job"]


def page(folder: Path, rows: list[dict[str, str]]) -> str:
    """sweep.html of a sweep's folder: one file that needs no network; every text is escaped."""
    options = shown_options(rows)
    shown = _figures(rows)
    jobs = [
        {
            "row": row,
            "report": (folder / row["folder"] / "report.html").exists(),
            "options": [row[name] for name in options],
            "figures": [_figure(row, name) for name in shown.values()],
        }
        for row in rows
    ]
    template = environment().get_template("sweep.html.jinja")
    return template.render(
        title=folder.name,
        jobs=jobs,
        options=list(options.values()),
        figures=list(shown),
        system=next((row["system"] for row in rows if row.get("value")), None),
        best=best(rows),
        selection=selection(rows),
    )


def shown_options(rows: list[dict[str, str]]) -> dict[str, str]:
    """The columns of what was varied, each with the shortest end of its key that no other has."""
    names = list(rows[0])[1 : list(rows[0]).index("status")] if rows else []
    varied = [name for name in names if len({row[name] for row in rows}) > 1] or names
    parts = {name: name.split(".") for name in varied}
    ends = {name: [".".join(part[-n:]) for n in range(1, len(part) + 1)] for name, part in parts.items()}
    return {
        name: next(end for end in ends[name] if sum(end in other for other in ends.values()) == 1 or end == name)
        for name in varied
    }


def print_table(folder: Path, rows: list[dict[str, str]]) -> None:
    """What was varied and what came out, on the terminal."""
    lines = console()
    lines.print()
    lines.print(_table(rows, best(rows)))
    for line in selection(rows):
        lines.print(line, soft_wrap=True)
    for row in rows:
        if row["error"]:
            lines.print(f"Job {row['job']} failed: {row['error']}", soft_wrap=True)
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    lines.print(f"Sweep directory: {here}/ (sweep.csv, sweep.html)", soft_wrap=True)


def selection(rows: list[dict[str, str]]) -> list[str]:
    """What the best job is selected by, and what to know about it, one line each; nothing where nothing was measured."""
    keys = list(dict.fromkeys(row["selected_by"] for row in rows if row.get("selected_by")))
    if not keys:
        return []
    if len(keys) > 1:
        return [f"The jobs are measured differently on dev ({', '.join(keys)}), so none is called best."]
    lines = [f"dev, which selects the best: {keys[0]}"]
    if keys[0].startswith(f"{PREFIX}/"):
        lines[0] += f" ({NO_LABELS}; each job against ratings of its own)"
    if any(row.get("test") for row in rows):
        lines.append(f"test, which selects nothing: {next(row['test'] for row in rows if row.get('test'))}")
    if domains := _domains(rows):
        lines.append(f"by domain: {', '.join(domains)} of test; (out): nothing was learned from this domain")
    return lines


def _figures(rows: list[dict[str, str]]) -> dict[str, str]:
    """In words -> column, of what is known of any job."""
    shown = {title: name for title, name in FIGURES.items() if any(row.get(name) for row in rows)}
    return shown | _domains(rows)


def _domains(rows: list[dict[str, str]]) -> dict[str, str]:
    """Domain -> column of its test figure, where jobs are measured by domain."""
    tests = {f"{row['test']}/" for row in rows if row.get("test")}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name.removeprefix(test): name for test in sorted(tests) for name in names if name.startswith(test)}


def _figure(row: dict[str, str], name: str) -> str:
    """A figure of a job, marked where nothing was learned from its domain."""
    domain = name.removeprefix(f"{row.get('test')}/")
    outside = domain != name and domain in (row.get(OUTSIDE) or "").split(",")
    return _rounded(row.get(name)) + " (out)" * outside


def _table(rows: list[dict[str, str]], winner: str | None) -> "Table":
    from rich.table import Table

    options = shown_options(rows)
    figures = _figures(rows)
    system = next((row["system"] for row in rows if row.get("value")), None)
    table = Table(
        box=None, padding=(0, 2, 0, 0), header_style="bold", title=system, title_justify="left", title_style="bold"
    )
    for name in ("job", *options.values()):
        table.add_column(name, overflow="fold")
    for name in (*figures, "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        values = [_figure(row, name) for name in figures.values()]
        remark = "best" if row["job"] == winner else "" if row["status"] == "finished" else row["status"]
        table.add_row(row["job"], *(row[name] for name in options), *values, row["seconds"], remark)
    return table


def _rounded(value: str | None) -> str:
    return f"{float(value):.3f}" if value else ""
