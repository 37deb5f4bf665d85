"""A Lightning logger that appends JSON lines."""

import json
import time
from pathlib import Path

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class JsonLines(Logger):
    """One line per logged step: student, step, time in seconds since 1970, and the metrics."""

    def __init__(self, path: Path, student: str) -> None:
        super().__init__()
        self.path, self.student = path, student

    @property
    def name(self) -> str:
        """The student."""
        return self.student

    @property
    def version(self) -> str:
        """None of its own: the run directory tells runs apart."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a line."""
        line = {"student": self.student, "step": step, **metrics, "time": round(time.time(), 3)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Nothing: the run directory has the whole config."""
