"""The LightningModule of every student: a batch in, scores, a loss, a log line."""

from functools import partial
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor

from zelo.errors import ZeloError
from zelo.training.linear import Linear


class Student(lightning.LightningModule):
    """Trains a model (protocols.Model) with a loss (protocols.Loss)."""

    def __init__(self, *, model: Any, loss: Any, optimizer: partial[Any], scheduler: Linear) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer, self.scheduler = model, loss, optimizer, scheduler

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of a batch. Raises ZeloError when it is not finite."""
        loss = self.loss(self.model(batch), batch["targets"], batch["weights"], batch["mask"])
        if not torch.isfinite(loss):
            raise ZeloError(
                f"The training loss became {loss.item()} at step {self.global_step}. Lower optimizer.lr"
                f" (now {self.optimizer.keywords['lr']}) or set trainer.precision=32-true."
            )
        self.log("train/loss", loss, batch_size=len(batch["targets"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """[B, D] scores, for the callback that measures the ranking."""
        return self.model(batch)

    def configure_optimizers(self) -> Any:
        """The model says which of its parameters learn, and how fast against the optimizer's rate."""
        groups = self.model.parameter_groups(self.optimizer.keywords["lr"])
        optimizer = self.optimizer(groups)
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler.make(optimizer, steps), "interval": "step"},
        }
