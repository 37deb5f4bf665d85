"""Several loggers at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.tracking.job import Job, RunLogger

if TYPE_CHECKING:
    from zelo.pipeline.run import Result


@dataclass(frozen=True, kw_only=True)
class Several:
    """Each gets everything. logger=[wandb,csv] names them; logger.loggers.wandb.project=... sets a value of one."""

    loggers: dict[str, RunLogger]

    def check(self) -> None:
        """Raises BadInput where there is none, and for what one of them is missing."""
        if not self.loggers:
            raise BadInput("logger=several names no logger; write logger=[wandb,csv].")
        for logger in self.loggers.values():
            logger.check()

    def start(self, job: Job) -> None:
        """The run begins. Raises BadInput where one of them cannot log it."""
        for logger in self.loggers.values():
            logger.start(job)

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Of a student or a stage."""
        for logger in self.loggers.values():
            logger.log(name, step, metrics)

    def finish(self, result: "Result", manifest: Facts) -> None:
        """The run has ended well."""
        for logger in self.loggers.values():
            logger.finish(result, manifest)

    def fail(self) -> None:
        """The run has failed or was interrupted."""
        for logger in self.loggers.values():
            logger.fail()
