"""A workspace of a sweep."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.dashboards import sections
from zelo.dashboards.shown import Shown

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace


@dataclass(frozen=True, kw_only=True)
class SweepDashboard:
    """What was varied against the dev figure, that figure against what it costs, and the jobs' trainings and evaluations."""

    costs: dict[str, str]  # figures of the summary that quality is drawn against, name -> title
    training: dict[str, str]  # curves of a student, beside its dev figure, name -> title

    def build(self, shown: Shown, entity: str, project: str) -> "Workspace":
        """Of the runs of its group."""
        import wandb_workspaces.workspaces as ws

        found = [
            *self._comparison(shown),
            *sections.training(shown, self.training),
            *sections.evaluation(shown),
        ]
        runs = ws.RunsetSettings(filters=[ws.Metric("Group") == shown.group])
        return ws.Workspace(entity=entity, project=project, name=shown.title, sections=found, runset_settings=runs)

    def _comparison(self, shown: Shown) -> "Iterator[Section]":
        import wandb_workspaces.reports.v2 as wr
        from wandb_workspaces.reports.v2.interface import ParallelCoordinatesPlotColumn

        metric = shown.deciding
        if metric is None:
            return
        columns = [
            ParallelCoordinatesPlotColumn(metric=wr.Config(key.replace(".", "/")), display_name=key)
            for key in shown.varied
        ]
        figure = ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(metric), display_name=metric)
        costs = [
            wr.ScatterPlot(
                title=f"quality against {said}", x=wr.SummaryMetric(f"figures/{key}"), y=wr.SummaryMetric(metric)
            )
            for key, said in self.costs.items()
        ]
        shared = [wr.ParameterImportancePlot(with_respect_to=metric), wr.RunComparer(diff_only="split")]
        yield from sections.section("Sweep", [wr.ParallelCoordinatesPlot(columns=[*columns, figure]), *costs, *shared])
