"""The least model that can be trained, and a training of it that takes no time."""

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zelo.losses.listwise_kl import ListwiseKL
from zelo.store.shards import CHECKPOINT
from zelo.store.store import Store
from zelo.training.callbacks import CheckpointByTime
from zelo.training.datamodule import DataModule
from zelo.training.hardware import Hardware
from zelo.training.linear import Linear
from zelo.training.listwise_dataset import Lists
from zelo.training.module import StudentModule
from zelo.training.sampler import QueryBatches
from zelo.training.trainer import Trainer
from zelo.training.training_log import Report

QUERIES, DOCUMENTS, WIDTH = 18, 12, 6
ONE: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "micro_batch": None,
}


class Toy(nn.Module):
    """score = dropout(query vector) . document vector: the least that can be trained, with a random state."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.query, self.document = nn.Embedding(QUERIES, WIDTH), nn.Embedding(DOCUMENTS, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        return {"queries": torch.tensor([int(query) for query in queries]), "doc_rows": torch.from_numpy(doc_rows)}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        documents = self.document(batch["doc_rows"].clamp(min=0))
        return torch.einsum("bw,bdw->bd", self.dropout(self.query(batch["queries"])), documents)

    def at_widths(self, batch: Mapping[str, Tensor], widths: list[int]) -> Tensor:
        query, document = self.query(batch["queries"]), self.document(batch["doc_rows"].clamp(min=0))
        found = [torch.einsum("bw,bdw->bd", query[..., :w], document[..., :w]) for w in (WIDTH, *widths)]
        return torch.stack(found, -1)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        return [{"params": list(self.query.parameters())}, {"params": list(self.document.parameters()), "lr": 10 * lr}]


class Breaking(ListwiseKL):
    """A loss that does something else at its n-th call."""

    def __init__(self, at: int, deed: Callable[[Tensor], Tensor]) -> None:
        super().__init__(sharpness=2.0, temperature=None)
        self.left, self.deed = at, deed

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        self.left -= 1
        loss = super().forward(scores, targets, weights, mask)
        return self.deed(loss) if self.left == 0 else loss


def lists(seed: int, queries: int = QUERIES) -> Lists:
    rng = np.random.default_rng(seed)
    doc_rows = rng.permuted(np.tile(np.arange(DOCUMENTS), (queries, 1)), axis=1)
    doc_rows[rng.integers(queries, size=4), -3:] = -1
    targets = rng.random(doc_rows.shape).astype(np.float32) * (doc_rows >= 0)
    weights = rng.uniform(0.5, 2, doc_rows.shape).astype(np.float32) * (doc_rows >= 0)
    return Lists.padded([str(row) for row in range(queries)], doc_rows, targets, weights)


def train(
    folder: Path,
    loss: nn.Module | None = None,
    lr: float = 0.01,
    seed: int = 0,
    dropout: float = 0.3,
    hardware: dict[str, Any] = ONE,
    report: Report = lambda step, metrics: None,
    minutes: float | None = 0.0,
    batch: int = 4,
    **changes: Any,
):
    """The trained toy and what came of it. minutes: between checkpoints (None: there are none).

    Five steps an epoch (18 queries, 4 a batch), validated at the second and fourth.
    """
    torch.manual_seed(seed)
    model = Toy(dropout)
    data = DataModule(
        train=lists(1),
        dev=lists(2),
        loader=QueryBatches(queries=batch, documents=8),
        seed=seed,
        collate=model.collate,
    )
    module = StudentModule(
        model=model,
        loss=loss or ListwiseKL(sharpness=2.0, temperature=None),
        optimizer=partial(torch.optim.AdamW, lr=lr),
        scheduler=Linear(warmup=0.1),
        label="train toy",
        micro_batch=hardware["micro_batch"],
    )
    settings = {
        "epochs": 3,
        "precision": "32-true",
        "gradient_clip": 1.0,
        "validations_per_epoch": 2,
        "mixtures": [],
        "callbacks": {} if minutes is None else {"checkpoint": CheckpointByTime(minutes=minutes)},
    }
    trained = Trainer(**(settings | changes)).fit(
        module,
        data,
        hardware=Hardware(**hardware),
        report=report,
        checkpoints=folder / CHECKPOINT,
    )
    return model, trained


def weights(model: nn.Module) -> list[np.ndarray]:
    return [weight.detach().numpy().copy() for weight in model.state_dict().values()]


def train_in_process(home: Path, deed: bool) -> None:
    loss = Breaking(9, lambda loss: os.kill(os.getpid(), signal.SIGKILL) or loss) if deed else None  # type: ignore[func-returns-value]

    def make(folder: Path, earlier: object) -> dict[str, object]:
        model, trained = train(folder, loss)
        np.savez(folder / "weights.npz", *weights(model))
        return {"resumed_at": trained.resumed_at}

    Store(home).obtain("train", "toy", make)
