"""A job as a trial of a search: its student's dev figures go into the search's journal, and a pruner of Optuna may end it.

The job may run in another process: it opens the journal by its path, and finds the trial by its number.
"""

import contextlib
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.metrics.agreement import PREFIX
from zelo.pipeline.instantiate import PRUNER, build
from zelo.pipeline.run import Result, Step
from zelo.protocols import Logger
from zelo.records import DEV
from zelo.reporting import lineage
from zelo.stages.evaluate import Evaluate
from zelo.stages.train import Train
from zelo.store.store import Store

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import JournalStorage
    from optuna.trial import Trial

JOURNAL, STUDY = "optuna.journal", "zelo"  # the file in the search's folder, and the one study of it
STEPS = "steps"  # what the journal notes of a trial: the optimizer's step of each validation, in order
FIGURE = f"{PREFIX}/{DEV}/"  # how the name of a student's dev figure begins, in what its training logs
PLACE = "hydra.sweeper.pruner"


class Pruned(ZeloError):
    """A pruner ends a trial."""

    def __init__(self, facts: Facts) -> None:
        """facts: student, epoch, validation (0: of the untuned model), metric, value."""
        super().__init__(
            f"{facts['student']} at validation {facts['validation']}, epoch {facts['epoch']}:"
            f" {facts['metric']} {facts['value']:.3f}"
        )
        self.facts = facts


@dataclass(frozen=True)
class Watched:
    """A logger that also reports the dev figures of one student to the trial. Raises Pruned where the pruner says so."""

    logger: Logger
    student: str
    pruner: "BasePruner"
    journal: Path
    number: int  # of the trial

    def check(self) -> None:
        """Of the logger."""
        self.logger.check()

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Passes it on, then reports."""
        self.logger.log(name, step, metrics)
        for metric, value in metrics.items():
            if name == self.student and metric.startswith(FIGURE):
                self._report(step, int(metrics["epoch"]), metric, float(value))

    def _report(self, step: int, epoch: int, metric: str, value: float) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")  # of what is experimental there
            trial = self._trial
            steps = list(trial.user_attrs.get(STEPS, ()))
            if step not in steps:  # else a trial that was interrupted is run again
                trial.report(value, len(steps))
                steps.append(step)
                trial.set_user_attr(STEPS, steps)
            if trial.should_prune():
                facts = {"student": self.student, "epoch": epoch, "validation": steps.index(step)}
                raise Pruned(facts | {"metric": metric, "value": value})

    @cached_property
    def _trial(self) -> "Trial":
        import optuna
        from optuna.samplers import RandomSampler

        storage = storage_of(self.journal)
        study = optuna.load_study(
            study_name=STUDY, storage=storage, sampler=RandomSampler(), pruner=self.pruner
        )  # the sampler draws nothing: the values are in the journal
        of_study = storage.get_study_id_from_name(STUDY)
        return optuna.trial.Trial(study, storage.get_trial_id_from_study_id_trial_number(of_study, self.number))


def storage_of(journal: Path) -> "JournalStorage":
    """The trials of a search."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(journal)))


def pruner_of(config: object) -> "BasePruner":
    """The pruner that a config describes. Raises BadInput where it is none."""
    import optuna.pruners

    node: Any = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    target = str(node.get("_target_")) if isinstance(node, Mapping) else ""
    if not PRUNER.fullmatch(target) or target.rpartition(".")[2] not in optuna.pruners.__all__:
        given = f"._target_={target}" if target else f"={node}"
        raise BadInput(
            f"{PLACE}{given}: this is no pruner of Optuna. Write hydra/sweeper/pruner=median, or name one as in"
            f" '{PLACE}={{_target_: optuna.pruners.ThresholdPruner, lower: 0.3}}'."
        )
    return build(node, PLACE)


def student_of(steps: Sequence[Step], optimize: str | None) -> str:
    """The student whose dev figures end a trial: the last trained one that the optimized system is made of.

    Where nothing is evaluated, the last one. Raises BadInput where no student is trained for the objective.
    """
    names = [step.name for step in steps]
    evaluated = [step for step in steps if isinstance(step.stage, Evaluate) and step.stage.students]
    if evaluated:
        source = evaluated[-1].inputs.get(optimize or "")
        names = [source, *lineage.above(Result(list(steps)), source)] if source else []
    trained = [step.stage.name for step in steps if isinstance(step.stage, Train) and step.name in names]
    if not trained:
        cause = f"no student is trained for optimize={optimize}" if evaluated else "these jobs train no student"
        raise BadInput(
            f"{PLACE}: {cause}, so there is nothing to prune. Set {PLACE}=null, or let the jobs train what is optimized."
        )
    return trained[-1]


def watched(steps: Sequence[Step], watch: Watched) -> list[Step]:
    """The steps, the student's training reporting to the trial."""
    return [
        replace(step, stage=replace(step.stage, logger=replace(watch, logger=step.stage.logger)))
        if isinstance(step.stage, Train) and step.stage.name == watch.student
        else step
        for step in steps
    ]


def discard(result: Result, student: str, store: Store) -> None:
    """Removes what a pruned training has left unfinished, unless another job makes the same table by now."""
    for step in result.steps:
        if isinstance(step.stage, Train) and step.stage.name == student and step.name not in result.tables:
            with contextlib.suppress(BlockingIOError), store.lock(step.kind, step.identity, wait=False):
                shutil.rmtree(store.unfinished(step.kind, step.identity), ignore_errors=True)
