"""What there is to show of a run, or of a sweep, and what a dashboard makes of it."""

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.run_directory import RunDirectory
from zelo.store.references import FINISHED
from zelo.store.table import MANIFEST

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


@dataclass(frozen=True)
class Shown:
    """A run; or a sweep: one of its finished jobs, and what was varied."""

    name: str
    run: RunDirectory
    varied: list[str]  # keys of the config
    group: str | None  # what W&B calls the sweep

    @staticmethod
    def of_run(folder: Path) -> "Shown":
        """Of a run directory. Raises BadInput where there is no run."""
        return Shown(folder.name, RunDirectory(folder), [], None)

    @staticmethod
    def of_sweep(folder: Path, group: str) -> "Shown":
        """Of the folder of a sweep. Raises BadInput where no job has finished."""
        jobs = [RunDirectory(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
        done = [job for job in jobs if job.manifest["status"] == FINISHED]
        if not done:
            raise BadInput(f"{folder} has no finished job: there is nothing to show yet.")
        values: dict[str, set[str]] = {}
        for job in done:
            written = yaml.safe_load((job.folder / "overrides.yaml").read_text(encoding="utf-8"))
            for key, _, value in (str(one).lstrip("+~").partition("=") for one in written):
                values.setdefault(key, set()).add(value)
        return Shown(group, done[0], [key for key, found in values.items() if len(found) > 1], group)

    @property
    def title(self) -> str:
        """The name of the workspace, without symbols such as =, which W&B does not take there."""
        return "zelo " + "".join("-" if unicodedata.category(char)[0] == "S" else char for char in self.name)

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


class Dashboard(Protocol):
    """A W&B workspace as code."""

    def build(self, shown: Shown, entity: str, project: str) -> "Workspace":
        """The workspace; nothing is asked of a server."""
        ...
