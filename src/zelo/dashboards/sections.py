"""Sections of a W&B workspace: what stands below one heading. A section without panels is left out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zelo.dashboards.shown import Shown

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section

RATE = r"^{}/(answers|queries|questions)_per_second$"
JUDGES, AUDIT, EVALUATION = (
    ("judges", "battles"),
    ("audit",),
    ("metrics", "per_query", "gains"),
)  # tables of logger=wandb


def section(name: str, panels: Sequence[Any]) -> "Iterator[Section]":
    """An open section, where there is anything in it."""
    import wandb_workspaces.workspaces as ws

    if panels:
        yield ws.Section(name=name, panels=list(panels), is_open=True)


def judges(shown: Shown, curves: Mapping[str, str]) -> "Iterator[Section]":
    """One for each stage that judges. curves: of judges that cost money, name -> title."""
    import wandb_workspaces.reports.v2 as wr

    paid = shown.run.manifest.get("compared", {}).get("calls") is not None
    for stage in shown.judging:
        wanted = curves if paid else {}
        spent = [wr.LinePlot(title=said, x=f"{stage}/step", y=[f"{stage}/{key}"]) for key, said in wanted.items()]
        rate = wr.LinePlot(title="rate, a second", x=f"{stage}/step", metric_regex=RATE.format(stage))
        yield from section(f"Judges: {stage}", [*spent, rate])
    if shown.judging:
        tables = [*JUDGES, *(AUDIT if shown.run.has("audit.json") else ())]
        yield from section("Judges", [wr.WeavePanelSummaryTable(table_name=name) for name in tables])


def ratings(shown: Shown, figures: Mapping[str, str]) -> "Iterator[Section]":
    """How well the ratings explain the answers. figures: of the summary, name -> title."""
    import wandb_workspaces.reports.v2 as wr

    known = shown.run.manifest.get("compared", {})
    panels = [
        wr.ScalarChart(title=said, metric=wr.SummaryMetric(f"figures/{key}"))
        for key, said in figures.items()
        if key in known
    ]
    yield from section("Ratings", panels)


def training(shown: Shown, curves: Mapping[str, str]) -> "Iterator[Section]":
    """One for each student: its dev figure, and curves, name -> title."""
    import wandb_workspaces.reports.v2 as wr

    for name in shown.students:
        dev = wr.LinePlot(title="dev", x=f"{name}/step", metric_regex=rf"^{name}/.*dev/.*")
        steps = [wr.LinePlot(title=said, x=f"{name}/step", y=[f"{name}/{key}"]) for key, said in curves.items()]
        yield from section(f"Training: {name}", [dev, *steps])


def evaluation(shown: Shown) -> "Iterator[Section]":
    """All systems on dev and test, the tables behind it, and the report."""
    import wandb_workspaces.reports.v2 as wr

    bars = [wr.BarPlot(title=split, metrics=list(names)) for split, names in shown.figures.items() if names]
    tables = (
        [wr.WeavePanelSummaryTable(table_name=name) for name in EVALUATION] if shown.run.has("metrics.json") else []
    )
    report = [wr.MediaBrowser(title="report", media_keys=["report"])] if shown.run.has("report.html") else []
    yield from section("Evaluation", [*bars, *tables, *report])
