"""Runs Lightning. Imported without Lightning, so that a run that reuses everything never loads it."""

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.protocols import CallbackOfConfig
from zelo.training.hardware import Hardware

if TYPE_CHECKING:
    import pytorch_lightning as lightning
    from torch import Tensor

    from zelo.training.datamodule import DataModule
    from zelo.training.module import StudentModule
    from zelo.training.training_log import Report
    from zelo.training.validation import RankingValidation

LOG = "log.jsonl"  # among the checkpoints
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")


@dataclass(frozen=True)
class Trained:
    """What a training came to. The best of the trained weights are in the model; the untuned ones where it came to none."""

    curve: list[Facts]  # step, epoch, train_loss, dev, metric; the untuned model first, the last weights last
    resumed_at: int | None  # the step of the checkpoint that this attempt began with
    split_batches: int  # that did not fit in memory, since then
    diverged: str | None  # what became of the loss, when, and what to try
    weights: "dict[str, Tensor]" = field(
        default_factory=dict, repr=False
    )  # the best; of several processes the first has them

    @property
    def best(self) -> int:
        """The point of the curve whose weights are kept: the best after the untuned model's, or that if it is alone."""
        return max(range(1, len(self.curve)), key=lambda n: (self.curve[n]["dev"], -n), default=0)

    @property
    def dev(self) -> dict[float, float]:
        """What dev says of the untuned weights (0) and of the kept ones (1), if anything was trained."""
        kept = {1.0: self.curve[self.best]["dev"]} if self.best else {}
        return {0.0: self.curve[0]["dev"], **kept}

    def notes(self, name: str, share: float) -> list[str]:
        """What a reader should know, one line each: a training that broke off, or a student worse than it began.

        share: of the trained weights in those that the student has now.
        """
        values, best = [point["dev"] for point in self.curve], self.best
        mixed = f", with {1 - share:.0%} of the untuned ones," if share < 1 else ""
        kept = f"the weights of step {self.curve[best]['step']}{mixed} are kept"
        kept = kept if best and share else "the untuned model is kept"
        found = f"{self.curve[0]['metric']} {values[0]:.3f} untuned, {max(values):.3f} best, {values[-1]:.3f}"
        if self.diverged:
            return [f"{name}: {self.diverged} The best weights so far are kept: {kept} ({found} last)."]
        if values[-1] < values[0] and share in (0, 1):
            step = self.curve[-1]["step"]
            return [
                f"{name}: training made it worse: {found} at its end, step {step}; {kept}. A lower optimizer.lr or fewer"
                " trainer.epochs may help."
            ]
        if 0 < share < 1:
            return [
                f"{name}: {share:.0%} of the trained weights and {1 - share:.0%} of the untuned weights are best on dev."
            ]
        if not share and len(values) > 1:
            return [f"{name}: training made it no better ({found} at its end); {kept}."]
        return []


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How long and how precisely a student is trained; part of a result's identity, as the hardware is not."""

    epochs: int
    precision: str  # as Lightning names it
    gradient_clip: float  # norm
    validations_per_epoch: int
    mixtures: list[float]  # shares of the trained weights, the rest untuned, that dev chooses among; 0 and 1 are, too
    callbacks: dict[str, Any]  # by any name: one that zelo.training.callbacks has, one of Lightning, or null

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise BadInput(f"trainer.precision={self.precision}: choose one of {', '.join(PRECISIONS)}.")
        if self.epochs < 0:
            raise BadInput(f"trainer.epochs={self.epochs}: at least 0 (the untuned model).")
        if self.validations_per_epoch < 1:
            raise BadInput(
                f"trainer.validations_per_epoch={self.validations_per_epoch}: at least 1 picks the best weights."
            )
        if self.gradient_clip < 0:
            raise BadInput(f"trainer.gradient_clip={self.gradient_clip}: a norm, at least 0 (nothing is clipped).")
        if not all(0 < share < 1 for share in self.mixtures):
            raise BadInput(
                f"trainer.mixtures={list(self.mixtures)}: shares of the trained weights, between 0 and 1; [] for none."
            )
        for name, one in self.callbacks.items():
            if not (one is None or isinstance(one, CallbackOfConfig) or _of_lightning(one)):
                raise BadInput(
                    f"trainer.callbacks.{name}={one}: name a callback of Lightning by its _target_, or null."
                )

    def fit(
        self,
        module: "StudentModule",
        data: "DataModule",
        *,
        hardware: Hardware,
        report: "Report",
        checkpoints: Path,
    ) -> Trained:
        """Trains, or goes on from the checkpoint in the folder `checkpoints`; puts the best trained weights into `module.model`.

        report: gets what is logged of each step; all of it is in the folder's log.jsonl when the training has ended.

        A loss that is no number ends the training, not the run: the best weights so far stand. Raises ZeloError when the
        untuned model has no finite scores, BadInput when the checkpoint is damaged. Of several processes the first has the best
        weights, in what is returned alone.
        """
        with _quiet():
            from zelo.training.checkpoints import Checkpoints, path_in
            from zelo.training.module import Diverged
            from zelo.training.monitor import Monitor
            from zelo.training.validation import RankingValidation

            wanted = [one for one in self.callbacks.values() if one is not None]
            wanted = [one.callback() if isinstance(one, CallbackOfConfig) else one for one in wanted]
            kept = path_in(checkpoints, len(data.train_dataloader()))
            resume = kept.is_file() and any(isinstance(one, Checkpoints) for one in wanted)
            diverged = None
            monitor = Monitor(path=checkpoints / LOG, report=report, resumes=resume)
            ranking = RankingValidation(report=monitor.add)
            trainer = self._lightning(hardware, [monitor, ranking, *wanted], checkpoints)
            try:
                self._run(trainer, module, data, ranking, kept if resume else None)
            except Diverged as error:
                if not ranking.curve:
                    raise ZeloError(
                        f"{module.label}: the untuned model already gives scores that are no numbers."
                    ) from error
                diverged = str(error)
        if hardware.processes == 1:
            module.model.load_state_dict(ranking.best)
        return Trained(ranking.curve, monitor.resumed_at, module.pieces.split, diverged, ranking.best)

    def _lightning(
        self, hardware: Hardware, callbacks: "list[lightning.Callback]", folder: Path
    ) -> "lightning.Trainer":
        """Lightning's trainer in this process; torchrun or Ray Train has placed it where there are several."""
        import pytorch_lightning as lightning
        from pytorch_lightning.callbacks import Checkpoint, ProgressBar

        from zelo.training.checkpoints import SafeCheckpoints
        from zelo.training.monitor import Monitor
        from zelo.training.placement import placed

        devices, strategy, environment = placed(hardware)
        return lightning.Trainer(
            max_epochs=self.epochs,
            precision=self.precision,  # type: ignore[arg-type]
            gradient_clip_val=self.gradient_clip,
            val_check_interval=1 / self.validations_per_epoch,
            accelerator=hardware.accelerator,
            num_nodes=hardware.num_nodes,
            devices=devices,
            strategy=strategy,
            logger=[one.logger for one in callbacks if isinstance(one, Monitor)],
            callbacks=callbacks,
            log_every_n_steps=1,
            plugins=[SafeCheckpoints(), environment],
            num_sanity_val_steps=0,
            deterministic="warn",
            default_root_dir=folder,
            enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),
            enable_model_summary=False,
        )

    def _run(
        self,
        trainer: "lightning.Trainer",
        module: "StudentModule",
        data: "DataModule",
        ranking: "RankingValidation",
        kept: Path | None,
    ) -> None:
        """From the untuned model's point of the curve, or from the checkpoint `kept`, to the last step's."""
        with _interruptible():
            if kept is None:
                trainer.validate(module, data, verbose=False)
            if self.epochs:
                trainer.fit(module, data, ckpt_path=kept)
                if ranking.curve[-1]["step"] < trainer.global_step:  # no validation fell on the last step
                    trainer.validate(module, data, verbose=False)


def _of_lightning(one: object) -> bool:
    import pytorch_lightning as lightning

    return isinstance(one, lightning.Callback)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Keeps an interruption one.

    Lightning answers Ctrl-C by ignoring the signal from then on and leaving with status 1, and SIGTERM, where nobody else
    handles it, by leaving after the batch with no status, which the system reads as 0.
    """
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice about loggers and workers is not for our users; its errors still are."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\..*")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            warnings.filterwarnings("ignore", message=".*find_unused_parameters.*")
            yield
    finally:
        logger.setLevel(before)
