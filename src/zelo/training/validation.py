"""Validation on dev, and the best weights."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from zelo.facts import Facts
from zelo.progress import progress
from zelo.protocols import Model
from zelo.training.training_log import Report

MONITOR = "dev"  # what Lightning's callbacks find the metric of the dev examples by; larger is better


class RankingValidation(lightning.Callback):
    """Keeps the trained weights with the best dev metric of the examples, until there are any the untuned ones: the first point.

    Lightning's callbacks find the metric as MONITOR. All of it is part of a checkpoint. Each process sees the scores of all; the
    first one keeps the weights.
    """

    def __init__(self, *, report: Report) -> None:
        """report: gets the dev metric of each validation."""
        self.report = report
        self.curve: list[Facts] = []
        self.best: dict[str, Tensor] = {}
        self.best_value = -1.0  # below every value
        self.losses: list[float] = []
        self.values: list[np.ndarray] = []

    def state_dict(self) -> dict[str, object]:
        """The curve, the best weights, and the losses since the last point."""
        return {"curve": self.curve, "best": self.best, "best_value": self.best_value, "losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self.curve, self.best = state_dict["curve"], state_dict["best"]
        self.best_value, self.losses = state_dict["best_value"], state_dict["losses"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: object, outputs: Any, batch: object, batch_idx: int
    ) -> None:
        """Collects the losses between two validations."""
        self.losses.append(float(outputs["loss"]))

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """What each dev row of the batch tells: scores, targets and mask are of the whole batch in every process."""
        targets, mask = batch["targets"].float().cpu().numpy(), batch["mask"].cpu().numpy()
        self.values.append(trainer.datamodule.dev.values(outputs.float().cpu().numpy(), targets, mask))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """One point of the curve; a better one keeps its weights."""
        dev = trainer.datamodule.dev
        value = dev.measure(np.concatenate(self.values)) if self.values else float("nan")
        loss = float(np.mean(self.losses)) if self.losses else None
        self.values, self.losses = [], []
        self.curve.append(
            {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "train_loss": loss,
                "dev": value,
                "metric": dev.metric,
            }
        )
        self.report(trainer.global_step, {"epoch": trainer.current_epoch, dev.metric: value})
        first = len(self.curve) == 2  # of the trained ones, among which the best is looked for
        if first or value > self.best_value:
            self.best_value = value
            best = {name: _whole(weight) for name, weight in pl_module.model.state_dict().items()}
            self.best = best if trainer.is_global_zero else {}
        pl_module.log(MONITOR, value, logger=False)


def _whole(weight: Tensor) -> Tensor:
    """A copy on the CPU, brought together from all processes where they have parts of it."""
    weight = weight.detach()
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).cpu().clone()


class Bar(lightning.Callback):
    """The progress of training in steps."""

    def __init__(self) -> None:
        self.shown = ExitStack()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Opens the bar."""
        if not trainer.is_global_zero:
            return
        bar = progress(pl_module.label, int(trainer.estimated_stepping_batches), "steps")
        self.advance = self.shown.enter_context(bar)
        self.seen = 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: object, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Moves the bar by the optimizer's steps."""
        if trainer.is_global_zero:
            self.advance(trainer.global_step - self.seen)
            self.seen = trainer.global_step

    def on_train_end(self, trainer: object, pl_module: object) -> None:
        """Closes the bar."""
        self.shown.close()

    def on_exception(self, trainer: object, pl_module: object, exception: BaseException) -> None:
        """Closes the bar, so that what is said next stands below it."""
        self.shown.close()


def scale_to_targets(model: Model, batches: Iterable[dict[str, Tensor]]) -> float:
    """Half of the mean within-query standard deviation of the untuned scores: the temperature of a model that names none."""
    deviations = []
    with torch.no_grad():
        for batch in batches:
            scores = torch.where(batch["mask"], model(batch), torch.nan)
            deviations.append(np.nanstd(scores.float().numpy(), axis=1))
    return float(np.concatenate(deviations).mean()) / 2
