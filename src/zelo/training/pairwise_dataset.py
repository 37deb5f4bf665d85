"""Preferences as batches of pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from zelo.metrics.agreement import PREFIX
from zelo.ranking import rows_of
from zelo.records import DEV
from zelo.training.listwise_dataset import WHOLE, Collate
from zelo.training.sampler import QueryBatches


@dataclass(frozen=True)
class Pairs:
    """N preferences between two documents of a query; `p` is for the first."""

    metric: ClassVar[str] = f"{PREFIX}/{DEV}/likelihood of a preference"

    texts: pa.ChunkedArray  # of all queries
    query_rows: np.ndarray  # [N] int64 rows of `texts`
    doc_rows: np.ndarray  # [N, 2] int64 rows of the document table
    p: np.ndarray  # [N] float32 in [0, 1]
    weights: np.ndarray  # [N] float32
    unanimous: np.ndarray  # [N] bool, every answer was on the same side

    @staticmethod
    def of(preferences: pa.Table, queries: pa.Table, documents: pa.Table) -> "Pairs":
        """In the order of `preferences` (PREFERENCE)."""
        rows = [rows_of(preferences[name], documents["doc_id"]) for name in ("doc_a", "doc_b")]
        columns = (preferences[name].to_numpy() for name in ("p", "weight", "unanimous"))
        return Pairs(
            queries["text"], rows_of(preferences["query_id"], queries["query_id"]), np.stack(rows, 1), *columns
        )

    def __len__(self) -> int:
        return len(self.query_rows)

    @property
    def figures(self) -> dict[str, int]:
        """For the manifest: pairs and their queries."""
        return {"rows": len(self), "queries": len(np.unique(self.query_rows))}

    def draw(self, rows: np.ndarray, loader: QueryBatches, rng: np.random.Generator) -> np.ndarray | None:
        """[B] bool: which of these pairs an epoch shows the other way round."""
        return rng.random(len(rows)) < 0.5

    def batch(
        self, rows: np.ndarray, drawn: np.ndarray | None, collate: Collate, share: slice = WHOLE
    ) -> dict[str, Tensor]:
        """The model's batch of a share of these pairs, and of all of them targets, weights and mask [B, 1].

        drawn: [B] the other way round (None: none). A share without a pair brings the first one of the batch instead.
        """
        turned = np.zeros(len(rows), bool) if drawn is None else drawn
        doc_rows = np.where(turned[:, None], self.doc_rows[rows, ::-1], self.doc_rows[rows])
        target = np.where(turned, 1 - self.p[rows], self.p[rows])
        some = share if len(rows[share]) else slice(0, 1)
        return {
            **collate(self._queries(rows[some]), doc_rows[some]),
            "targets": torch.from_numpy(target.astype(np.float32)[:, None]),
            "weights": torch.from_numpy(self.weights[rows][:, None]),
            "mask": torch.ones((len(rows), 1), dtype=torch.bool),
            "list_rows": torch.from_numpy(np.asarray(rows, np.int64)),
            "list_doc_rows": torch.from_numpy(doc_rows),
        }

    def part(self, batch: Mapping[str, Tensor], rows: slice, columns: slice, collate: Collate) -> dict[str, Tensor]:
        """The model's batch of some pairs of a batch that `batch` made, on its device; a pair is one column."""
        chosen = batch["list_rows"][rows].cpu().numpy()
        found = collate(self._queries(chosen), batch["list_doc_rows"][rows].cpu().numpy())
        return {key: value.to(batch["mask"].device) for key, value in found.items()}

    def values(self, scores: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[B] log of the probability that the student gives to what the judges prefer. All [B, 1]."""
        score = scores[:, 0].astype(np.float64)
        return targets[:, 0] * score - np.logaddexp(0.0, score)

    def measure(self, values: np.ndarray) -> float:
        """exp of their mean: 1/2 for a student that knows nothing, and the larger the smaller the log loss."""
        return float(np.exp(values.mean()))

    def _queries(self, rows: np.ndarray) -> list[str]:
        return self.texts.take(pa.array(self.query_rows[rows])).to_pylist()
