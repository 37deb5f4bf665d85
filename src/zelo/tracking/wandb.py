"""Weights & Biases, through Lightning's own logger: offline unless WANDB_MODE says otherwise."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import METRIC
from zelo.reporting.evaluation import Evaluation

if TYPE_CHECKING:
    from pytorch_lightning.loggers.logger import Logger
    from wandb import Run

RUNS: "dict[str, Run]" = {}  # run directory -> the W&B run that all students of this process share


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """One W&B run per zelo run, its files in the run directory: the composed config, the students' metrics, the final table.

    No text of a document and no key is sent, nor what W&B would collect by itself about machine, code and command line.
    """

    folder: str | None  # the run directory; filled in by the command
    project: str
    entity: str | None
    group: str | None
    tags: list[str]

    def lightning(self, name: str) -> "list[Logger]":
        """Lightning loggers for the student of that name; its metrics are called `<name>/...`."""
        from pytorch_lightning.loggers import WandbLogger

        logger = WandbLogger(experiment=self._run(), prefix=name, save_dir=self._folder())
        logger.LOGGER_JOIN_CHAR = "/"  # type: ignore[assignment]
        return [logger]

    def start(self, config: Facts) -> None:
        """Opens the run. config: composed, without secrets. Raises BadInput when wandb is not installed."""
        self._run().config.update(config)

    def finish(self, figures: Evaluation | None) -> None:
        """Logs the final table, the verdicts and each system's deciding metric on dev and test, and closes the run."""
        run = self._run()
        if figures:
            import wandb

            names = METRIC.names
            rows = wandb.Table(columns=list(names), data=[[row[name] for name in names] for row in figures.rows])
            run.log({"metrics": rows})
            run.summary.update(figures.keyed)
            run.summary["verdicts"] = [verdict["text"] for verdict in figures.verdicts]
        self._close(0)

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

    def _run(self) -> "Run":
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
                x_save_requirements=False,
            )
            try:
                RUNS[folder] = wandb.init(
                    project=self.project,
                    entity=self.entity,
                    group=self.group,
                    tags=self.tags,
                    name=Path(folder).name,
                    dir=folder,
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
