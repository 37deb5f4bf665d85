"""A W&B workspace for a run or a sweep, as code: `python -m zelo.tracking.workspace FOLDER`.

FOLDER is a run directory or that of a sweep. The workspace is written there, as workspace.json; with WANDB_MODE=online it is
saved in W&B too, where a project's page lists it beside the views that people have made.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.run_directory import RunDirectory
from zelo.store.references import FINISHED
from zelo.store.table import MANIFEST
from zelo.tracking import outage, whole_file
from zelo.training import monitor

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

FILE = "workspace.json"
SPENT = {"usd": "US dollars", "calls": "calls", "tokens": "tokens", "failed": "failed answers"}
RATE = r"^{}/(answers|queries|questions)_per_second$"
STEPS = {
    monitor.LOSS: "loss",
    monitor.LR: "learning rate",
    monitor.NORM: "gradient norm",
    monitor.PAIRS: "pairs a second",
}
COSTS = {"figures/judges_usd": "judges, US dollars", "figures/pairs": "pairs", "figures/compute_seconds": "seconds"}


@dataclass(frozen=True)
class Shown:
    """What there is to show: a run, and of a sweep what was varied."""

    name: str
    run: RunDirectory
    varied: list[str]  # keys of the config
    group: str | None  # the sweep

    @staticmethod
    def of(folder: Path) -> "Shown":
        """Raises BadInput for a folder without a finished run."""
        if (folder / MANIFEST).is_file():
            return Shown(folder.name, RunDirectory(folder), [], None)
        jobs = [RunDirectory(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
        done = [job for job in jobs if job.manifest["status"] == FINISHED]
        if not done:
            raise BadInput(f"{folder} holds neither a run nor a sweep with a finished job; give multirun/NAME/TIME.")
        values: dict[str, set[str]] = {}
        for job in done:
            written = yaml.safe_load((job.folder / "overrides.yaml").read_text(encoding="utf-8"))
            for key, _, value in (str(one).lstrip("+~").partition("=") for one in written):
                values.setdefault(key, set()).add(value)
        return Shown(folder.name, done[0], [key for key, found in values.items() if len(found) > 1], folder.name)

    @property
    def judging(self) -> list[str]:
        """Stages that judge."""
        return [name for name, stage in self.run.manifest["stages"].items() if stage["kind"] in ("judge", "sidebyside")]

    @cached_property
    def students(self) -> list[str]:
        """What is trained, by the name that its curves have."""
        stages: Facts = self.run.config["stages"]
        trained = [name for name, stage in self.run.manifest["stages"].items() if stage["kind"] == "train"]
        return [stages[name]["name"] for name in trained]

    @property
    def figures(self) -> dict[str, list[str]]:
        """Split -> full names of the deciding metric of each system."""
        found: Facts = self.run.manifest.get("figures", {"keys": {}, "values": {}})
        return {
            split: [name for name in found["values"] if name.startswith(f"{key}/")]
            for split, key in found["keys"].items()
        }

    @property
    def deciding(self) -> str | None:
        """The dev figure that a sweep selects by."""
        found: Facts = self.run.manifest.get("figures", {"keys": {}})
        return f"{found['keys']['dev']}/{found['system']}" if "dev" in found["keys"] else None


def build(shown: Shown, entity: str, project: str) -> "Workspace":
    """Sections for judges, training, evaluation and, of a sweep, what was varied; nothing is asked of a server."""
    import wandb_workspaces.workspaces as ws

    found = [*_judges(shown), *_training(shown), *_evaluation(shown), *_sweep(shown)]
    runs = ws.RunsetSettings(filters=f"Metric('Group') == '{shown.group}'") if shown.group else ws.RunsetSettings()
    return ws.Workspace(entity=entity, project=project, name=f"zelo {shown.name}", sections=found, runset_settings=runs)


def _section(name: str, panels: Sequence[Any]) -> "Iterator[Section]":
    import wandb_workspaces.workspaces as ws

    if panels:
        yield ws.Section(name=name, panels=list(panels), is_open=True)


def _judges(shown: Shown) -> "Iterator[Section]":
    import wandb_workspaces.reports.v2 as wr

    paid = shown.run.manifest["compared"].get("calls") is not None
    for stage in shown.judging:
        wanted = SPENT if paid else {}
        spent = [wr.LinePlot(title=said, x=f"{stage}/step", y=[f"{stage}/{key}"]) for key, said in wanted.items()]
        rate = wr.LinePlot(title="rate, a second", x=f"{stage}/step", metric_regex=RATE.format(stage))
        yield from _section(f"Judges: {stage}", [*spent, rate])


def _training(shown: Shown) -> "Iterator[Section]":
    import wandb_workspaces.reports.v2 as wr

    for name in shown.students:
        dev = wr.LinePlot(title="dev", x=f"{name}/step", metric_regex=rf"^{name}/.*dev/.*")
        steps = [wr.LinePlot(title=said, x=f"{name}/step", y=[f"{name}/{key}"]) for key, said in STEPS.items()]
        yield from _section(f"Training: {name}", [dev, *steps])


def _evaluation(shown: Shown) -> "Iterator[Section]":
    import wandb_workspaces.reports.v2 as wr

    bars = [wr.BarPlot(title=split, metrics=list(names)) for split, names in shown.figures.items() if names]
    table = [wr.WeavePanelSummaryTable(table_name="metrics")] if shown.run.has("metrics.json") else []
    report = [wr.MediaBrowser(title="report", media_keys=["report"])]
    yield from _section("Evaluation", [*bars, *table, *report])


def _sweep(shown: Shown) -> "Iterator[Section]":
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.reports.v2.interface import ParallelCoordinatesPlotColumn

    metric = shown.deciding
    if shown.group is None or metric is None:
        return
    columns = [
        ParallelCoordinatesPlotColumn(metric=wr.Config(key.replace(".", "/")), display_name=key) for key in shown.varied
    ]
    figure = ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(metric), display_name=metric)
    costs = [
        wr.ScatterPlot(title=f"quality against {said}", x=wr.SummaryMetric(key), y=wr.SummaryMetric(metric))
        for key, said in COSTS.items()
    ]
    shared = [wr.ParameterImportancePlot(with_respect_to=metric), wr.RunComparer(diff_only="split")]
    yield from _section("Sweep", [wr.ParallelCoordinatesPlot(columns=[*columns, figure]), *costs, *shared])


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes workspace.json, and saves the workspace where WANDB_MODE=online. Exit status 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m zelo.tracking.workspace", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run directory, or that of a sweep")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), help="WANDB_ENTITY")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "zelo"), help="WANDB_PROJECT, else zelo")
    given = parser.parse_args(arguments)
    try:
        print(_written(given.folder, given.entity, given.project))
    except BadInput as error:
        print(f"zelo: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _written(folder: Path, entity: str, project: str) -> str:
    shown = Shown.of(folder)
    try:
        workspace = build(shown, entity, project)
    except ModuleNotFoundError as error:
        raise BadInput(
            "A workspace needs wandb-workspaces, which is not installed: pip install 'zelo[wandb]'."
        ) from error
    path = folder / FILE
    whole_file.replace(path, workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n")
    if os.environ.get("WANDB_MODE") != "online":
        return f"{path}: the workspace, not saved in W&B; WANDB_MODE=online saves it"
    if not entity:
        raise BadInput("A workspace belongs to an entity: add --entity NAME, or set WANDB_ENTITY.")
    try:
        return f"{path}: the workspace, saved as {workspace.save().url}"
    except Exception as error:  # of wandb and of requests: no login, no network, no access
        raise BadInput(
            f"W&B did not save the workspace in {entity}/{project} ({outage.reason(error)}). Log in with `wandb login` or set"
            " WANDB_API_KEY, and name an entity and a project that this login may write to."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
