"""Preferences as batches of pairs, and what a student that learned them is worth as a judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from zelo.ranking import rows_of
from zelo.records import DEV, TEST
from zelo.training.batches import QueryBatches
from zelo.training.lists import WHOLE, Collate

BATCH = 64  # pairs read at a time when training has ended


@dataclass(frozen=True)
class Pairs:
    """N preferences between two documents of a query; `p` is for the first."""

    metric: ClassVar[str] = "likelihood of a preference"

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
        return -log_loss(scores[:, 0].astype(np.float64), targets[:, 0].astype(np.float64))

    def measure(self, values: np.ndarray) -> float:
        """exp of their mean: 1/2 for a student that knows nothing, and the larger the smaller the log loss."""
        return float(np.exp(values.mean()))

    def _queries(self, rows: np.ndarray) -> list[str]:
        return self.texts.take(pa.array(self.query_rows[rows])).to_pylist()


def log_loss(score: np.ndarray, p: np.ndarray) -> np.ndarray:
    """[N] cross-entropy in nats of preferences p against log odds."""
    return np.logaddexp(0.0, score) - p * score


def both_orders(model: Any, pairs: Pairs, device: str) -> tuple[np.ndarray, np.ndarray]:
    """([N] log odds of the first document shown first, [N] of the second shown first), each for what is shown first."""
    found = np.empty((2, len(pairs)))
    with torch.no_grad():
        for low in range(0, len(pairs), BATCH):
            rows = np.arange(low, min(low + BATCH, len(pairs)))
            for line, turned in enumerate((False, True)):
                batch = pairs.batch(rows, np.full(len(rows), turned), model.collate)
                scores = model({key: value.to(device) for key, value in batch.items()})
                found[line, rows] = scores[:, 0].float().cpu().numpy()
    return found[0], found[1]


def fit_order_bias(model: Any, dev: Pairs, device: str) -> float:
    """What the order alone adds to the log odds: half of the mean sum of both orders, which would cancel without it.

    The model takes it off from now on.
    """
    model.to(device).eval()
    model.order_bias.zero_()
    first, second = both_orders(model, dev, device)
    bias = float((first + second).mean() / 2)
    model.order_bias.fill_(bias)
    return bias


def worth(model: Any, pairs: Pairs, device: str) -> dict[str, Any]:
    """How the student judges these pairs, in one order or as the mean of both, as the model says.

    consensus_accuracy: of the pairs that all judges decided alike; accuracy: of those whose mean is not 1/2; log_loss: in nats;
    order_gap: mean of |f(a, b) + f(b, a) - 1|, 0 for one to whom the order is nothing.
    """
    first, second = both_orders(model, pairs, device)
    f, g = 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))
    judged = (f + 1 - g) / 2 if model.both_orders else f
    odds = np.log(np.clip(judged, 1e-12, 1)) - np.log(np.clip(1 - judged, 1e-12, 1))
    right = (judged > 0.5) == (pairs.p > 0.5)
    decided = pairs.p != 0.5
    return {
        "pairs": len(pairs),
        "consensus_pairs": int(pairs.unanimous.sum()),
        "consensus_accuracy": float(right[pairs.unanimous].mean()) if pairs.unanimous.any() else None,
        "accuracy": float(right[decided].mean()) if decided.any() else None,
        "log_loss": float(log_loss(odds, pairs.p.astype(np.float64)).mean()),
        "order_gap": float(np.abs(f + g - 1).mean()),
    }


def as_judge(model: Any, examples: Mapping[str, Pairs], device: str) -> dict[str, Any]:
    """Fits the order bias on the dev pairs; how the student judges these, which chose its weights, and those of test."""
    bias = fit_order_bias(model, examples[DEV], device)
    return {"order_bias": bias} | {
        split: worth(model, examples[split], device) for split in (DEV, TEST) if split in examples
    }
