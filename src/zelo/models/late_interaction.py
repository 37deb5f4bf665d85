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

from zelo.errors import BadInput


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

    def load(self, backbone: Any, checkpoint: Path | None) -> None:
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
        """Queries as token ids and mask [B, L]; the token vectors of the documents of `doc_rows` [B, D] one after another."""
        offsets = self.vectors.offsets
        rows = np.maximum(doc_rows, 0)
        lengths = np.where(doc_rows >= 0, offsets[rows + 1] - offsets[rows], 0)
        tokens = np.concatenate(
            [self.vectors.vectors[offsets[row] : offsets[row + 1]] for row in doc_rows[doc_rows >= 0]]
        )
        texts = [self.backbone.query_prompt + query for query in queries]
        length = self.backbone.query_length
        batch = self.tokenizer(texts, truncation=True, max_length=length, padding=True, return_tensors="pt")
        return {**batch, "tokens": torch.from_numpy(tokens), "lengths": torch.from_numpy(lengths)}

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, L, dim] normalised query token vectors; zero where there is padding."""
        mask = batch["attention_mask"]
        tokens = self.query(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        return F.normalize(tokens.float(), dim=-1) * mask.unsqueeze(-1)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """[B, D] scores."""
        lengths, scores, start = batch["lengths"], [], 0
        for query, mask, length in zip(self.encode(batch), batch["attention_mask"], lengths, strict=True):
            end = start + int(length.sum())
            tokens = batch["tokens"][start:end].float()
            similar = tokens @ query[mask.bool()].T  # [document tokens, query tokens]
            best = torch.segment_reduce(similar, "max", lengths=length, axis=0, initial=-1.0)
            scores.append(best.mean(1))
            start = end
        return torch.stack(scores) * self.scale

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
