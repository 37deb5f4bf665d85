"""Writes what students log into the run directory, as JSON lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.reporting.evaluation import Evaluation
from zelo.tracking.job import Job

if TYPE_CHECKING:
    from pytorch_lightning.loggers.logger import Logger


@dataclass(frozen=True, kw_only=True)
class Local:
    """Appends to log.jsonl. The run's config and figures need no second home: they lie in files beside it."""

    folder: str | None  # the run directory; filled in by the command

    def lightning(self, name: str) -> "list[Logger]":
        """Lightning loggers for the student of that name."""
        from zelo.tracking.json_lines import JsonLines

        if self.folder is None:
            raise BadInput(
                "logger.folder is not set; the command sets it to the run directory, a notebook has to name one."
            )
        return [JsonLines(Path(self.folder) / "log.jsonl", name)]

    def start(self, job: Job) -> None:
        """The run begins."""

    def finish(self, figures: Evaluation | None, manifest: Facts) -> None:
        """The run has ended well."""

    def fail(self) -> None:
        """The run has failed or was interrupted."""
