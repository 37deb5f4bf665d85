"""What a run says on the terminal: a line per stage, the plan, and the table of results. Plain where it is no terminal."""

import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from zelo.budget.plan import lines as plan_lines
from zelo.budget.plan import together
from zelo.budget.price import money
from zelo.facts import Facts
from zelo.metrics.agreement import PREFIX
from zelo.protocols import Executor, ProcessesExecutor, ProcessesStage, SpreadStage
from zelo.records import DEV
from zelo.reporting import acquired, audit_page, by_domain, data_card, latency, lineage, rerankers, run_comparison
from zelo.reporting.audit_table import print_audit
from zelo.reporting.evaluation import CIRCULAR, GROUPS, LABELS, NO_LABELS, Evaluation, shown
from zelo.reporting.notes import notes
from zelo.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from zelo.budget.plan import Plan
    from zelo.pipeline.run import Result, Step

PLAIN_WIDTH = 100  # columns where the output is no terminal


def console() -> "Console":
    """The standard output: as wide as the terminal, at least 80 columns for a table."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)


def help_text(template: str, conf: Path) -> str:
    """The help with every config group of the folder `conf` and its options in place of $APP_CONFIG_GROUPS."""
    groups: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    width = max(map(len, groups)) + 2
    lines = "\n".join(
        fill(f"  {group:<{width}}{', '.join(options)}", 120, subsequent_indent=" " * (width + 2))
        for group, options in groups.items()
    )
    return template.replace("$APP_CONFIG_GROUPS", lines).replace("$$", "$")


def print_plan(
    steps: "list[Step]", store: Store, executor: Executor, units: Mapping[str, int], seconds: Mapping[str, float]
) -> set[str]:
    """What would run, where and what is cached; returns the names of the stages that are not computed yet.

    units: stage -> how many, where that is known; seconds: about how long they take, where that is.
    """
    lines = console()
    missing = set()
    for step in steps:
        table = store.find(step.kind, step.identity)
        partial = None if table else store.find_partial(step.kind, step.identity)
        missing |= set() if table else {step.name}
        state = "cached" if table else "finish" if partial else "compute"
        took = f"took {_seconds(table.manifest['seconds'])}" if table else ""
        lines.print(f"{step.name:<20} {state:<7} {step.kind}/{step.identity}  {took}".rstrip(), soft_wrap=True)
    lines.print(f"{len(missing)} of {len(steps)} stages to compute in {store.root}.", soft_wrap=True)
    todo = [step for step in steps if step.name in missing]
    spread = [step.name for step in todo if isinstance(step.stage, SpreadStage) and step.stage.spreads]
    timed = {name: f" (about {_seconds(seconds[name])})" for name in spread if name in seconds}
    if (executor.where or timed) and spread:
        counts = {name: f"{units[name]:,}" if name in units else "?" for name in spread}
        named = ", ".join(f"{name} {counts[name]}{timed.get(name, '')}" for name in spread)
        unknown = " ?: known when the stages above have run." * ("?" in counts.values())
        where = executor.where or "in this process"
        lines.print(f"Units of at most 512 queries, {where}: {named}.{unknown}", soft_wrap=True)
    if isinstance(executor, ProcessesExecutor):
        for step in todo:
            if isinstance(step.stage, ProcessesStage) and step.stage.processes > 1:
                lines.print(f"In {step.stage.processes} processes, {executor.where}: {step.name}.", soft_wrap=True)
    return missing


def print_prices(stage: str, plans: "list[Plan]") -> None:
    """What the judges of a stage would be asked, and for how much."""
    lines = console()
    lines.print(f"\n{stage}: nothing was sent", style="bold")
    for line in plan_lines(plans):
        lines.print(line, soft_wrap=True)


def print_cheaper(options: list[tuple[str, str, float]]) -> None:
    """What would cost less: (override, what it changes, US dollars) each."""
    lines, width = console(), max((len(override) for override, _, _ in options), default=0)
    if options:
        lines.print("Cheaper, each alone, about:")
    for override, words, usd in options:
        lines.print(f"  {override:<{width}}  {money('known', usd):>9}  {words}", soft_wrap=True)


def print_plan_end(
    steps: "list[Step]", store: Store, missing: set[str], priced: "list[list[Plan]]", unpriced: dict[str, list[str]]
) -> None:
    """What all stages would cost together, and what was run to find it out.

    priced: the plans of each stage that costs. unpriced: stages whose questions cannot be known yet, and what must run first.
    """
    lines = console()
    for name, first in unpriced.items():
        lines.print(
            "\n"
            + fill(
                f"{name}: asks more, under the same caps. What that costs is not known before these have run:"
                f" {', '.join(first)}. Run until={first[-1]} first, then plan=true again.",
                PLAIN_WIDTH,
            ),
            soft_wrap=True,
        )
    if len(priced) > 1:
        lines.print(f"\nAll stages: {together([plan for plans in priced for plan in plans])}", soft_wrap=True)
    made = [step.name for step in steps if step.name in missing and store.find(step.kind, step.identity)]
    run = f"Run for the plan, which depends on it: {', '.join(made)}" if made else "Nothing was run"
    lines.print(f"{run}{'; nothing was sent' * bool(priced)}.", soft_wrap=True)


def print_stage(result: "Result", name: str, said: set[str]) -> None:
    """One line for a stage that has just ended, and one for each thing worth knowing about it.

    said: the lines that jobs before this one have said; they are not said again, and those of this stage are added.
    """
    table, facts = result.tables[name], result.facts[name]
    rows = f"{table.manifest['rows']:>12,} rows" if table.manifest.get("rows") is not None else ""
    lines = console()
    lines.print(f"{name:<20} {facts['status']:<8} {_seconds(facts['seconds']):>11} {rows}".rstrip(), soft_wrap=True)
    only = type(result)([step for step in result.steps if step.name == name], {name: table}, {name: facts})
    known = [f"  {note}" for note in notes(only)]
    card = data_card.lines(table, result) if "card" in table.manifest else ()
    known += [f"  {subject:<11} {words}" for subject, words in card]
    for line in known:
        if line not in said:
            lines.print(line, soft_wrap=True)
    said.update(known)


def print_results(result: "Result", folder: Path, optimize: str | None) -> float | None:
    """The table of results, the verdicts and where everything lies; returns the dev figure of `optimize`, None without one."""
    figures = Evaluation.of(result)
    if figures:
        _print_table(figures, result)
        _print_domains(figures)
        _print_verdicts(figures)
        if optimize is not None and not figures.dev and figures.table.manifest["students"]:
            words = "dev has neither labels nor judged queries, so a sweep cannot select a job"
            console().print(f"optimize={optimize}: {words}; test is never used for selection.", soft_wrap=True)
    if compared := rerankers.of_run(result):
        print("\n" + "\n".join(rerankers.lines(compared, min(console().width, PLAIN_WIDTH))))
    if timed := lineage.written(result, latency.FILE):
        print("\n" + "\n".join(latency.lines(timed)))
    if two := lineage.written(result, run_comparison.FILE):
        print("\n" + "\n".join(run_comparison.lines(two)))
    for line in acquired.lines(result):
        console().print(line + ".", soft_wrap=True)
    audited = audit_page.Audited.of(result)
    if audited:
        print_audit(audited.found, console())
    reranked = any(folder.glob("reranked.*"))
    _print_places(result, folder, bool(figures or audited or reranked or timed or two))
    return figures.dev.get(optimize) if figures and optimize is not None else None


def _print_table(figures: Evaluation, result: "Result") -> None:
    from rich.table import Table
    from rich.text import Text

    lines = console()
    wide = lines.width >= PLAIN_WIDTH  # else the verdicts alone say what each student was tested against
    others = [name for name in figures.beside if name != figures.metric]
    beside = figures.dev if figures.split != DEV else {}
    board = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    board.add_column("", overflow="fold")
    sizes = {row["system"]: row["bytes_per_document"] for row in figures.rows if row.get("bytes_per_document")}
    sized = ["bytes"] if len(set(sizes.values())) > 1 else []  # of a document's vector, where there is a choice
    short = len(PREFIX) + 1 if others and figures.protocol != LABELS else 0  # the line above says what they are against
    columns = [shown(name[short:]) for name in (figures.metric, *others)]
    for name in (columns[0], "95 % interval", *["dev"] * bool(beside), *sized, *columns[1:]):
        board.add_column(name, justify="right", no_wrap=True)
    if wide:
        board.add_column("against", overflow="fold")
        board.add_column("p (Holm)", justify="right", no_wrap=True)
    cells = {(row["system"], row["metric"]): row for row in figures.rows}
    for group, members in _grouped(figures).items():
        board.add_row(Text(group, "dim italic"))
        for system in members:
            tests = [row for row in figures.rows if row["system"] == system and row["metric"] == figures.metric]
            low, high = (_number(tests[0][end]) for end in ("ci_low", "ci_high"))
            head = [f"  {system}", _number(tests[0]["value"]), f"{low}-{high}"]
            head += [_number(beside.get(system))] * bool(beside)
            head += [f"{sizes[system]:,}" if system in sizes else "" for _ in sized]
            head += [_number(cells[system, name]["value"]) if (system, name) in cells else "" for name in others]
            for place, row in enumerate(tests[: None if wide else 1]):
                against = [row["baseline"] or "", _p(row["p_value"]) if row["baseline"] else ""]
                board.add_row(*(head if place == 0 else [""] * len(head)), *(against if wide else []))
    lines.print(f"\n{figures.title}, {figures.queries[figures.split]} queries", style="bold", soft_wrap=True)
    if beside:
        kind = "" if figures.keys[DEV].startswith(f"{DEV}/") else f" ({NO_LABELS})"
        lines.print(f"dev, for selection: {figures.keys[DEV]}, {figures.queries[DEV]} queries{kind}", soft_wrap=True)
    with lines.capture() as captured:
        lines.print(board)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_domains(figures: Evaluation) -> None:
    """A table of the deciding metric in each domain, some domains at a time."""
    found = by_domain.view(figures)
    if found is None:
        return
    from rich.table import Table
    from rich.text import Text

    lines = console()
    lines.print(f"\nby domain: {found['metric']}", style="bold", soft_wrap=True)
    for low in range(0, len(found["domains"]), by_domain.WIDE):
        part = slice(low, low + by_domain.WIDE)
        board = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
        board.add_column("", overflow="fold")
        for domain in found["domains"][part]:
            board.add_column(domain["name"], justify="right", overflow="fold")
        for what in ("queries", "labels", "training"):
            words = [str(domain[what]) for domain in found["domains"][part]]
            if any(words):
                board.add_row(Text(what, "dim italic"), *(Text(word, "dim") for word in words))
        for _, system, values in found["systems"]:
            board.add_row(f"  {system}", *(_number(value) for value in values[part]))
        with lines.capture() as captured:
            lines.print(board)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _grouped(figures: Evaluation) -> dict[str, list[str]]:
    """Group -> systems, from low to high by the deciding metric."""
    values = figures.values
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for system in sorted(values, key=lambda name: values[name]):
        found[figures.groups[system]].append(system)
    return {group: members for group, members in found.items() if members}


def _print_verdicts(figures: Evaluation) -> None:
    """One line per student: against its main baseline, the one named first. The others are in the table."""
    lines = console()
    lines.print()
    first: dict[str, Facts] = {}
    for verdict in figures.verdicts:
        first.setdefault(verdict["system"], verdict)
    for verdict in first.values():
        style = {"better": "green", "worse": "red"}.get(verdict["verdict"])
        lines.print(verdict["text"] + ".", style=style, soft_wrap=True)
    if figures.circular:
        lines.print(CIRCULAR + ".", style="bold red", soft_wrap=True)


def _print_places(result: "Result", folder: Path, complete: bool) -> None:
    lines = console()
    here = _relative(folder)
    lines.print()
    if not complete:
        last = list(result.tables)[-1]
        lines.print(f"Stopped after the stage {last}: {result.tables[last].path}", soft_wrap=True)
    entries = [
        ("report.html", "the report"),
        ("metrics.json", "metrics, one row per system, metric and baseline"),
        ("audit.json", "measurements of the audit"),
        ("rerankers.json", "every reranker over every first stage, with intervals"),
        ("latency.json", "times, memory and cost of each system"),
        ("compare.json", "what differs between the two runs, and the tests"),
        ("ratings.parquet", "ratings; candidates, outcomes, training examples beside it"),
        ("runs", "a TREC run file of every system"),
        *(
            (lineage.step_of(result, name).stage.name, "the trained model and its card")
            for name in lineage.students(result)
        ),
        ("config.yaml", "the composed config"),
        ("manifest.json", "tables, versions, hashes, time and memory of each stage"),
    ]
    for path in sorted(folder.glob("reranked.*")):
        lines.print(f"Reranked: {here / path.name}", soft_wrap=True)
    lines.print(f"Run directory: {here}/", soft_wrap=True)
    for name, words in entries:
        path = folder / name
        if path.exists():
            lines.print(f"  {name + '/' * path.is_dir():<15} {words}", soft_wrap=True)


def _relative(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
