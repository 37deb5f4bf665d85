"""Searches a corpus with an embedding model's vectors made smaller."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo import domains, passages
from zelo.backbones.nearest import chunks, nearest
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.ranking import own_documents, rows_of, without_own
from zelo.records import SCORED
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.hardware import Hardware
from zelo.training.vector_files import DOCUMENTS, HALVINGS, QUERIES, opened


@dataclass(frozen=True, kw_only=True)
class Search:
    """Writes scored documents (SCORED): the `top_k` of the corpus (of the query's domain, where documents have domains) for each
    query of these splits.

    Vectors go through the first `halvings` of the compress stage's chain; documents are kept as `numbers`, queries in full. The
    manifest says how many bytes a document takes. A document with the query's own id is left out unless `keep_own_document`.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware"})

    inputs: dict[str, str]  # data: load; vectors: embed; halvings: compress, where there are any
    halvings: int
    numbers: Literal["float32", "int8", "binary"]
    splits: list[str]
    top_k: int
    keep_own_document: bool
    hardware: Hardware

    def __post_init__(self) -> None:
        if self.halvings < 0 or (self.halvings and "halvings" not in self.inputs):
            raise BadInput(
                f"search: halvings={self.halvings}: at least 0, and a compress stage among the inputs where it is above 0."
            )
        if self.numbers not in ("float32", "int8", "binary"):
            raise BadInput(f"search: numbers={self.numbers}: choose float32, int8 or binary.")

    def check(self) -> None:
        """Raises BadInput where the hardware is not there."""
        self.hardware.check()

    def check_inputs(self, stages: dict[str, Any]) -> None:
        """Raises BadInput for more halvings than the compress stage makes."""
        if self.halvings and self.halvings > stages["halvings"].halvings:
            raise BadInput(
                f"search: halvings={self.halvings} is above the {stages['halvings'].halvings} that the compress stage makes; set"
                " stages.compress.halvings higher."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """The corpus is read in chunks."""
        import torch
        from safetensors.torch import load_file

        from zelo.training.learned_projection import halved
        from zelo.training.quantization import INT8, Ranges, bytes_of, coarse

        queries, documents = tables["data"].read("queries"), tables["data"].read("documents")
        device, vectors = self.hardware.device, tables["vectors"].path
        matrices = load_file(tables["halvings"].path / HALVINGS) if self.halvings else {}
        chain = [matrices[str(number)].to(device) for number in range(1, self.halvings + 1)]
        rows = np.flatnonzero(pc.is_in(queries["split"], pa.array(self.splits, pa.string())).to_numpy())
        array = opened(vectors, DOCUMENTS)

        def parts(of: np.ndarray) -> Iterator[torch.Tensor]:
            for part in chunks(len(of)):
                yield halved(torch.from_numpy(np.array(array[of[part]])).to(device), chain)

        ranges = Ranges.of(parts(np.arange(len(array)))) if self.numbers == INT8 else None
        asked = halved(torch.from_numpy(np.array(opened(vectors, QUERIES)[rows])).to(device), chain)
        asked_of = queries.take(pa.array(rows))
        leaves_out = own_documents(asked_of, documents, self.keep_own_document)

        def find(here: pa.Table, of: pa.Table) -> pa.Table:
            doc_row = rows_of(of["doc_id"], documents["doc_id"])

            def search(some: pa.Table, top_k: int) -> pa.Table:
                coarsened = (coarse(part, self.numbers, ranges) for part in parts(doc_row))
                vectors_of = asked[torch.from_numpy(rows_of(some["query_id"], asked_of["query_id"]))]
                row, score = nearest(vectors_of, coarsened, top_k)
                query = np.repeat(np.arange(len(some)), row.shape[1])
                ids = some["query_id"].take(pa.array(query)), of["doc_id"].take(pa.array(row.ravel()))
                return pa.table([*ids, score.ravel()], schema=SCORED)

            return passages.search(search, here, of, self.top_k + leaves_out)

        scored = domains.search(find, asked_of, documents)
        own: Facts = {}
        if leaves_out:
            scored, own = without_own(scored, asked_of, documents, self.top_k)
        write_parquet(scored, SCORED, out, "scored")
        return {"rows": len(scored), **own, "bytes_per_document": bytes_of(asked.shape[1], self.numbers)}
