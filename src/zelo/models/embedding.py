"""A bi-encoder: cosine of pooled query and document vectors, tuned on the query side alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from zelo.backbones.query_tokens import query_tokens
from zelo.errors import BadInput
from zelo.protocols import Backbone


class Embedding(nn.Module):
    """score = cos(query, document) * scale. The document vectors stay those of the backbone: no index is built again.

    With `document_matrix` a residual matrix W, which starts at zero, moves them: normalise(d + W d) (one matrix product over a
    stored index). temperature: 1 / scale at the start; null takes half of the untuned scores' deviation within a query.
    """

    scale: Tensor
    documents: Tensor  # [N, dim]

    def __init__(self, *, temperature: float | None, document_matrix: bool) -> None:
        super().__init__()
        if temperature is not None and temperature <= 0:
            raise BadInput(f"model.temperature={temperature}: must be above 0, or null to measure it.")
        self.temperature = temperature
        self.document_matrix = document_matrix
        self.register_buffer("scale", torch.tensor(1.0 / (temperature or 1.0)))

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the query encoder from the backbone; trained weights come from `checkpoint`/weights.safetensors."""
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer()
        self.query = backbone.network()
        width = self.query.config.hidden_size
        self.matrix = nn.Parameter(torch.zeros(width, width)) if self.document_matrix else None
        if checkpoint:
            self.load_state_dict(load_file(checkpoint / "weights.safetensors"))

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The matrix starts at zero and learns ten times as fast."""
        groups: list[dict[str, Any]] = [{"params": list(self.query.parameters()), "lr": lr}]
        return groups if self.matrix is None else [*groups, {"params": [self.matrix], "lr": 10 * lr}]

    def prepare(self, documents: pa.Table) -> None:
        """Takes the backbone's document vectors [N, dim] from its cache."""
        vectors = torch.from_numpy(np.array(self.backbone.documents(documents).pooled, np.float32))
        self.register_buffer("documents", vectors, persistent=False)

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Token ids and mask [B, L] of B queries, and `doc_rows` [B, D], -1 where there is no document."""
        tokens = query_tokens(self.backbone, self.tokenizer, queries)
        return {**tokens, "doc_rows": torch.from_numpy(doc_rows.astype(np.int64))}

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, dim] normalised query vectors."""
        mask = batch["attention_mask"].unsqueeze(-1)
        tokens = self.query(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        if self.backbone.pooling == "cls":
            return F.normalize(tokens[:, 0].float(), dim=-1)
        return F.normalize((tokens.float() * mask).sum(1) / mask.sum(1), dim=-1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] scores."""
        documents = self._moved(self.documents[batch["doc_rows"].clamp(min=0)])
        return torch.einsum("bw,bdw->bd", self.encode(batch), documents) * self.scale

    def search(self, queries: list[str], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows [B, top_k] of the prepared documents, scores [B, top_k]), best first."""
        batch = {k: v.to(self.documents.device) for k, v in self.collate(queries, np.empty((0, 0))).items()}
        scores = self.encode(batch) @ self._moved(self.documents).T * self.scale
        values, rows = scores.topk(min(top_k, scores.shape[1]), dim=1)
        return rows.cpu().numpy(), values.cpu().numpy()

    def _moved(self, documents: Tensor) -> Tensor:
        return documents if self.matrix is None else F.normalize(documents + documents @ self.matrix.T, dim=-1)

    def export(self, folder: Path) -> None:
        """A SentenceTransformer: a Router whose query route is the tuned encoder and whose document route is the backbone."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        source = str(self.backbone.folder())
        query = Transformer(source, max_seq_length=self.backbone.query_length)
        query.auto_model.load_state_dict(self.query.state_dict())
        document = Transformer(source, max_seq_length=self.backbone.max_length)
        width = self.query.config.hidden_size
        routes = [[part, Pooling(width, pooling_mode=self.backbone.pooling), Normalize()] for part in (query, document)]
        if self.matrix is not None:
            dense = Dense(width, width, bias=False, activation_function=nn.Identity(), use_residual=True)
            dense.linear.weight.data.copy_(self.matrix.data)
            routes[1] += [dense, Normalize()]
        router = Router.for_query_document(query_modules=routes[0], document_modules=routes[1])
        prompts = {"query": self.backbone.query_prompt, "document": self.backbone.document_prompt}
        SentenceTransformer(modules=[router], prompts=prompts, device="cpu").save_pretrained(str(folder))
