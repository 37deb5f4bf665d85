"""Weights & Biases, through Lightning's own logger: offline unless WANDB_MODE says otherwise."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import METRIC
from zelo.reporting.evaluation import Evaluation
from zelo.tracking import redact
from zelo.tracking.job import Job

if TYPE_CHECKING:
    from pytorch_lightning.loggers.logger import Logger
    from wandb import Run

RUNS: "dict[str, Run]" = {}  # run directory -> the W&B run that all students of this process share


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """One W&B run per zelo run, its files in the run directory: choices and values, the students' curves, the final table.

    No text of a document and no key is sent, nor what W&B would collect by itself about code and command line, and about the
    machine only where `system_metrics` says so. WANDB_MODE, WANDB_DIR and WANDB_PROJECT count as W&B has it.
    """

    folder: str | None  # the run directory; filled in by the command
    project: str | None  # None: WANDB_PROJECT, else zelo
    entity: str | None
    group: str | None  # None: the sweep that the run is a job of
    tags: list[str]  # beside those of the choices, judge=embedded ...
    notes: str | None
    id: str | None  # of the W&B run; None: a new one, or the one that W&B's agent gives
    resume: str | None  # allow, must, never: what becomes of a run of this id
    system_metrics: bool  # processor, memory and GPU

    def lightning(self, name: str) -> "list[Logger]":
        """Lightning loggers for the student of that name; its metrics are called `<name>/...`."""
        from pytorch_lightning.loggers import WandbLogger

        logger = WandbLogger(experiment=self._run(), prefix=name, save_dir=self._folder())
        logger.LOGGER_JOIN_CHAR = "/"  # type: ignore[assignment]
        self._run().define_metric(f"{name}/*", step_metric=f"{name}/trainer/global_step")
        return [logger]

    def start(self, job: Job) -> None:
        """Opens the run. Raises BadInput when wandb is not installed, or cannot start a run."""
        self._run(job).config.update(job.config)

    def finish(self, figures: Evaluation | None, manifest: Facts) -> None:
        """Logs the final table, the verdicts and each system's deciding metric on dev and test, and closes the run.

        manifest: of the run directory, for pairs, calls, dollars and seconds. What W&B raises is told: the run is done.
        """
        try:
            run = self._run()
            if figures:
                import wandb

                names = METRIC.names
                rows = wandb.Table(columns=list(names), data=[[row[name] for name in names] for row in figures.rows])
                run.log({"metrics": rows})
                run.summary.update(figures.keyed)
                run.summary["verdicts"] = [verdict["text"] for verdict in figures.verdicts]
            run.summary.update({f"figures/{name}": value for name, value in manifest.get("compared", {}).items()})
            stages = manifest["stages"].items()
            run.summary.update({f"seconds/{name}": stage["seconds"] for name, stage in stages})
            run.summary.update({f"tables/{name}": stage["identity"] for name, stage in stages})
            offline, place = run.settings._offline, run.settings.sync_dir
            self._close(0)
        except Exception as error:
            RUNS.pop(self._folder(), None)
            reason = redact.text(" ".join(str(error).split())[:200])
            print(f"W&B did not take the results ({reason}); the run is whole.", file=sys.stderr)
            return
        if offline:
            print(f"W&B: the run is offline; wandb sync {place}")

    def fail(self) -> None:
        """Closes the run as failed."""
        if self._folder() in RUNS:
            self._close(1)

    def _folder(self) -> str:
        if self.folder is None:
            raise BadInput(
                "logger.folder is not set; the command sets it to the run directory, a notebook has to name one."
            )
        return self.folder

    def _run(self, job: Job | None = None) -> "Run":
        """The run, opened where it is not. job: None in a process that only trains."""
        folder = self._folder()
        if folder not in RUNS:
            try:
                import wandb
            except ModuleNotFoundError as error:
                raise BadInput("logger=wandb, but wandb is not installed: pip install 'zelo[wandb]'.") from error
            quiet = wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=not self.system_metrics,
                x_save_requirements=False,
            )
            try:
                RUNS[folder] = wandb.init(
                    project=self.project or os.environ.get("WANDB_PROJECT") or "zelo",
                    entity=self.entity,
                    group=self.group or (job and job.sweep),
                    job_type=job and job.pipeline,
                    tags=[*self.tags, *(job.tags if job else [])],
                    notes=self.notes,
                    id=self.id,
                    resume=self.resume,  # type: ignore[arg-type]
                    name=Path(folder).name,
                    dir=os.environ.get("WANDB_DIR") or folder,
                    mode=os.environ.get("WANDB_MODE") or "offline",  # type: ignore[arg-type]
                    reinit="create_new",  # nothing global: wandb.run stays as it was
                    settings=quiet,
                )
            except wandb.Error as error:  # no login, no network, no such entity
                reason = " ".join(str(error).split())[:200].rstrip(".")
                mode = os.environ.get("WANDB_MODE") or "offline"
                raise BadInput(
                    f"logger=wandb, WANDB_MODE={mode}: W&B cannot start a run ({reason}). Log in with `wandb login` or set"
                    " WANDB_API_KEY, or unset WANDB_MODE: the run is then kept offline, for wandb sync."
                ) from error
        return RUNS[folder]

    def _close(self, status: int) -> None:
        RUNS.pop(self._folder()).finish(exit_code=status)
