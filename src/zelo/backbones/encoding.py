"""The vectors of a corpus, made in units; the files are the same with every executor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zelo import units
from zelo.backbones import device
from zelo.backbones.token_batches import TOKENS, token_batches
from zelo.backbones.token_file import TokenFile, reserved
from zelo.backbones.vectors import MEAN, padded, pool
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import Advance, progress
from zelo.records import starts
from zelo.store.liveness import half_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

UNIT = 1024  # texts, and whatever else is in the last batch
SAID = 10**9  # bytes of token vectors above which their size is said


@dataclass(frozen=True)
class Encoding:
    """The work of reading N texts: a unit is some batches of texts of about one length, and leaves their vectors in `folder`.

    Token vectors, where there is a `storage`, go to their places in one file. Sent elsewhere the work is small: token ids and
    batches lie in the folder, and the transformer is made where the unit runs.
    """

    load: "Callable[[], PreTrainedModel]"  # what reads the texts, where models go
    folder: Path  # that outlives an attempt
    pooling: str
    width: int
    storage: str | None  # of token vectors, a type of numpy; None: there are none

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("load", "folder", "pooling", "width", "storage")}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def run(self, label: str, parts: Iterable[list[list[int]]], together: int) -> None:
        """Runs the units that are not done. parts: token ids, some texts at a time; together: texts that are batched together.

        Raises BadInput for a text without tokens; OSError, before any text is read, for a disk without room. label: of the texts.
        """
        if not self._file("units").exists():
            self.folder.mkdir(exist_ok=True)
            self._keep_tokens(parts)
            lengths = np.diff(self.offsets)
            if len(self) and lengths.min() == 0:
                raise BadInput(f"Text {int(lengths.argmin())} of the {label} is empty. Remove it or give it a text.")
            self._keep_batches(together)
        size = reserved(self.vectors, int(self.offsets[-1]), self.width, self.storage, label)
        takes = f" ({size / 1e9:,.1f} GB of token vectors)" if size > SAID else ""
        lengths = np.diff(self.offsets)
        sizes = {unit: int(lengths[self._rows(unit)].sum()) for unit in reversed(range(self._units))}  # long ones first
        with progress(f"encoding {label}{takes}", sum(sizes.values()), "tokens") as advance:
            units.current().run(self, sizes, advance, model=True)

    def _keep_tokens(self, parts: Iterable[list[list[int]]]) -> None:
        sizes = [np.zeros(0, np.int64)]
        with self._token_ids.open("wb") as file:
            for ids in parts:
                np.fromiter(chain.from_iterable(ids), np.int32).tofile(file)
                sizes.append(np.fromiter(map(len, ids), np.int64, len(ids)))
        self._keep("offsets", starts(np.concatenate(sizes)))

    def _keep_batches(self, together: int) -> None:
        order, batches, cuts = [np.zeros(0, np.int64)], [0], [0]
        for low in range(0, len(self), together):
            rows = np.arange(low, min(low + together, len(self)))
            for batch in token_batches(self._ids(rows), TOKENS[device.wanted()]):
                order.append(rows[batch])
                batches.append(batches[-1] + len(batch))
                if batches[-1] - batches[cuts[-1]] >= UNIT:
                    cuts.append(len(batches) - 1)
            if cuts[-1] < len(batches) - 1:
                cuts.append(len(batches) - 1)
        self._keep("order", np.concatenate(order))
        self._keep("batches", np.array(batches))
        self._keep("units", np.array(cuts))  # the last: another attempt reads no text again

    def __call__(self, unit: int, advance: Advance) -> Facts:
        """Reads the texts of one unit, where that is not done."""
        if not self._file(f"pooled-{unit:05}").exists():
            self._keep(f"pooled-{unit:05}", self._pooled(unit, advance))
        return {}

    def _pooled(self, unit: int, advance: Advance) -> np.ndarray:
        """[n, width] vectors of the texts of a unit; those of their tokens are in the file."""
        found = []
        with TokenFile(self.vectors, self.width, self.storage) as file:
            for rows in self._batches(unit):
                begin, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
                hidden, mask = _forward(self._transformer, self._ids(rows))
                found.append(_summaries(hidden, mask, self.pooling).cpu().numpy())
                file.write(hidden, begin, lengths)
                advance(int(lengths.sum()))
        return np.concatenate(found)

    def pooled(self) -> np.ndarray:
        """[N, width] float32 vectors of length 1, once all units have run."""
        found = np.zeros((len(self), self.width), np.float32)
        for unit in range(self._units):
            found[self._rows(unit)] = np.load(self._file(f"pooled-{unit:05}"), allow_pickle=False)
        return found

    @property
    def vectors(self) -> Path:
        """The file of the token vectors, whole once all units have run."""
        return self._file("vectors")

    @cached_property
    def tokens(self) -> np.ndarray:
        """[T] int32 ids of the tokens of all texts."""
        there = self._token_ids.stat().st_size
        return np.memmap(self._token_ids, np.int32, "r") if there else np.zeros(0, np.int32)

    @cached_property
    def offsets(self) -> np.ndarray:
        """[N + 1] int64: text i has the tokens from offsets[i] to offsets[i + 1]."""
        return self._kept("offsets")

    @cached_property
    def _cuts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of all texts, batch by batch; where each batch begins among them; the first batch of each unit."""
        return self._kept("order"), self._kept("batches"), self._kept("units")

    @cached_property
    def _transformer(self) -> Any:
        return self.load()

    @property
    def _token_ids(self) -> Path:
        return self.folder / "tokens.bin"

    @property
    def _units(self) -> int:
        return len(self._cuts[2]) - 1

    def _batches(self, unit: int) -> list[np.ndarray]:
        order, batches, cuts = self._cuts
        return [order[low:high] for low, high in pairwise(batches[cuts[unit] : cuts[unit + 1] + 1].tolist())]

    def _rows(self, unit: int) -> np.ndarray:
        return np.concatenate(self._batches(unit))

    def _ids(self, rows: np.ndarray) -> list[list[int]]:
        bounds = zip(self.offsets[rows].tolist(), self.offsets[rows + 1].tolist(), strict=True)
        return [self.tokens[start:end].tolist() for start, end in bounds]

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _kept(self, name: str) -> np.ndarray:
        return np.load(self._file(name), allow_pickle=False)

    def _keep(self, name: str, array: np.ndarray) -> None:
        half = half_of(self._file(name))
        with half.open("wb") as opened:
            np.save(opened, array, allow_pickle=False)
        half.rename(self._file(name))


def _forward(network: Any, ids: list[list[int]]) -> "tuple[Tensor, Tensor]":
    """Last-layer vectors [B, L, dim] in float32 of B token sequences, and their mask [B, L]."""
    import torch

    tokens, mask = (part.to(network.device) for part in padded(ids))
    with torch.inference_mode():
        return network(input_ids=tokens, attention_mask=mask).last_hidden_state.float(), mask


def _summaries(hidden: "Tensor", mask: "Tensor", pooling: str) -> "Tensor":
    """[B, dim] vectors of length 1 of B texts."""
    import torch

    if pooling == MEAN:  # the number of tokens goes with the length
        return torch.nn.functional.normalize((hidden * mask.unsqueeze(-1)).sum(1), dim=-1)
    return pool(hidden, mask, pooling)
