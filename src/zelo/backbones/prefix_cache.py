"""Log likelihoods of texts behind prefixes that many of them share: a prefix is read once, and its keys and values serve all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zelo.backbones import device
from zelo.backbones.shared_prefixes import read_behind
from zelo.backbones.token_batches import token_batches
from zelo.backbones.vectors import padded

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 4  # times `batch_tokens` that the prefixes of texts read together may have: they are not read again
LOGITS = {device.CPU: 1 << 25, device.CUDA: 1 << 30}  # numbers that exist at a time: 128 MB and 4 GB as float32


@dataclass(frozen=True)
class Continuations:
    """The token ids of a prefix, and of texts that follow it; none is empty."""

    prefix: list[int]
    texts: list[list[int]]


def log_likelihoods(
    network: Any, asked: list[Continuations], batch_tokens: int, advance: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """[T] float32 mean log P(token | prefix and tokens before) of all texts, in their order; nan where the model has no number.

    Prefixes of about one length are read together, at most `batch_tokens` tokens after padding, and so are their texts; the
    keys and values are dropped after them. advance: called with texts done.
    """
    first = np.cumsum([0, *(len(one.texts) for one in asked)])
    found = np.full(first[-1], np.nan, np.float32)
    for batch in token_batches([one.prefix for one in asked], batch_tokens):
        place = np.concatenate([np.arange(first[n], first[n + 1]) for n in batch])
        owner = np.repeat(np.arange(len(batch)), [len(asked[n].texts) for n in batch])
        texts = [text for n in batch for text in asked[n].texts]
        for rows, values in _behind(network, [asked[n].prefix for n in batch], owner, texts, batch_tokens):
            found[place[rows]] = values
            advance(len(rows))
    return np.where(np.isfinite(found), found, np.nan)


def _behind(
    network: Any, prefixes: list[list[int]], owner: np.ndarray, texts: list[list[int]], batch_tokens: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """(rows of `texts`, their mean log likelihoods), some at a time. owner: [T] the prefix of each text."""
    import torch

    logits, past = read_behind(network, prefixes, None, np.zeros(len(prefixes), int), keep=True)
    assert past is not None
    begins, where = torch.log_softmax(logits, 1), network.device
    for rows in _together(texts, past.mask.shape[1], batch_tokens, LOGITS[where.type] // begins.shape[1]):
        ids, known = padded([texts[row] for row in rows])
        cache, before = past.of(owner[rows])
        ids, there = ids.to(where), known.to(where)
        with torch.inference_mode():
            total = begins[torch.as_tensor(owner[rows]).to(where), ids[:, 0]]
            if ids.shape[1] > 1:
                position = before.sum(1, keepdim=True) + torch.arange(ids.shape[1] - 1)
                after = network(
                    input_ids=ids[:, :-1],
                    attention_mask=torch.cat([before, known[:, :-1]], 1).to(where),
                    position_ids=position.to(where),
                    past_key_values=cache,
                    use_cache=True,
                ).logits
                total = total + (_log_chance(after, ids[:, 1:]) * there[:, 1:]).sum(1)
        yield rows, (total / there.sum(1)).cpu().numpy()


def _log_chance(logits: "Tensor", ids: "Tensor") -> "Tensor":
    """[B, L] float32 log probabilities of the tokens `ids`. logits: [B, L, V]."""
    import torch

    logits = logits.float()
    return logits.gather(2, ids[..., None])[..., 0] - torch.logsumexp(logits, 2)


def _together(texts: list[list[int]], width: int, batch_tokens: int, positions: int) -> Iterator[list[int]]:
    """Rows of texts of about one length: within `batch_tokens`, their prefixes of `width` included, and `positions` of logits."""
    batch: list[int] = []
    for row in sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row])):
        size = (len(batch) + 1) * len(texts[row])
        if batch and (size > positions or size + (len(batch) + 1) * width > batch_tokens * SHARE):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
