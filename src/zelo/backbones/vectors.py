"""One vector a text: how the last layer's token vectors become one, and whole corpora of them, made once and kept."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zelo.backbones.pretrained import longest
from zelo.backbones.token_batches import TOKENS, token_batches
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.store.hashing import hash_json
from zelo.store.store import Store

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PART = 4096  # texts
MEAN, CLS, LAST = "mean", "cls", "last"


@dataclass(frozen=True)
class Vectors:
    """One vector each of N texts."""

    pooled: np.ndarray  # [N, dim] float32 of length 1


@dataclass(frozen=True)
class TokenVectors:
    """Last-layer vectors of N texts with T tokens in all, [CLS] and [SEP] or the like included."""

    vectors: np.ndarray  # [T, dim] of length 1, in the encoder's `storage`; [0, dim] where that is None
    offsets: np.ndarray  # [N + 1] int64: text i has the rows offsets[i] to offsets[i + 1]
    tokens: np.ndarray  # [T] int32, the tokenizer's ids
    pooled: np.ndarray  # [N, dim] float32 of length 1: one vector per text

    def __len__(self) -> int:
        return len(self.pooled)


def pool(tokens: "Tensor", mask: "Tensor", pooling: str) -> "Tensor":
    """[B, dim] vectors of length 1 from token vectors [B, L, dim] and their mask [B, L], padded on the right."""
    import torch
    from torch.nn.functional import normalize

    if pooling == CLS:
        return normalize(tokens[:, 0].float(), dim=-1)
    if pooling == LAST:
        return normalize(tokens[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1].float(), dim=-1)
    weight = mask.unsqueeze(-1)
    return normalize((tokens.float() * weight).sum(1) / weight.sum(1), dim=-1)


def padded(ids: list[list[int]]) -> "tuple[Tensor, Tensor]":
    """([B, L] token ids, [B, L] mask) of B texts; what pads is never looked at."""
    import torch

    lengths = torch.tensor([len(row) for row in ids])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    tokens = torch.zeros_like(mask)
    tokens[mask.bool()] = torch.tensor([token for row in ids for token in row])
    return tokens, mask


def vectors_of(
    network: "PreTrainedModel", ids: list[list[int]], pooling: str, advance: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """[N, dim] float32 vectors of length 1 of N texts, computed where the network is. advance: called with texts done."""
    import torch

    found = np.zeros((len(ids), network.config.hidden_size), np.float32)
    for rows in token_batches(ids, TOKENS[network.device.type]):
        tokens, mask = (part.to(network.device) for part in padded([ids[row] for row in rows]))
        with torch.inference_mode():
            hidden = network(input_ids=tokens, attention_mask=mask).last_hidden_state
        found[rows] = pool(hidden, mask, pooling).cpu().numpy()
        advance(len(rows))
    return found


def moved(vectors: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """[N, dim] of length 1: normalise(v + W v) of vectors [N, dim]; the vectors themselves without a matrix [dim, dim]."""
    if matrix is None:
        return vectors
    found = vectors + vectors @ matrix.T
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def moved_by_parts(vectors: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """The same, some thousand at a time and in their own place."""
    for low in range(0, len(vectors), PART):
        vectors[low : low + PART] = moved(vectors[low : low + PART], matrix)
    return vectors


def save_pooled(folder: Path, vectors: np.ndarray) -> None:
    """For `make` of `kept`."""
    np.save(folder / "pooled.npy", vectors, allow_pickle=False)


def kept(recipe: Facts, make: Callable[[Path], None]) -> Vectors:
    """What `make` writes as pooled.npy into the folder that it is given, or wrote when the recipe was the same."""

    def write(folder: Path, _partial: object) -> Facts:
        make(folder)
        return {"recipe": recipe}

    table, _reused = Store.current().obtain("vectors", hash_json(recipe), write)
    return Vectors(np.load(table.path / "pooled.npy", mmap_mode="r", allow_pickle=False))


def in_parts(table: pa.Table) -> Iterator[pa.Table]:
    """The table's rows in order, some thousand at a time."""
    for low in range(0, len(table), PART):
        yield table.slice(low, PART)


def hash_texts(texts: Iterable[str]) -> str:
    """Of the texts in their order; no two lists share one."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def check_lengths(network: "PreTrainedModel", backbone: Any) -> None:
    """Raises BadInput where the backbone's lengths are above what its network can read."""
    limit = longest(network)
    for name in ("query_length", "max_length"):
        if limit and getattr(backbone, name) > limit:
            raise BadInput(
                f"backbone.{name}={getattr(backbone, name)}: {backbone.model} reads at most {limit} tokens; lower it."
            )
