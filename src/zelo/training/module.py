"""The LightningModule of every student: a batch in, scores, a loss."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.overrides.distributed import prepare_for_backward
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from zelo.errors import ZeloError
from zelo.protocols import Loss
from zelo.training.grad_cache import Pieces
from zelo.training.linear import Linear
from zelo.training.share import Share
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
    """Trains a model (protocols.Model) with a loss (protocols.Loss), in one process or in several by Lightning's strategies."""

    def __init__(
        self,
        *,
        model: Any,
        loss: Loss,
        optimizer: partial[torch.optim.Optimizer],
        scheduler: Linear | partial[LRScheduler],
        label: str,
        micro_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer, self.scheduler, self.label = model, loss, optimizer, scheduler, label
        self.pieces = Pieces(model, loss, micro_batch)

    def setup(self, stage: str) -> None:
        """Lightning has placed this process among the others."""
        share = Share(self.trainer.global_rank, self.trainer.world_size)
        sharded = isinstance(self.trainer.strategy, ModelParallelStrategy)
        self.pieces.place(share, self.all_gather, self._average_from, sharded=sharded)  # type: ignore[arg-type]

    def configure_model(self) -> None:
        """Spreads the weights over the processes where the strategy asks for it."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from zelo.training.sharded import spread

            spread(self.model, self.trainer.strategy.device_mesh["data_parallel"])

    def on_train_start(self) -> None:
        """From here on each process draws random numbers of its own, such as those of dropout; until here all drew the same."""
        if self.trainer.world_size > 1:
            torch.manual_seed(self._data.seed + self.trainer.global_rank)

    def _average_from(self, output: Tensor) -> None:
        """The backward pass of `output` averages gradients over processes, as DDP does; those before it did not."""
        if isinstance(wrapped := self.trainer.strategy.model, DistributedDataParallel):
            wrapped.require_backward_grad_sync = True
            prepare_for_backward(wrapped, output)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of a batch. Raises Diverged when it is not finite."""
        if isinstance(wrapped := self.trainer.strategy.model, DistributedDataParallel):
            wrapped.require_backward_grad_sync = False  # until the last piece's backward pass
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
        precision = self.trainer.precision_plugin
        scaled = isinstance(precision, MixedPrecision) and precision.scaler is not None  # as with 16-mixed
        unfused = {"fused": False} if scaled and "fused" in self.optimizer.keywords else {}
        optimizer = self.optimizer(groups, **unfused)  # a fused one takes the scale away too late to be clipped
        if isinstance(self.scheduler, Linear):
            made = self.scheduler.make(optimizer, int(self.trainer.estimated_stepping_batches))
        else:
            made = self.scheduler(optimizer)
        if isinstance(made, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "monitor": MONITOR}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "step"}}
