"""Runs Lightning. Imported without Lightning, so that a run that reuses everything never loads it."""

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zelo.errors import BadInput
from zelo.training.hardware import Hardware

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How long and how precisely a student is trained; part of a result's identity, as the hardware is not."""

    epochs: int
    precision: str  # as Lightning names it
    gradient_clip: float  # norm
    validations_per_epoch: int
    patience: int | None  # validations without a gain before the training stops

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
        if self.patience is not None and self.patience < 1:
            raise BadInput(f"trainer.patience={self.patience}: at least 1 validation, or null to train all epochs.")

    def fit(
        self, module: Any, data: Any, *, hardware: Hardware, loggers: list[Any], label: str
    ) -> list[dict[str, Any]]:
        """Trains, puts the best weights back into `module.model` and returns the curve: the untuned model first."""
        with _quiet():
            import pytorch_lightning as lightning

            from zelo.training.ranking import Bar, RankingValidation

            ranking = RankingValidation(patience=self.patience)
            trainer = lightning.Trainer(
                max_epochs=self.epochs,
                precision=self.precision,  # type: ignore[arg-type]
                gradient_clip_val=self.gradient_clip,
                val_check_interval=1 / self.validations_per_epoch,
                accelerator=hardware.accelerator,
                devices=hardware.devices,
                logger=loggers,
                callbacks=[ranking, Bar(label=label)],
                num_sanity_val_steps=0,
                deterministic="warn",
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=1,
            )
            with _interruptible():
                trainer.validate(module, data, verbose=False)
                if self.epochs:
                    trainer.fit(module, data)
        module.model.load_state_dict(ranking.best)
        return ranking.curve


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C by ignoring the signal from then on and leaving with status 1; here it stays an interruption."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        yield
    logger.setLevel(before)
