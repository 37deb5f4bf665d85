"""A pointwise reranker: a cross-encoder that reads one query and one document."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from zelo.backbones import classifier
from zelo.backbones.restored import restore
from zelo.errors import BadInput
from zelo.protocols import PairReader, ParameterGroup
from zelo.texts import Texts


class Pointwise(nn.Module):
    """score = the one logit of a sequence classifier over (query, document), as in the paper (arXiv 2509.12541, section 4.3).

    Pairs are cut at `max_length` tokens as the backbone cuts them, and read in chunks of at most `tokens` tokens, shortest first,
    so that padding stays small.
    """

    scale: Tensor

    def __init__(self, *, temperature: float | None, max_length: int, tokens: int) -> None:
        super().__init__()
        if temperature is None or temperature <= 0:
            raise BadInput(
                f"model.temperature={temperature}: a cross-encoder's fresh head has no spread to measure; give > 0."
            )
        classifier.check_lengths(max_length, tokens)
        self.temperature, self.max_length, self.tokens = temperature, max_length, tokens
        self.register_buffer("scale", torch.tensor(1.0 / temperature))

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
        """Keeps the documents' table, of which a batch takes the texts that it needs."""
        self.texts = Texts(documents["text"], documents["title"])

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Padded pairs [P, L] of the documents of `doc_rows` [B, D], shortest first, and the place of each in [B, D]."""
        line, column = np.nonzero(doc_rows >= 0)
        texts = [self.texts[row] for row in doc_rows[line, column]]
        pairs = self.backbone.pairs(self.tokenizer, [queries[row] for row in line], texts, self.max_length)
        batch, order = classifier.padded(self.tokenizer, pairs)
        place = (line * doc_rows.shape[1] + column)[order]
        return {**batch, "place": torch.from_numpy(place), "shape": torch.tensor(doc_rows.shape)}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] logits times scale."""
        flat = classifier.logits(self.network, batch, self.tokens) * self.scale
        lines, columns = batch["shape"].tolist()
        return torch.zeros(lines * columns, device=flat.device).index_copy(0, batch["place"], flat).view(lines, columns)

    def export(self, folder: Path) -> None:
        """A CrossEncoder with a plain one-label classification head; predict() gives the sigmoid of the score."""
        from sentence_transformers import CrossEncoder

        classifier.export(self.network, self.tokenizer, self.scale, folder)
        encoder = CrossEncoder(str(folder), max_length=self.max_length, activation_fn=nn.Sigmoid(), device="cpu")
        encoder.save_pretrained(str(folder))
