"""Examples as batches of queries with their documents."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from zelo.training.listwise_dataset import WHOLE, Collate
from zelo.training.sampler import QueryBatches
from zelo.training.share import Share


class Examples(Protocol):
    """What a student learns from, a row at a time: lists of rated documents, or pairs."""

    metric: ClassVar[str]  # full name of what dev is measured by, as it is logged; larger is better

    def __len__(self) -> int: ...

    @property
    def figures(self) -> dict[str, int]:
        """For the manifest: `rows` and `queries` that it is of."""
        ...

    def draw(self, rows: np.ndarray, loader: QueryBatches, rng: np.random.Generator) -> np.ndarray | None:
        """What of these rows an epoch shows, and how; None: everything, as it is."""
        ...

    def batch(
        self, rows: np.ndarray, drawn: np.ndarray | None, collate: Collate, share: slice = WHOLE
    ) -> dict[str, Tensor]:
        """The model's batch of a share of these rows, and of all of them targets, weights and mask [B, D].

        drawn: of these rows. A share without a row brings the first one of the batch instead.
        """
        ...

    def part(self, batch: Mapping[str, Tensor], rows: slice, columns: slice, collate: Collate) -> dict[str, Tensor]:
        """The model's batch of a piece of a batch that `batch` made, on its device."""
        ...

    def values(self, scores: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[B] what each row of a batch tells of the metric. All [B, D]."""
        ...

    def measure(self, values: np.ndarray) -> float:
        """The metric, from the values of all rows."""
        ...


@dataclass
class Place:
    """Where in the training data a training is."""

    epoch: int = 0
    position: int = 0  # batches of the epoch that were given out


@dataclass
class _Epochs(IterableDataset):
    """One epoch after another, from a place that moves along."""

    examples: Examples
    loader: QueryBatches
    seed: int
    collate: Collate
    share: Share
    shuffle: bool
    place: Place

    def __len__(self) -> int:
        return -(-len(self.examples) // self.loader.queries)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        place, first = self.place, self.place.position
        rng = np.random.default_rng([self.seed, place.epoch])
        order = rng.permutation(len(self.examples)) if self.shuffle else np.arange(len(self.examples))
        for number, low in enumerate(range(0, len(order), self.loader.queries)):
            rows = order[low : low + self.loader.queries]
            drawn = self.examples.draw(rows, self.loader, rng) if self.shuffle else None
            if number >= first:  # those before are drawn all the same, so that these are the same
                place.position += 1
                if place.position == len(self):  # nobody asks beyond the last
                    place.epoch, place.position = place.epoch + 1, 0
                yield self.examples.batch(rows, drawn, self.collate, self.share.of(len(rows)))


class DataModule(lightning.LightningDataModule):
    """Train and dev examples as batches; the order of an epoch depends on the seed and the epoch's number alone.

    Each process of a training gets its share of the texts of each batch, and the numbers of the whole.
    """

    def __init__(
        self,
        *,
        train: Examples,
        dev: Examples,
        loader: QueryBatches,
        seed: int,
        collate: Collate,
    ) -> None:
        super().__init__()
        self.train, self.dev, self.loader, self.seed, self.collate = train, dev, loader, seed, collate
        self.place = Place()

    def state_dict(self) -> dict[str, int]:
        """The place in the training data, for a checkpoint."""
        return asdict(self.place)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes there; loaders that were made already go along, if nothing was taken from them."""
        self.place.epoch, self.place.position = state_dict["epoch"], state_dict["position"]

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches of `loader.queries` rows."""
        return self._epochs(self.train, self.place, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Dev rows in order, each as it is."""
        return self._epochs(self.dev, Place(), shuffle=False)

    def _epochs(self, examples: Examples, place: Place, shuffle: bool) -> DataLoader:
        share = Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)
        epochs = _Epochs(examples, self.loader, self.seed, self.collate, share, shuffle, place)
        # A generator of its own: that it is asked for an epoch leaves the model's random state alone.
        return DataLoader(epochs, batch_size=None, generator=torch.Generator())
