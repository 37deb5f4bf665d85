"""Learns how an embedding model's vectors become smaller, and exports the model that gives them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.exported import Exported, quiet
from zelo.errors import BadInput, ZeloError
from zelo.facts import Facts
from zelo.progress import progress
from zelo.records import TRAIN
from zelo.store.table import Table
from zelo.texts import document_texts
from zelo.training.hardware import Hardware
from zelo.training.vector_files import DOCUMENTS, HALVINGS, QUERIES, opened

if TYPE_CHECKING:
    import torch

PAIRS = 20  # that the exported model is compared on
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Compress:
    """Writes halvings.safetensors, matrices `1`, `2` and so on of a chain of halvings, each [dim / 2, dim], and export/.

    export/ is the trained SentenceTransformer with the first `exported` halvings as Dense modules; null or a model that is no
    SentenceTransformer: none. Halvings are fitted on the vectors of train queries and of the documents, without any label.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"hardware"})

    inputs: dict[str, str]  # data: load; vectors: embed; checkpoint: the train stage whose export grows
    halvings: int
    exported: int | None
    steps: int  # of each halving's training; 0: principal components alone
    queries: int  # a step
    neighbours: int  # nearest documents of each query that it learns to keep apart
    temperature: float
    lr: float
    hardware: Hardware
    seed: int

    def __post_init__(self) -> None:
        if self.halvings < 1 or (self.exported is not None and not 1 <= self.exported <= self.halvings):
            raise BadInput(
                f"compress: halvings={self.halvings}, exported={self.exported}: at least one halving, and as many of them"
                " exported at most."
            )
        if self.steps < 0 or min(self.queries, self.neighbours) < 2 or self.temperature <= 0 or self.lr <= 0:
            raise BadInput(
                f"compress: steps={self.steps} must be at least 0, queries={self.queries} and neighbours={self.neighbours} at"
                f" least 2, temperature={self.temperature} and lr={self.lr} above 0."
            )

    def check(self) -> None:
        """Raises BadInput where the hardware is not there."""
        self.hardware.check()

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput where vectors are too narrow to be halved so often, ZeloError where the export gives others."""
        from safetensors.torch import save_file

        from zelo.training.learned_projection import Fitting, fit

        vectors, queries = tables["vectors"], tables["data"].read("queries")
        width = vectors.manifest["width"]
        if width % 2**self.halvings:
            raise BadInput(
                f"compress: vectors of {width} numbers cannot be halved {self.halvings} times; set stages.compress.halvings"
                " lower."
            )
        train = np.flatnonzero(pc.equal(queries["split"], TRAIN).to_numpy())
        asked = opened(vectors.path, QUERIES)[train]
        documents = opened(vectors.path, DOCUMENTS)
        how = Fitting(self.steps, self.queries, self.neighbours, self.temperature, self.lr)
        with progress("halvings", self.halvings * self.steps, "steps") as advance:
            chain = list(fit(asked, documents, self.halvings, how, self.hardware.device, self.seed, advance))
        chain = [matrix.cpu() for matrix in chain]
        save_file({str(number): matrix.contiguous() for number, matrix in enumerate(chain, 1)}, out / HALVINGS)
        figures = {"rows": len(train) + len(documents), "widths": [width >> n for n in range(1, self.halvings + 1)]}
        if self.exported and (tables["checkpoint"].path / "export" / "modules.json").exists():
            self._export(chain[: self.exported], tables["checkpoint"].path / "export", out / "export")
            texts = queries["text"].take(pa.array(train[:PAIRS]))
            figures |= self._parity(chain[: self.exported], tables, texts.to_pylist(), asked[:PAIRS], out / "export")
        return figures

    def _export(self, chain: "list[torch.Tensor]", source: Path, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Dense, Normalize
        from torch import nn

        with quiet():
            model = SentenceTransformer(str(source), device="cpu", local_files_only=True, trust_remote_code=False)
            for matrix in chain:
                half, width = matrix.shape
                dense = Dense(width, half, bias=False, activation_function=nn.Identity())
                dense.linear.weight.data.copy_(matrix)
                model.append(dense)
                model.append(Normalize())
            model.save_pretrained(str(folder), create_model_card=False)

    def _parity(
        self, chain: "list[torch.Tensor]", tables: dict[str, Table], queries: list[str], asked: np.ndarray, folder: Path
    ) -> Facts:
        """The exported model's cosines of some queries and documents against those of the halved vectors."""
        import torch

        from zelo.training.learned_projection import halved

        documents = opened(tables["vectors"].path, DOCUMENTS)
        rows = np.linspace(0, len(documents) - 1, len(queries)).astype(np.int64)
        sides = (torch.from_numpy(np.array(side)) for side in (asked, documents[rows]))
        left, right = (halved(side, chain).numpy() for side in sides)
        texts = document_texts(tables["data"].read("documents").take(pa.array(rows)))
        places = np.arange(len(queries))
        theirs = Exported(folder, self.hardware.device, f"the export {folder}", 8).scores(
            queries, texts, places, places
        )
        difference = float(np.abs(np.einsum("nd,nd->n", left, right) - theirs).max())
        if not difference <= TOLERANCE:
            raise ZeloError(
                f"The smaller model does not score as its halved vectors: a difference of {difference:.2g} where {TOLERANCE:g} is"
                " allowed. Nothing was exported; please report it."
            )
        found = {"sentence-transformers": difference}
        return {"parity": {"pairs": len(queries), "tolerance": TOLERANCE, "largest_difference": found}}
