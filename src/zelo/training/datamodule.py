"""Examples as batches of queries with their documents."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from zelo.training.batches import QueryBatches
from zelo.training.lists import Collate, Lists
from zelo.training.together import ALONE, Together


class _Epoch(IterableDataset):
    def __init__(
        self, lists: Lists, loader: QueryBatches, seed: int, collate: Collate, together: Together, shuffle: bool
    ) -> None:
        self.lists, self.loader, self.seed, self.collate, self.shuffle = lists, loader, seed, collate, shuffle
        self.together = together
        self.longest = int(lists.sizes.max(initial=0))
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return -(-len(self.lists) // self.loader.queries)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lists)) if self.shuffle else np.arange(len(self.lists))
        for number, low in enumerate(range(0, len(order), self.loader.queries)):
            rows = order[low : low + self.loader.queries]
            picked = self._pick(rows, rng) if self.shuffle else None
            if number >= self.first:  # those before are drawn all the same, so that these are the same
                yield self.lists.batch(rows, picked, self.collate, self.together.share(len(rows)))

    def _pick(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """The draw is for all processes; it depends on the longest list of all queries."""
        if self.loader.documents is None or self.loader.documents >= self.longest:
            return None
        places = self.lists.columns(rows, self.longest)
        there = places >= 0
        targets = np.where(there, self.lists.targets[places.clip(0)], np.float32(0))
        columns = self.loader.pick(targets, there, rng)
        return None if columns is None else np.take_along_axis(places, columns, 1)


@dataclass
class Place:
    """Where in the training data a training is."""

    epoch: int = 0
    position: int = 0  # batches of the epoch that were given out


class _Epochs(DataLoader):
    """One epoch after another, from a place that moves along.

    It has a random generator of its own: that it is asked for an epoch leaves the model's random state alone.
    """

    def __init__(self, dataset: _Epoch, place: Place) -> None:
        super().__init__(dataset, batch_size=None, generator=torch.Generator())
        self.place = place

    def __iter__(self) -> Any:
        epoch, place = self.dataset, self.place
        assert isinstance(epoch, _Epoch)
        epoch.epoch, epoch.first = place.epoch, place.position
        for batch in super().__iter__():
            place.position += 1
            if place.position == len(epoch):  # nobody asks beyond the last
                place.epoch, place.position = place.epoch + 1, 0
            yield batch


class DataModule(lightning.LightningDataModule):
    """Train and dev lists as batches; the order of an epoch depends on the seed and the epoch's number alone.

    A process gets its share of the texts of each batch, and the numbers of the whole.
    """

    def __init__(
        self, *, train: Lists, dev: Lists, loader: QueryBatches, seed: int, collate: Collate, together: Together = ALONE
    ) -> None:
        super().__init__()
        self.train, self.dev, self.loader, self.seed, self.collate = train, dev, loader, seed, collate
        self.together = together
        self.place = Place()

    def state_dict(self) -> dict[str, int]:
        """The place in the training data, for a checkpoint."""
        return asdict(self.place)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes there; loaders that were made already go along, if nothing was taken from them."""
        self.place.epoch, self.place.position = state_dict["epoch"], state_dict["position"]

    def train_dataloader(self) -> Any:
        """Shuffled batches of `loader.queries` queries."""
        return self._epochs(self.train, self.place, shuffle=True)

    def val_dataloader(self) -> Any:
        """Dev queries in order, with all their documents."""
        return self._epochs(self.dev, Place(), shuffle=False)

    def _epochs(self, lists: Lists, place: Place, shuffle: bool) -> _Epochs:
        return _Epochs(_Epoch(lists, self.loader, self.seed, self.collate, self.together, shuffle), place)
