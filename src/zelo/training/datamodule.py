"""Examples as batches of queries with their documents."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from zelo.metrics.agreement import CUTOFF, judged_gains, ndcg
from zelo.records import starts
from zelo.training.batches import QueryBatches

Collate = Callable[[list[str], np.ndarray], dict[str, Tensor]]


class Examples(Protocol):
    """What a student learns from, a row at a time: lists of rated documents, or pairs."""

    metric: ClassVar[str]  # that dev is measured by; larger is better

    def __len__(self) -> int: ...

    @property
    def figures(self) -> dict[str, int]:
        """For the manifest: `rows` and `queries` that it is of."""
        ...

    def draw(self, rows: np.ndarray, loader: QueryBatches, rng: np.random.Generator) -> np.ndarray | None:
        """What of these rows an epoch shows, and how; None: everything, as it is."""
        ...

    def batch(self, rows: np.ndarray, drawn: np.ndarray | None, collate: Collate) -> dict[str, Tensor]:
        """The model's batch and targets, weights and mask [B, D]. drawn: of these rows."""
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


@dataclass(frozen=True)
class Lists:
    """The rated documents of Q queries, padded to the longest list; -1 in `doc_rows` where there is none."""

    metric: ClassVar[str] = f"nDCG@{CUTOFF}"

    texts: list[str]  # [Q]
    doc_rows: np.ndarray  # [Q, D] int64 rows of the document table
    targets: np.ndarray  # [Q, D] float32 in [0, 1]
    weights: np.ndarray  # [Q, D] float32

    @staticmethod
    def of(examples: pa.Table, queries: pa.Table, documents: pa.Table) -> "Lists":
        """Queries in the order of the query table; lists in the order of `examples`. examples: EXAMPLE."""
        query = pc.index_in(examples["query_id"], queries["query_id"].combine_chunks()).to_numpy()
        order = np.argsort(query, kind="stable")
        rows, sizes = np.unique(query, return_counts=True)
        doc = pc.index_in(examples["doc_id"], documents["doc_id"].combine_chunks()).to_numpy()[order]
        line = np.repeat(np.arange(len(rows)), sizes)
        column = np.arange(len(order)) - starts(sizes)[:-1].repeat(sizes)
        shape = (len(rows), int(sizes.max(initial=0)))
        doc_rows = np.full(shape, -1, np.int64)
        targets, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        doc_rows[line, column] = doc
        targets[line, column] = examples["target"].to_numpy()[order]
        weights[line, column] = examples["weight"].to_numpy()[order]
        return Lists(queries["text"].take(rows).to_pylist(), doc_rows, targets, weights)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def figures(self) -> dict[str, int]:
        """For the manifest: documents and queries."""
        return {"rows": int((self.doc_rows >= 0).sum()), "queries": len(self)}

    def draw(self, rows: np.ndarray, loader: QueryBatches, rng: np.random.Generator) -> np.ndarray | None:
        """[B, D'] the documents of each of these lists that the loader picks; None: all."""
        return loader.pick(self.targets[rows], self.doc_rows[rows] >= 0, rng)

    def values(self, scores: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[B] nDCG@10 of each query, gains from the targets. All [B, D]."""
        return ndcg(scores, judged_gains(targets), mask, CUTOFF)

    def measure(self, values: np.ndarray) -> float:
        """Their mean over queries."""
        return float(values.mean())

    def batch(self, rows: np.ndarray, drawn: np.ndarray | None, collate: Collate) -> dict[str, Tensor]:
        """The model's batch and targets, weights and mask [B, D]; drawn: [B, D'] which documents (None: all)."""
        take = (
            (lambda array: array[rows]) if drawn is None else (lambda array: np.take_along_axis(array[rows], drawn, 1))
        )
        doc_rows = take(self.doc_rows)
        used = (doc_rows >= 0).any(0)  # no column of nothing but padding
        doc_rows = doc_rows[:, used]
        return {
            **collate([self.texts[row] for row in rows], doc_rows),
            "targets": torch.from_numpy(take(self.targets)[:, used]),
            "weights": torch.from_numpy(take(self.weights)[:, used]),
            "mask": torch.from_numpy(doc_rows >= 0),
            "list_rows": torch.from_numpy(np.asarray(rows, np.int64)),
            "list_doc_rows": torch.from_numpy(doc_rows),
        }

    def part(self, batch: Mapping[str, Tensor], rows: slice, columns: slice, collate: Collate) -> dict[str, Tensor]:
        """The model's batch of some queries and some of their documents of a batch that `batch` made, on its device."""
        queries = [self.texts[row] for row in batch["list_rows"][rows].tolist()]
        found = collate(queries, batch["list_doc_rows"][rows, columns].cpu().numpy())
        return {key: value.to(batch["mask"].device) for key, value in found.items()}


class _Epoch(IterableDataset):
    def __init__(self, examples: Examples, loader: QueryBatches, seed: int, collate: Collate, shuffle: bool) -> None:
        self.examples, self.loader, self.seed, self.collate, self.shuffle = examples, loader, seed, collate, shuffle
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return -(-len(self.examples) // self.loader.queries)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.examples)) if self.shuffle else np.arange(len(self.examples))
        for number, low in enumerate(range(0, len(order), self.loader.queries)):
            rows = order[low : low + self.loader.queries]
            drawn = self.examples.draw(rows, self.loader, rng) if self.shuffle else None
            if number >= self.first:  # those before are drawn all the same, so that these are the same
                yield self.examples.batch(rows, drawn, self.collate)


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
    """Train and dev examples as batches; the order of an epoch depends on the seed and the epoch's number alone."""

    def __init__(self, *, train: Examples, dev: Examples, loader: QueryBatches, seed: int, collate: Collate) -> None:
        super().__init__()
        self.train, self.dev, self.loader, self.seed, self.collate = train, dev, loader, seed, collate
        self.place = Place()

    def state_dict(self) -> dict[str, int]:
        """The place in the training data, for a checkpoint."""
        return asdict(self.place)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes there; loaders that were made already go along, if nothing was taken from them."""
        self.place.epoch, self.place.position = state_dict["epoch"], state_dict["position"]

    def train_dataloader(self) -> Any:
        """Shuffled batches of `loader.queries` rows."""
        return _Epochs(_Epoch(self.train, self.loader, self.seed, self.collate, shuffle=True), self.place)

    def val_dataloader(self) -> Any:
        """Dev rows in order, each as it is."""
        return _Epochs(_Epoch(self.dev, self.loader, self.seed, self.collate, shuffle=False), Place())
