"""The LightningModule of every student: a batch in, scores, a loss."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from zelo.errors import ZeloError
from zelo.protocols import Loss
from zelo.training.grad_cache import Pieces
from zelo.training.linear import Linear
from zelo.training.together import ALONE, Together
from zelo.training.validation import MONITOR

if TYPE_CHECKING:
    from zelo.training.datamodule import DataModule


class Diverged(ZeloError):
    """The loss or the scores are no numbers any more; the message says since when and what to try."""

    def __init__(self, what: str, step: int, lr: float) -> None:
        super().__init__(
            f"{what} at step {step}, so training was stopped there. Lower optimizer.lr (now {lr:g}), or set"
            " trainer.precision=32-true where it is not."
        )


class StudentModule(lightning.LightningModule):
    """Trains a model (protocols.Model) with a loss (protocols.Loss), in this process or in several together."""

    def __init__(
        self,
        *,
        model: Any,
        loss: Loss,
        optimizer: partial[torch.optim.Optimizer],
        scheduler: Linear | partial[LRScheduler],
        label: str,
        together: Together = ALONE,
        micro_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer, self.scheduler, self.label = model, loss, optimizer, scheduler, label
        self.pieces = Pieces(model, loss, together, micro_batch)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of a batch. Raises Diverged when it is not finite."""
        loss = self.pieces.loss(batch, partial(self._data.train.part, collate=self._data.collate))
        if not torch.isfinite(loss):
            raise self.diverged(f"The training loss became {loss.item()}")
        return loss

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        """In pieces where the batch does not fit in memory."""
        self.pieces.backward(loss, self.trainer.precision_plugin.train_step_context)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """[B, D] scores, for the callback that measures the ranking. Raises Diverged when one is not finite."""
        scores = self.pieces.score(batch, partial(self._data.dev.part, collate=self._data.collate))
        if not torch.isfinite(scores[batch["mask"]]).all():
            raise self.diverged("A score of a dev query became no finite number")
        return scores

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning does it; of a fused optimizer, too, where gradients are not scaled, as with bf16-mixed."""
        precision = self.trainer.precision_plugin
        if isinstance(precision, MixedPrecision) and precision.scaler is None:
            Precision.clip_gradients(precision, optimizer, gradient_clip_val or 0.0, GradClipAlgorithmType.NORM)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @property
    def _data(self) -> "DataModule":
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def diverged(self, what: str) -> Diverged:
        """What to raise, with the step and the learning rate."""
        return Diverged(what, self.global_step, self.optimizer.keywords["lr"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The model says which of its parameters learn, and how fast against the optimizer's rate."""
        groups = self.model.parameter_groups(self.optimizer.keywords["lr"])
        optimizer = self.optimizer(groups)
        if isinstance(self.scheduler, Linear):
            made = self.scheduler.make(optimizer, int(self.trainer.estimated_stepping_batches))
        else:
            made = self.scheduler(optimizer)
        if isinstance(made, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "monitor": MONITOR}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "step"}}
