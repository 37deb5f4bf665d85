"""Curves of trainings that a run reuses: a logger gets them as if they were trained now."""

from typing import TYPE_CHECKING

from zelo.protocols import Logger, TrainingStage
from zelo.reporting import lineage
from zelo.training import training_log

if TYPE_CHECKING:
    from zelo.pipeline.run import Result


def replay(result: "Result", name: str, logger: Logger) -> None:
    """Logs what the stage of that name logged when it trained; nothing of a stage that has trained in this run, or never does."""
    stage = lineage.step_of(result, name).stage
    if isinstance(stage, TrainingStage) and result.facts[name]["status"] == "cached":
        for step, metrics in training_log.read(result.tables[name]):
            logger.log(stage.name, step, metrics)
