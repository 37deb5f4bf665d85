"""Writes what is logged into the run directory, as JSON lines."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.facts import Facts
from zelo.tracking.job import InRunDirectory, Job

if TYPE_CHECKING:
    from zelo.pipeline.run import Result


@dataclass(frozen=True, kw_only=True)
class Local(InRunDirectory):
    """Appends to log.jsonl. The run's config and figures need no second home: they lie in files beside it."""

    def check(self) -> None:
        """Nothing is needed."""

    def start(self, job: Job) -> None:
        """The run begins."""

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """One line: student or stage, step, the metrics, and the time in seconds since 1970."""
        line = {"name": name, "step": step, **metrics, "time": round(time.time(), 3)}
        with (Path(self._folder) / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def finish(self, result: "Result", manifest: Facts) -> None:
        """The run has ended well."""

    def fail(self) -> None:
        """The run has failed or was interrupted."""
