"""A training that was killed goes on where it was: its whole state, kept from time to time in one file.

The file is safetensors; what is not a tensor stands as JSON in its header. Nothing in it is code, and reading it runs none.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zelo.errors import BadInput

STATE = "state"
TENSOR, TUPLE, DICT = "tensor", "tuple", "dict"


class SafeCheckpoints(CheckpointIO):
    """How Lightning writes and reads a checkpoint here: one file, whole or absent."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Replaces the file at once. Raises TypeError for what is neither tensors nor plain values."""
        tensors: dict[tuple[object, ...], Tensor] = {}
        state = json.dumps(_plain(checkpoint, tensors))
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        save_file({str(number): tensor for number, tensor in enumerate(tensors.values())}, half, {STATE: state})
        with half.open("rb") as file:
            os.fsync(file.fileno())
        half.replace(path)

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What was saved, tensors on the CPU. Raises BadInput when the file is damaged."""
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                return _restored(json.loads(file.metadata()[STATE]), tensors)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"The checkpoint {path} is damaged ({error}). Delete it: training begins again.") from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Deletes the file."""
        Path(path).unlink(missing_ok=True)


def _plain(value: Any, tensors: dict[tuple[object, ...], Tensor]) -> Any:
    """JSON-ready, each tensor replaced by its number; tensors that are one in memory (tied weights) stay one."""
    if isinstance(value, Tensor):
        name = (value.data_ptr() or id(value), value.dtype, value.shape, value.stride())
        if name not in tensors:
            tensor = value.detach().cpu().contiguous()
            whole = tensor.untyped_storage().nbytes() == tensor.nbytes
            tensors[name] = tensor if whole else tensor.clone()
        return {TENSOR: list(tensors).index(name)}
    if isinstance(value, dict):
        return {DICT: [[_plain(key, tensors), _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {TUPLE: [_plain(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept in a checkpoint: tensors and plain values only.")


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == TENSOR:
        return tensors[str(inner)]
    if kind == TUPLE:
        return tuple(_restored(item, tensors) for item in inner)
    return {_restored(key, tensors): _restored(item, tensors) for key, item in inner}


def path_in(folder: Path, batches: int) -> Path:
    """The file that a training of so many batches an epoch is kept in."""
    return folder / f"batches-{batches}.safetensors"


class Checkpoints(Checkpoint):
    """Keeps the state every so many minutes, after a step or, where that is validated, after the validation.

    Lightning's ModelCheckpoint keeps no random state, and saves a validated step before its validation.

    The random state of each process is kept too, and put back just before the next batch; another number of processes goes on
    with those that there are.
    """

    def __init__(self, *, minutes: float) -> None:
        self.minutes = minutes
        self.module: lightning.LightningModule | None = None
        self.random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, object]:
        """The random state of torch, in each process, and of Python."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else torch.empty(0, dtype=torch.uint8)
        states = [self._of_each(state) for state in (torch.get_rng_state(), cuda)]
        return {"torch": states[0], "cuda": states[1], "python": random.getstate()}

    def _of_each(self, state: Tensor) -> list[Tensor]:
        assert self.module is not None
        found: Any = self.module.all_gather(state.to(self.module.device))
        return list((found if self.module.trainer.world_size > 1 else found[None]).cpu())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers it until training begins."""
        self.random = state_dict

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The first checkpoint is due after the given minutes."""
        self.last, self.module = time.monotonic(), pl_module

    def on_train_batch_start(self, trainer: object, pl_module: object, batch: object, batch_idx: int) -> None:
        """Puts the random state back, once."""
        if self.random:
            assert self.module is not None
            mine = self.module.global_rank % len(self.random["torch"])
            torch.set_rng_state(self.random["torch"][mine])
            random.setstate(self.random["python"])
            if torch.cuda.is_available() and len(self.random["cuda"][mine]):
                torch.cuda.set_rng_state(self.random["cuda"][mine])
            self.random = None

    def on_train_batch_end(
        self, trainer: Any, pl_module: object, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Saves where no validation follows: Lightning would take one that follows a saved step for done.

        Nor after the last step of an epoch that no validation ends.
        """
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.val_check_batch:
            self._save(trainer, batch_idx)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: object) -> None:
        """Saves where a step was validated; not when the training is about to stop."""
        if trainer.state.fn == "fit" and not trainer.should_stop:
            self._save(trainer, trainer.fit_loop.epoch_loop.batch_idx)

    def _save(self, trainer: lightning.Trainer, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return  # gradients are not part of the state
        due = time.monotonic() - self.last >= 60 * self.minutes
        if trainer.strategy.reduce_boolean_decision(due, all=False):  # all processes or none
            trainer.save_checkpoint(path_in(Path(trainer.default_root_dir), int(trainer.num_training_batches)))
            self.last = time.monotonic()
