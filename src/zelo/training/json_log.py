"""What the first of several processes logs, as JSON lines that the one who started it passes on."""

import json
from pathlib import Path

from pytorch_lightning.loggers.logger import Logger


class JsonLog(Logger):
    """One line per logged step: the step and the metrics."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """None of its own."""
        return ""

    @property
    def version(self) -> str:
        """None of its own."""
        return ""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "metrics": metrics}) + "\n")

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Nothing: the run directory has the whole config."""
