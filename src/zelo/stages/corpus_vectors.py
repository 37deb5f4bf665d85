"""Vectors of texts by a student, as units of work."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from zelo.backbones.nearest import chunks
from zelo.facts import Facts
from zelo.progress import Advance, progress
from zelo.protocols import Executor
from zelo.store.liveness import half_of


@dataclass(frozen=True)
class CorpusVectors:
    """The work: a unit is a chunk of texts, whose vectors it leaves in `folder`. Sent elsewhere it makes its model there."""

    load: Callable[
        [], Callable[[slice], np.ndarray]
    ]  # makes what gives [n, width] float32 vectors of some of the texts
    count: int  # texts
    folder: Path  # of these texts, which outlives an attempt

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("load", "count", "folder")}

    def make(self, executor: Executor) -> None:
        """Runs the units that are not done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = {unit: rows.stop - rows.start for unit, rows in enumerate(chunks(self.count))}
        with progress("embed", self.count, "texts") as advance:
            executor.run(copy.deepcopy(self), sizes, advance, model=True)  # what it loads goes when it ends

    def __call__(self, unit: int, advance: Advance) -> Facts:
        """Reads the texts of one unit, where that is not done."""
        if not (file := self._file(unit)).exists():
            half = half_of(file)
            with half.open("wb") as opened:
                np.save(opened, self._vectors(list(chunks(self.count))[unit]), allow_pickle=False)
            half.rename(file)
        return {}

    def parts(self) -> Iterator[np.ndarray]:
        """[n, width] float32 vectors of each chunk in order, once all units have run."""
        for unit, _ in enumerate(chunks(self.count)):
            yield np.load(self._file(unit), allow_pickle=False)

    @cached_property
    def _vectors(self) -> Callable[[slice], np.ndarray]:
        return self.load()

    def _file(self, unit: int) -> Path:
        return self.folder / f"{unit:05}.npy"
