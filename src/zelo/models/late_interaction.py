"""A late-interaction reranker: mean over query tokens of the best cosine with a document token, tuned on the query side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zelo.backbones import sentence_folder
from zelo.backbones.restored import restore
from zelo.backbones.vectors import check_lengths, padded
from zelo.errors import BadInput
from zelo.protocols import Backbone, ParameterGroup, TokenVectorSource


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

    def check(self, backbone: object) -> None:
        """Raises BadInput for a backbone that gives no vector of each token, such as a decoder."""
        if not isinstance(backbone, TokenVectorSource):
            raise BadInput(
                f"model=late_interaction compares token vectors, and {type(backbone).__name__} gives none that have read the"
                " whole text; use an encoder: backbone=minilm, modernbert or xlm_r."
            )
        backbone.check_token_vectors("model=late_interaction")

    def load(self, backbone: Backbone, checkpoint: Path | None) -> None:
        """Makes the query encoder from the backbone; trained weights come from `checkpoint`/weights.safetensors.

        Raises BadInput for lengths that the backbone cannot read, and a checkpoint of another architecture.
        """
        self.check(backbone)
        self.backbone = backbone
        self.tokenizer = backbone.text_tokenizer()
        self.query = backbone.network()
        check_lengths(self.query, backbone)
        if checkpoint:
            restore(self, checkpoint, self.query.config.architectures)

    def parameter_groups(self, lr: float) -> list[ParameterGroup]:
        """All layers at one rate, but for those that the backbone has frozen."""
        return [{"params": [weight for weight in self.query.parameters() if weight.requires_grad], "lr": lr}]

    def prepare(self, documents: pa.Table) -> None:
        """Opens the backbone's document token vectors [T, dim], which stay on disk."""
        self.vectors: Any = self.backbone.documents(documents)

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Token ids and mask [B, L] of B queries, and `doc_rows` [B, D], -1 where there is no document."""
        backbone = self.backbone
        tokens, mask = padded(backbone.texts(self.tokenizer, queries, backbone.query_prompt, backbone.query_length))
        rows = torch.from_numpy(doc_rows.astype(np.int64))
        return {"input_ids": tokens, "attention_mask": mask, "doc_rows": rows}

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
        from sentence_transformers.base.modules import Normalize, Router
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        query, document = (
            sentence_folder.transformer(self.backbone, self.tokenizer, self.query, task, tuned)
            for task, tuned in (("query", True), ("document", False))
        )
        router = Router.for_query_document(query_modules=[query], document_modules=[document])
        modules = [router, Normalize(module_input_name="token_embeddings"), MultiVectorMask()]
        how = {"similarity_fn_name": "meanmaxsim", "prompts": sentence_folder.prompts(self.backbone)}
        MultiVectorEncoder(modules=modules, **how, device="cpu").save_pretrained(str(folder))
