"""A pairwise student: it reads one query and two documents and says which is the better answer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from zelo.backbones import classifier
from zelo.backbones.exported import SETTINGS
from zelo.backbones.restored import restore
from zelo.errors import BadInput
from zelo.protocols import PairReader, ParameterGroup
from zelo.texts import document_texts


class Pairwise(nn.Module):
    """score = the one logit of a classifier over (query, two documents) = log odds that the first is preferred.

    It takes the place of costly judges (zELO, arXiv 2509.12541, section 5.3). What the order of the two alone adds to the
    logit, `order_bias`, is fitted after training and taken off again. Its judgements average both orders where `both_orders`
    says so: p = (f(a, b) + 1 - f(b, a)) / 2 has no order, and costs twice as much. Texts are cut at `max_length` tokens in all,
    and rows are read in chunks of at most `tokens` tokens.
    """

    learns_pairs: ClassVar[Literal[True]] = True
    scale: Tensor
    order_bias: Tensor

    def __init__(self, *, temperature: float | None, max_length: int, tokens: int, both_orders: bool) -> None:
        super().__init__()
        if temperature is None or temperature <= 0:
            raise BadInput(
                f"model.temperature={temperature}: a cross-encoder's fresh head has no spread to measure; give > 0."
            )
        classifier.check_lengths(max_length, tokens)
        self.temperature, self.max_length, self.tokens = temperature, max_length, tokens
        self.both_orders = both_orders
        self.register_buffer("scale", torch.tensor(1.0 / temperature))
        self.register_buffer("order_bias", torch.tensor(0.0))

    def load(self, backbone: PairReader, checkpoint: Path | None) -> None:
        """Takes the backbone's one-label classifier; trained weights come from `checkpoint`/weights.safetensors.

        Raises BadInput for a `max_length` that the backbone cannot read, and a checkpoint of another architecture.
        """
        self.backbone = backbone
        self.tokenizer, self.network = classifier.opened(backbone, self.max_length)
        if checkpoint:
            restore(self, checkpoint, self.network.config.architectures)

    def parameter_groups(self, lr: float) -> list[ParameterGroup]:
        """A fresh head learns ten times as fast as the body; what the backbone has frozen does not learn."""
        return classifier.parameter_groups(self.network, lr, self.backbone.fresh_head)

    def prepare(self, documents: pa.Table) -> None:
        """Keeps the documents; texts are joined batch by batch."""
        self.documents = documents

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Padded rows [B, L] of B queries with the two documents of `doc_rows` [B, 2], shortest first, and the place of each."""
        first, second = (document_texts(self.documents.take(pa.array(rows))) for rows in doc_rows.T)
        rows = self.backbone.triples(self.tokenizer, queries, first, second, self.max_length)
        batch, order = classifier.padded(self.tokenizer, rows)
        return {**batch, "place": torch.from_numpy(order)}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, 1] log odds that the first document is preferred."""
        flat = classifier.logits(self.network, batch, self.tokens) * self.scale - self.order_bias
        return torch.zeros_like(flat).index_copy(0, batch["place"], flat).unsqueeze(1)

    def export(self, folder: Path) -> None:
        """A transformers sequence classifier whose logit less `order_bias`, in pairwise.json, is the score."""
        classifier.export(self.network, self.tokenizer, self.scale, folder)
        settings = {
            "order_bias": self.order_bias.item(),
            "both_orders": self.both_orders,
            "max_length": self.max_length,
            "query_length": self.backbone.query_length,
            "documents": self.backbone.joined(self.tokenizer),  # for readers of the folder without zelo
        }
        (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
