"""Callbacks that a config names; they become Lightning's when a training begins, so that no other run loads it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from zelo.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as lightning


@dataclass(frozen=True, kw_only=True)
class CheckpointByTime:
    """Keeps the whole state of a training from time to time, so that a killed one goes on from there."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"minutes"})

    minutes: float  # between two; 0: after each step

    def __post_init__(self) -> None:
        if self.minutes < 0:
            raise BadInput(f"trainer.callbacks.checkpoint.minutes={self.minutes}: at least 0 (after each step).")

    def callback(self) -> "lightning.Callback":
        """As Lightning runs it."""
        from zelo.training.checkpoints import Checkpoints

        return Checkpoints(minutes=self.minutes)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a training in steps."""

    def callback(self) -> "lightning.Callback":
        """As Lightning runs it."""
        from zelo.training.validation import Bar

        return Bar()
