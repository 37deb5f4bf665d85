"""What is logged of each step of a training."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers.logger import DummyLogger
from torch.distributed.tensor import DTensor

from zelo.training.training_log import Lines, Report

LOSS, LR, NORM, PAIRS = "train/loss", "train/lr", "train/gradient_norm", "train/pairs_per_second"


class CallbackLogger(DummyLogger):
    """Takes what callbacks of Lightning log, such as LearningRateMonitor."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """A line of the log."""
        self.report(step or 0, metrics)


class Monitor(lightning.Callback):
    """Logs loss, learning rate, the gradient's norm before it is clipped, and query-document pairs a second.

    The rate is that of the first parameter group. Dev figures come from the validation by `add`. Of several processes the
    first logs; a training that goes on from a checkpoint logs the steps after it again.
    """

    def __init__(self, *, path: Path, report: Report, resumes: bool) -> None:
        self.lines, self.report, self.resumes, self.first = Lines(path), report, resumes, True
        self.metrics: dict[str, float] = {}
        self.logger = CallbackLogger(self.add)
        self.resumed_at: int | None = None  # step

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keeps a line, and passes it on."""
        if self.first:
            self.lines.add(step, metrics)
            self.report(step, metrics)

    def setup(self, trainer: lightning.Trainer, pl_module: object, stage: str) -> None:
        """A training that begins anew has no log."""
        self.first = trainer.is_global_zero
        if self.first and not self.resumes:
            self.lines.cut(-1)
            self.resumes = True

    def on_train_start(self, trainer: Any, pl_module: object) -> None:
        """Forgets what was logged after the checkpoint, and says where training goes on."""
        self.resumed_at = trainer.global_step or None
        if self.first and trainer.global_step:
            self.lines.cut(trainer.global_step)

    def on_train_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
        """The step begins."""
        self.start = time.perf_counter()

    def on_before_optimizer_step(self, trainer: object, pl_module: object, optimizer: Any) -> None:
        """Gradients are whole here, in each process, and neither scaled nor clipped."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self.metrics = {LR: float(optimizer.param_groups[0]["lr"]), NORM: float(norm)}

    def on_train_batch_end(self, trainer: Any, pl_module: object, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A line per step."""
        loss, pairs = float(outputs["loss"]), int(batch["mask"].sum())
        speed = {PAIRS: pairs / max(time.perf_counter() - self.start, 1e-9)}
        self.add(trainer.global_step, {"epoch": trainer.current_epoch, LOSS: loss, **self.metrics, **speed})
