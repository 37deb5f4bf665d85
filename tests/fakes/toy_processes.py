"""A stage that trains the toy in several processes, one of which may come to harm."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import toy_training as toys
from safetensors.torch import save_file
from torch import Tensor

from zelo.errors import BadInput
from zelo.training import ranks
from zelo.training.hardware import Hardware
from zelo.training.together import Together

TWO: dict[str, Any] = toys.ONE | {"devices": 2}


@dataclass(frozen=True, kw_only=True)
class Toys:
    """A stage that trains the toy; process `at` does `deed` at the ninth loss."""

    inputs: dict[str, str]
    hardware: Hardware
    dropout: float
    deed: str | None
    at: int

    def train_part(self, tables: object, folder: Path, together: Together) -> None:
        (folder / f"pid-{together.rank}").write_text(str(os.getpid()))
        read: list[int] = []
        forward = toys.Toy.forward

        def reading(model: toys.Toy, batch: Mapping[str, Tensor]) -> Tensor:
            if torch.is_grad_enabled():
                read.extend(batch["queries"].tolist())
                if self.deed == "no room" and together.rank == self.at and batch["doc_rows"].numel() > 8:
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return forward(model, batch)

        toys.Toy.forward = reading  # type: ignore[method-assign]
        deed = {"kill": _kill, "refuse": _refuse, "break": _break, "hang": _hang}.get(self.deed or "")
        loss = toys.Breaking(9, deed) if deed and together.rank == self.at else None
        _, trained = toys.train(
            folder.parent, loss, dropout=self.dropout, hardware=asdict(self.hardware), together=together
        )
        (folder / f"read-{together.rank}.json").write_text(json.dumps(read))
        if together.first:
            save_file(trained.weights, folder / "weights.safetensors")
            (folder / ranks.TRAINED).write_text(json.dumps(asdict(replace(trained, weights={}))))


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
