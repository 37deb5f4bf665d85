"""Forward passes of a causal language model over prompts that begin alike: what they have in common is read once."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zelo.backbones.token_batches import token_batches

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Prefixes:
    """The key-value cache of R prefixes of at most T tokens, padded anywhere."""

    layers: "list[tuple[torch.Tensor, torch.Tensor]]"  # keys and values, [R, heads, T, dim] each
    mask: "torch.Tensor"  # [R, T] int64 on the CPU, 0 where there is padding

    def of(self, place: np.ndarray) -> "tuple[DynamicCache, torch.Tensor]":
        """(a cache of B of them for the network to go on from, their mask [B, T]). place: [B] which."""
        import torch
        from transformers import DynamicCache

        chosen = torch.as_tensor(place)
        at = chosen.to(self.layers[0][0].device)
        return DynamicCache([(keys[at], values[at]) for keys, values in self.layers]), self.mask[chosen]


def read_behind(
    network: "PreTrainedModel", parts: list[list[int]], past: Prefixes | None, place: np.ndarray, *, keep: bool
) -> "tuple[torch.Tensor, Prefixes | None]":
    """([B, vocabulary] float32 logits after the last token, the cache if it is to be kept) of B parts behind prefixes.

    Parts are padded on the left, so that all end at the same place. place: [B] rows of `past`.
    """
    import torch
    from transformers import DynamicCache

    lengths = torch.tensor([len(part) for part in parts])
    width = int(lengths.max())
    mask = (torch.arange(width) >= width - lengths[:, None]).long()
    tokens = torch.zeros_like(mask)
    tokens[mask.bool()] = torch.tensor([token for part in parts for token in part])
    position = (mask.cumsum(1) - 1).clamp(min=0)
    cache: Any = DynamicCache() if keep else None
    if past is not None:
        cache, before = past.of(place)
        position = position + before.sum(1, keepdim=True)
        mask = torch.cat([before, mask], 1)
    where = network.device
    with torch.inference_mode():
        output: Any = network(
            input_ids=tokens.to(where),
            attention_mask=mask.to(where),
            position_ids=position.to(where),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=1,
        )
    logits = output.logits[:, -1].float()
    return logits, Prefixes([(layer.keys, layer.values) for layer in cache.layers], mask) if keep else None


@dataclass(frozen=True)
class SharedPrefixes:
    """Next-token logits after prompts, without reading the beginning that several of them share more than once.

    `groups` are nested: prompts of one group are of one group at each level before it, as those with one query and one first
    document have that query. What all prompts of a group have in common is read behind what its outer group has, and the
    key-value cache of it serves all of them. `budget`: tokens of a batch, padding and cache included; at most one batch per
    level is in memory. A model whose layers do not keep every token (a sliding window, a recurrent state) reads each prompt
    whole. In float32 a probability moves by less than 1e-5 with what else is read.
    """

    network: "PreTrainedModel"
    budget: int

    def logits(self, ids: list[list[int]], groups: Sequence[np.ndarray]) -> "Iterator[tuple[list[int], torch.Tensor]]":
        """(rows, [B, vocabulary] float32) batch by batch, each of the N prompts once.

        ids: [N] token ids, each at least one; groups: per level, outermost first, [N] the prompt's group.
        """
        levels = _common(ids, groups) if groups and self._keeps_all() else []
        yield from self._below(ids, levels, np.arange(len(ids)), None, np.zeros(len(ids), int))

    def _below(
        self, ids: list[list[int]], levels: list[np.ndarray], rows: np.ndarray, past: Prefixes | None, place: np.ndarray
    ) -> "Iterator[tuple[list[int], torch.Tensor]]":
        """Reads the prompts `rows` [K] behind their prefixes. levels: still to be read; place: [K] rows of `past`."""
        done = (np.zeros(1, int) if past is None else past.mask.sum(1).numpy())[place]  # tokens of each that are read
        before = 0 if past is None else past.mask.shape[1]
        if not levels:
            rest = [ids[row][known:] for row, known in zip(rows, done, strict=True)]
            for batch in token_batches(rest, self.budget, before):
                parts = [rest[n] for n in batch]
                yield rows[batch].tolist(), read_behind(self.network, parts, past, place[batch], keep=False)[0]
            return
        end, deeper = levels[0][rows], levels[1:]
        longer = end > done  # the others have nothing more in common than their outer group has
        sharing: dict[tuple[int, ...], list[int]] = {}
        for n in np.flatnonzero(longer).tolist():
            sharing.setdefault(tuple(ids[rows[n]][: end[n]]), []).append(n)
        members = list(sharing.values())
        rest = [list(prefix[done[n] :]) for prefix, (n, *_) in sharing.items()]
        for batch in token_batches(rest, self.budget, before):
            first = [members[number][0] for number in batch]
            parts = [rest[number] for number in batch]
            read = read_behind(self.network, parts, past, place[first], keep=True)[1]
            below = np.concatenate([members[number] for number in batch])
            inside = np.repeat(np.arange(len(batch)), [len(members[number]) for number in batch])
            yield from self._below(ids, deeper, rows[below], read, inside)
        if not longer.all():
            yield from self._below(ids, deeper, rows[~longer], past, place[~longer])

    def _keeps_all(self) -> bool:
        """Whether each layer has keys and values of every token before, whatever its own place."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        layers = DynamicCache(config=self.network.config).layers
        takes = inspect.signature(self.network.forward).parameters
        return "past_key_values" in takes and all(type(layer) is DynamicLayer for layer in layers)


def _common(ids: list[list[int]], groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Per level, and before them for all prompts, [N] how many first tokens all prompts of the group share.

    At least the last token is left, whose logits are wanted; a prompt alone in its group shares what the outer group does.
    """
    outer, levels = np.zeros(len(ids), int), []
    for group in [np.zeros(len(ids), int), *groups]:
        end = outer.copy()
        order = np.argsort(group, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            if len(rows) > 1:
                # All between the smallest and the largest in the order of lists begin as these two do.
                low, high = min((ids[row] for row in rows), default=[]), max((ids[row] for row in rows), default=[])
                shared = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
                end[rows] = max(min(shared, min(len(ids[row]) for row in rows) - 1), int(outer[rows[0]]))
        levels.append(end)
        outer = end
    return levels
