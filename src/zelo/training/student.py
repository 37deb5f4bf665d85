"""A student: a model on a pretrained backbone, and everything that its training takes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from zelo.protocols import Backbone, Loss, Model, QueryPreparer
from zelo.training.linear import Linear
from zelo.training.sampler import QueryBatches
from zelo.training.trainer import Trainer

# What a stage that only uses the trained model leaves out of its identity.
OF_TRAINING = frozenset({"student.loss", "student.optimizer", "student.scheduler", "student.loader", "student.trainer"})


@dataclass(frozen=True, kw_only=True)
class Student:
    """The parts of one student; stages that train and stages that score share it."""

    model: Model
    backbone: Backbone
    loss: Loss
    optimizer: partial[Any]
    scheduler: Linear | partial[Any]  # zelo's, or one of torch that takes the optimizer
    loader: QueryBatches
    trainer: Trainer

    def load(self, checkpoint: Path | None) -> None:
        """Makes the model from the backbone, with the weights of a train stage's folder if given."""
        self.model.load(self.backbone, checkpoint)

    def prepare(self, queries: pa.Table, documents: pa.Table) -> None:
        """What is computed once per corpus. queries: QUERY, all that the model will be asked; documents: DOCUMENT."""
        self.model.prepare(documents)
        if isinstance(self.model, QueryPreparer):
            self.model.prepare_queries(queries)
