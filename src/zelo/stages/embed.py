"""The vectors of all queries and documents by a trained embedding model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import pyarrow.parquet as pq

from zelo.backbones.nearest import chunks
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Embedder, Executor
from zelo.stages.corpus_vectors import CorpusVectors
from zelo.store.shards import CHECKPOINT
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student
from zelo.training.vector_files import DOCUMENTS, QUERIES
from zelo.units import HERE

KINDS = {"queries": QUERIES, "documents": DOCUMENTS}  # tables of the load stage, and where their vectors go


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Writes queries.npy [Q, dim] and documents.npy [N, dim], float32 of length 1, in the order of the load stage's tables."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = OF_TRAINING | {"hardware"}
    spreads: ClassVar[Literal[True]] = True

    inputs: dict[str, str]  # data: load; checkpoint: a train stage
    student: Student  # its model is an Embedder
    hardware: Hardware

    def __post_init__(self) -> None:
        if not isinstance(self.student.model, Embedder):
            raise BadInput(
                f"embed: {type(self.student.model).__name__} gives no vector of a document; use model=embedding."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there."""
        self.hardware.check()

    def units(self, tables: Mapping[str, Table], above: Mapping[str, int]) -> int | None:
        """Chunks of queries and of documents."""
        return sum(len(list(chunks(_rows(tables["data"], name)))) for name in KINDS) if "data" in tables else None

    def run(self, tables: dict[str, Table], out: Path, executor: Executor = HERE) -> Facts:
        """A chunk of texts is a unit."""
        width, counts = self.student.backbone.width(), {name: _rows(tables["data"], name) for name in KINDS}
        for name, file in KINDS.items():
            folder = out / CHECKPOINT / name
            made = CorpusVectors(partial(self._reader, tables, name), counts[name], folder)
            made.make(executor)
            array = np.lib.format.open_memmap(out / file, mode="w+", dtype=np.float32, shape=(counts[name], width))
            for rows, part in zip(chunks(counts[name]), made.parts(), strict=True):
                array[rows] = part
            array.flush()
        return {"rows": sum(counts.values()), "width": width}

    def _reader(self, tables: dict[str, Table], name: str) -> Callable[[slice], np.ndarray]:
        """What gives the vectors of some queries or documents."""
        queries, documents = (tables["data"].read(kind) for kind in KINDS)
        model = cast(Embedder, self.student.model)
        self.student.load(tables["checkpoint"].path)
        self.student.prepare(queries, documents)
        self.student.model.to(self.hardware.device)
        if name == "documents":
            return model.document_vectors
        return lambda rows: model.query_vectors(queries["text"][rows.start : rows.stop].to_pylist())


def _rows(data: Table, name: str) -> int:
    return sum(pq.read_metadata(file).num_rows for file in data.shards(name))
