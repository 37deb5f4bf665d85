"""A pointwise reranker: a cross-encoder that reads one query and one document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zelo.backbones.lora import merged
from zelo.backbones.pretrained import longest
from zelo.errors import BadInput
from zelo.protocols import PairReader
from zelo.records import Texts

# Classifiers that read the first token of the last layer, a layer whose second half sees each token alone.
FIRST_TOKEN = (
    "BertForSequenceClassification",
    "RobertaForSequenceClassification",
    "XLMRobertaForSequenceClassification",
)
PADDING = 0.1  # share of a chunk that may be
WORTH = 1 / 8  # of `tokens`, from where on a chunk is read in one pass about as fast as a full one


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
        if max_length < 8 or tokens < max_length:
            raise BadInput(
                f"model.max_length={max_length}, model.tokens={tokens}: 8 <= max_length <= tokens must hold."
            )
        self.temperature, self.max_length, self.tokens = temperature, max_length, tokens
        self.register_buffer("scale", torch.tensor(1.0 / temperature))

    def load(self, backbone: PairReader, checkpoint: Path | None) -> None:
        """Takes the backbone's one-label classifier; trained weights come from `checkpoint`/weights.safetensors.

        Raises BadInput for a `max_length` that the backbone cannot read, and a checkpoint of another architecture.
        """
        self.backbone = backbone
        self.tokenizer = backbone.tokenizer()
        self.network = backbone.classifier()
        if (limit := longest(self.network)) and self.max_length > limit:
            raise BadInput(f"model.max_length={self.max_length}: the backbone reads at most {limit} tokens; lower it.")
        if type(self.network).__name__ in FIRST_TOKEN:
            self.network.base_model.encoder.layer[-1].attention.register_forward_hook(_first_token)
        if checkpoint:
            self._restore(checkpoint / "weights.safetensors")

    def _restore(self, path: Path) -> None:
        try:
            self.load_state_dict(load_file(path))
        except RuntimeError as error:  # torch lists every name and shape that differs
            reason = str(error).strip().splitlines()[1].strip()[:200]
            raise BadInput(
                f"{path} is a checkpoint of another architecture than {self.network.config.architectures}: {reason}"
                " Name the backbone that it was trained from, adapters included."
            ) from error

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """A fresh head learns ten times as fast as the body; what the backbone has frozen does not learn."""
        body = set(self.network.base_model.parameters())
        head = [weight for weight in self.network.parameters() if weight not in body and weight.requires_grad]
        learning = [weight for weight in self.network.base_model.parameters() if weight.requires_grad]
        groups = [{"params": learning, "lr": lr}, {"params": head, "lr": 10 * lr if self.backbone.fresh_head else lr}]
        return [group for group in groups if group["params"]]

    def prepare(self, documents: pa.Table) -> None:
        """Keeps the documents' table, of which a batch takes the texts that it needs."""
        self.texts = Texts(documents["text"], documents["title"])

    def collate(self, queries: list[str], doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Padded pairs [P, L] of the documents of `doc_rows` [B, D], shortest first, and the place of each in [B, D]."""
        line, column = np.nonzero(doc_rows >= 0)
        texts = [self.texts[row] for row in doc_rows[line, column]]
        pairs = self.backbone.pairs(self.tokenizer, [queries[row] for row in line], texts, self.max_length)
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
            while end < len(lengths) and self._takes(lengths[start : end + 1]):
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

    def _takes(self, lengths: list[int]) -> bool:
        """Whether a chunk takes one more pair, its last: within `tokens`, and little of it padding once it is worth a pass."""
        size = len(lengths) * lengths[-1]
        enough = (len(lengths) - 1) * lengths[-2] >= self.tokens * WORTH
        return size <= self.tokens and not (enough and sum(lengths) < (1 - PADDING) * size)

    def export(self, folder: Path) -> None:
        """A CrossEncoder with a plain one-label classification head; predict() gives the sigmoid of the score."""
        from sentence_transformers import CrossEncoder

        state = merged(self.network)
        head = _head(self.network)
        for name in (f"{head}.weight", f"{head}.bias"):
            if name in state:
                state[name] = state[name] * self.scale  # the scale becomes part of the head
        self.network.save_pretrained(folder, state_dict={name: weight.contiguous() for name, weight in state.items()})
        self.tokenizer.save_pretrained(folder)
        encoder = CrossEncoder(str(folder), max_length=self.max_length, activation_fn=nn.Sigmoid(), device="cpu")
        encoder.save_pretrained(str(folder))


def _first_token(module: nn.Module, given: Any, found: Any) -> Any:
    """Of the last layer's attention, what the first token has seen: the rest of the layer for the others would be for nothing."""
    return (found[0][:, :1], *found[1:])


def _head(network: nn.Module) -> str:
    """The name of the linear layer that gives the one logit."""
    return [name for name, module in network.named_modules() if getattr(module, "out_features", None) == 1][-1]
