"""A pointwise reranker: a cross-encoder that reads one query and one document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from zelo.errors import BadInput
from zelo.protocols import Backbone
from zelo.records import document_texts


class Pointwise(nn.Module):
    """score = the one logit of a sequence classifier over (query, document), as in the paper (arXiv 2509.12541, section 4.3).

    Pairs are cut at `max_length` tokens, the longer text first, and read in chunks of at most `tokens` tokens, shortest first, so
    that padding stays small.
    """

    scale: Tensor

    def __init__(self, *, temperature: float | None, max_length: int, tokens: int) -> None:
        super().__init__()
        if temperature is None or temperature <= 0:
            raise BadInput(
                f"model.temperature={temperature}: a cross-encoder's fresh head has no spread to measure; give > 0."
            )
        if max_length < 8 or tokens < max_length:
            raise BadInput(
                f"model.max_length={max_length}, model.tokens={tokens}: 8 <= max_length <= tokens must hold."
            )
        self.temperature, self.max_length, self.tokens = temperature, max_length, tokens
        self.register_buffer("scale", torch.tensor(1.0 / temperature))

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Puts a one-label head on the backbone; trained weights come from `checkpoint`/weights.safetensors."""
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer()
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # transformers warns of the fresh head, which is meant
        self.network = AutoModelForSequenceClassification.from_pretrained(
            backbone.folder(),
            num_labels=1,
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        ).eval()
        logging.set_verbosity(verbosity)
        if checkpoint:
            self.load_state_dict(load_file(checkpoint / "weights.safetensors"))

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The fresh head learns ten times as fast as the body."""
        body = set(self.network.base_model.parameters())
        head = [parameter for parameter in self.network.parameters() if parameter not in body]
        return [{"params": list(body), "lr": lr}, {"params": head, "lr": 10 * lr}]

    def prepare(self, documents: pa.Table) -> None:
        """Keeps the documents' texts."""
        self.texts = document_texts(documents)

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Padded pairs [P, L] of the documents of `doc_rows` [B, D], shortest first, and the place of each in [B, D]."""
        line, column = np.nonzero(doc_rows >= 0)
        texts = [self.texts[row] for row in doc_rows[line, column]]
        pairs = self.tokenizer(
            [queries[row] for row in line], texts, truncation=True, max_length=self.max_length, padding=False
        )
        lengths = np.array([len(ids) for ids in pairs["input_ids"]])
        order = np.argsort(lengths, kind="stable")
        padded = self.tokenizer.pad(
            {key: [values[i] for i in order] for key, values in pairs.items()}, return_tensors="pt"
        )
        place = (line * doc_rows.shape[1] + column)[order]
        return {
            **padded,
            "lengths": torch.from_numpy(lengths[order]),
            "place": torch.from_numpy(place),
            "shape": torch.tensor(doc_rows.shape),
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] logits times scale."""
        lengths, found, start = batch["lengths"].tolist(), [], 0
        while start < len(lengths):
            end = start + 1
            while end < len(lengths) and (end + 1 - start) * lengths[end] <= self.tokens:
                end += 1
            chunk = {
                key: batch[key][start:end, : lengths[end - 1]]
                for key in ("input_ids", "attention_mask", "token_type_ids")
                if key in batch
            }
            found.append(self.network(**chunk).logits[:, 0].float())
            start = end
        flat = torch.cat(found) * self.scale
        lines, columns = batch["shape"].tolist()
        return torch.zeros(lines * columns, device=flat.device).index_copy(0, batch["place"], flat).view(lines, columns)

    def export(self, folder: Path) -> None:
        """A CrossEncoder with a plain one-label classification head; predict() gives the sigmoid of the score."""
        from sentence_transformers import CrossEncoder

        state = self.network.state_dict()
        head = {name: state[name] * self.scale for name in state if name.startswith("classifier")}
        self.network.load_state_dict({**state, **head})  # the scale becomes part of the head
        self.network.save_pretrained(folder)
        self.network.load_state_dict(state)
        self.tokenizer.save_pretrained(folder)
        encoder = CrossEncoder(str(folder), max_length=self.max_length, activation_fn=nn.Sigmoid(), device="cpu")
        encoder.save_pretrained(str(folder))
