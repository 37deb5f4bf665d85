"""A late-interaction reranker: mean over query tokens of the best cosine with a document token, tuned on the query side."""

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


class LateInteraction(nn.Module):
    """score = scale * mean over all query tokens of max over document tokens of their cosine (MaxSim, Khattab and Zaharia 2020).

    The document token vectors stay those of the backbone, so a stored index stays valid. temperature: 1 / scale at the start;
    null takes half of the untuned scores' deviation within a query.
    """

    scale: Tensor

    def __init__(self, *, temperature: float | None) -> None:
        super().__init__()
        if temperature is not None and temperature <= 0:
            raise BadInput(f"model.temperature={temperature}: must be above 0, or null to measure it.")
        self.temperature = temperature
        self.register_buffer("scale", torch.tensor(1.0 / (temperature or 1.0)))

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the query encoder from the backbone; trained weights come from `checkpoint`/weights.safetensors."""
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer()
        self.query = backbone.network()
        if checkpoint:
            self.load_state_dict(load_file(checkpoint / "weights.safetensors"))

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """All layers at one rate."""
        return [{"params": list(self.query.parameters()), "lr": lr}]

    def prepare(self, documents: pa.Table) -> None:
        """Opens the backbone's document token vectors [T, dim], which stay on disk."""
        self.vectors = self.backbone.documents(documents)

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Token ids and mask [B, L] of B queries, and `doc_rows` [B, D], -1 where there is no document."""
        tokens = query_tokens(self.backbone, self.tokenizer, queries)
        return {**tokens, "doc_rows": torch.from_numpy(doc_rows.astype(np.int64))}

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, L, dim] normalised query token vectors."""
        tokens = self.query(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return F.normalize(tokens.float(), dim=-1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] scores. One query at a time, and only the document tokens that were best are kept for the gradient."""
        scores = torch.zeros(batch["doc_rows"].shape, device=batch["input_ids"].device)
        for line, vectors in enumerate(self.encode(batch)):
            query = vectors[batch["attention_mask"][line].bool()]
            there = batch["doc_rows"][line] >= 0
            best = self._best(query.detach(), batch["doc_rows"][line][there].cpu().numpy())  # [D, L, dim]
            scores[line, there] = torch.einsum("dlw,lw->dl", best, query).mean(1).float()  # bf16 under autocast
        return scores * self.scale

    @torch.no_grad()
    def _best(self, query: Tensor, rows: np.ndarray) -> Tensor:
        """[D, L, dim] the token of each of D documents that is nearest to each of L query tokens [L, dim]."""
        offsets = self.vectors.offsets
        lengths = torch.from_numpy(offsets[rows + 1] - offsets[rows])
        read = np.concatenate([self.vectors.vectors[offsets[row] : offsets[row + 1]] for row in rows])
        tokens = torch.from_numpy(read).to(query.device, torch.float32)
        place = torch.arange(int(lengths.max()))
        inside = (lengths.cumsum(0) - lengths)[:, None] + place.clamp(max=lengths[:, None] - 1)  # [D, longest]
        similar = (tokens @ query.T)[
            inside.to(query.device)
        ]  # [D, longest, L]; beyond its end a document's last token again
        nearest = inside.to(query.device).gather(1, similar.argmax(1))
        return tokens[nearest]

    def export(self, folder: Path) -> None:
        """A MultiVectorEncoder: a Router whose query route is the tuned encoder and whose document route is the backbone."""
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Normalize, Router, Transformer
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        source = str(self.backbone.folder())
        query = Transformer(source, max_seq_length=self.backbone.query_length)
        query.auto_model.load_state_dict(self.query.state_dict())
        document = Transformer(source, max_seq_length=self.backbone.max_length)
        router = Router.for_query_document(query_modules=[query], document_modules=[document])
        modules = [router, Normalize(module_input_name="token_embeddings"), MultiVectorMask()]
        prompts = {"query": self.backbone.query_prompt, "document": self.backbone.document_prompt}
        encoder = MultiVectorEncoder(modules=modules, similarity_fn_name="meanmaxsim", prompts=prompts, device="cpu")
        encoder.save_pretrained(str(folder))
