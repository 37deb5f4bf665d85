"""A stage that trains the toy in several processes, one of which may come to harm."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hydra
import torch
import toy_training as toys
import yaml
from safetensors.torch import save_file
from torch import Tensor

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.losses.matryoshka import Matryoshka
from zelo.places import config_folder
from zelo.training import launch, training_log
from zelo.training.hardware import Hardware

TWO: dict[str, Any] = toys.ONE | {"devices": 2}


@dataclass(frozen=True, kw_only=True)
class Toys:
    """A stage that trains the toy; process `at` does `deed` at the ninth loss."""

    inputs: dict[str, str]
    hardware: Hardware
    dropout: float
    deed: str | None
    at: int

    def train_part(self, tables: object, folder: Path, rank: int) -> None:
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        read: list[int] = []
        forward = toys.Toy.forward

        def reading(model: toys.Toy, batch: Mapping[str, Tensor]) -> Tensor:
            if torch.is_grad_enabled():
                read.extend(batch["queries"].tolist())
                if self.deed == "no room" and rank == self.at and batch["doc_rows"].numel() > 8:
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return forward(model, batch)

        toys.Toy.forward = reading  # type: ignore[method-assign]
        deed = {"kill": _kill, "refuse": _refuse, "break": _break, "hang": _hang}.get(self.deed or "")
        loss = toys.Breaking(9, deed) if deed and rank == self.at else None
        report = training_log.Lines(folder / launch.LOG).add
        _, trained = toys.train(
            folder.parent, loss, dropout=self.dropout, hardware=asdict(self.hardware), report=report
        )
        (folder / f"read-{rank}.json").write_text(json.dumps(read))
        if not rank:
            save_file(trained.weights, folder / "weights.safetensors")
            (folder / launch.TRAINED).write_text(json.dumps(asdict(replace(trained, weights={}))))


EPOCHS, BATCH = 13, 5  # four steps an epoch, the last of three queries: neither batch is the same for both processes


def losses() -> dict[str, Any]:
    """Every loss of conf/loss as it stands there."""
    found: dict[str, Any] = {}
    for path in sorted((config_folder() / "loss").glob("*.yaml")):
        node = yaml.safe_load(path.read_text())
        if "defaults" not in node:
            found[path.stem] = hydra.utils.instantiate(node)
    return found | {"matryoshka": Matryoshka(loss=found["listwise_kl"], widths=[3])}


def train_with_each(folder: Path, hardware: dict[str, Any], save: bool) -> None:
    """Trains the toy for 52 steps with each loss, and leaves its weights and the curve in `folder`."""
    for name, loss in losses().items():
        _, trained = toys.train(
            folder / name, loss, dropout=0.0, hardware=hardware, epochs=EPOCHS, batch=BATCH, validations_per_epoch=1
        )
        if save:
            save_file(trained.weights, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(trained.curve))


@dataclass(frozen=True, kw_only=True)
class EachLoss:
    """A stage that trains the toy with each loss."""

    inputs: dict[str, str]
    hardware: Hardware

    def train_part(self, tables: object, folder: Path, rank: int) -> None:
        train_with_each(folder, asdict(self.hardware), not rank)


def part(stage: Toys, folder: Path, rank: int, advance: object) -> Facts:
    """The work of a process that an executor starts."""
    stage.train_part({}, folder, rank)
    return {}


def _kill(loss: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return loss


def _refuse(loss: Tensor) -> Tensor:
    raise BadInput("loss=toy: not this one.")


def _break(loss: Tensor) -> Tensor:
    raise ValueError("a shape is wrong")


def _hang(loss: Tensor) -> Tensor:
    time.sleep(600)
    return loss
