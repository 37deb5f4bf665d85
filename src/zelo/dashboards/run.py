"""A workspace of one run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.dashboards import sections
from zelo.dashboards.shown import Shown

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


@dataclass(frozen=True, kw_only=True)
class RunDashboard:
    """Judges, ratings, training and evaluation. Each field is name -> title, of curves or of figures of the summary."""

    judging: dict[str, str]  # curves of a stage whose judges cost money
    ratings: dict[str, str]  # figures
    training: dict[str, str]  # curves of a student, beside its dev figure

    def build(self, shown: Shown, entity: str, project: str) -> "Workspace":
        """Of this run alone, by its name."""
        import wandb_workspaces.workspaces as ws

        found = [
            *sections.judges(shown, self.judging),
            *sections.ratings(shown, self.ratings),
            *sections.training(shown, self.training),
            *sections.evaluation(shown),
        ]
        runs = ws.RunsetSettings(filters=[ws.Metric("Name") == shown.name])
        return ws.Workspace(entity=entity, project=project, name=shown.title, sections=found, runset_settings=runs)
