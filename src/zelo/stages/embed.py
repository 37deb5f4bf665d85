"""The vectors of all queries and documents by a trained embedding model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zelo.backbones.nearest import chunks
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.progress import progress
from zelo.protocols import Embedder
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.student import OF_TRAINING, Student
from zelo.training.vector_files import DOCUMENTS, QUERIES


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Writes queries.npy [Q, dim] and documents.npy [N, dim], float32 of length 1, in the order of the load stage's tables."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = OF_TRAINING | {"hardware"}

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

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Some thousand texts at a time."""
        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        model: Any = self.student.model
        self.student.load(tables["checkpoint"].path)
        self.student.prepare(queries, documents)
        model.to(self.hardware.device)

        def asked(rows: slice) -> np.ndarray:
            return model.query_vectors(queries["text"][rows.start : rows.stop].to_pylist())

        with progress("embed", len(queries) + len(documents), "texts") as advance:
            for name, table, vectors in ((QUERIES, queries, asked), (DOCUMENTS, documents, model.document_vectors)):
                shape = (len(table), model.width)
                array = np.lib.format.open_memmap(out / name, mode="w+", dtype=np.float32, shape=shape)
                for rows in chunks(len(table)):
                    array[rows] = vectors(rows)
                    advance(rows.stop - rows.start)
                array.flush()
        return {"rows": len(queries) + len(documents), "width": model.width}
