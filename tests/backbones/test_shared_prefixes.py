"""Prompts that begin alike, read by tiny random decoders with and without what they share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from zelo.backbones.shared_prefixes import SharedPrefixes

RNG = np.random.default_rng(0)


def some(least: int, most: int) -> list[int]:
    return RNG.integers(5, 200, RNG.integers(least, most)).tolist()


def prompts() -> tuple[list[list[int]], list[np.ndarray]]:
    """(ids, groups): a system's part, three queries, and of each pairs of documents, two of which begin alike."""
    system, documents = some(30, 31), [some(3, 40) for _ in range(6)]
    documents[5] = documents[0][:2] + documents[5]
    ids, query, first = [], [], []
    for number in range(3):
        words = some(2, 9)
        for a, b in [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (4, 5), (5, 1), (5, 5)]:
            ids.append([*system, *words, *documents[a], *documents[b], 7, 8, 9])
            query.append(number)
            first.append(number * 10 + a)
    return ids, [np.array(query), np.array(first)]


class Counted:
    """What goes through a network: tokens, padding included, and the largest number of tokens that one pass sees."""

    def __init__(self, network: Any) -> None:
        self.tokens = self.widest = 0
        network.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, _network: object, _arguments: object, named: dict[str, Any]) -> None:
        self.tokens += named["input_ids"].numel()
        self.widest = max(self.widest, named["attention_mask"].numel())


def read(network: Any, ids: list[list[int]], groups: list[np.ndarray], budget: int) -> tuple[torch.Tensor, Counted]:
    """([N, vocabulary] probabilities of the next token, what was read)."""
    counted, found = Counted(network), torch.full((len(ids), network.config.vocab_size), torch.nan)
    for rows, logits in SharedPrefixes(network, budget).logits(ids, groups):
        assert torch.isnan(found[rows]).all()  # each once
        found[rows] = logits.softmax(1)
    return found, counted


@pytest.mark.parametrize("family", tiny_models.DECODERS)
def test_what_is_shared_changes_no_probability(family: str, tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(tiny_models.save(family, tmp_path)).eval()
    ids, groups = prompts()
    with torch.inference_mode():
        alone = torch.stack([network(input_ids=torch.tensor([row])).logits[0, -1].softmax(0) for row in ids])
    assert alone.std(0).max() > 0.01
    for budget in (1, 400, 10**6):
        found, counted = read(network, ids, groups, budget)
        assert (found - alone).abs().max() < 1e-5
        assert counted.widest <= max(budget, 150)  # a prompt that is longer is read alone, padding before it included
    whole, counted = read(network, ids, [], 1)
    assert (whole - alone).abs().max() < 1e-5
    assert counted.tokens == sum(map(len, ids))
    assert read(network, ids, groups, 1)[1].tokens < 0.5 * counted.tokens


def test_a_common_prefix_is_read_once(tmp_path: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(tiny_models.save("qwen3", tmp_path)).eval()
    start, query = some(20, 21), [some(5, 6), some(5, 6)]
    ids = [[*start, *query[0], 50], [*start, *query[0], 51, 52], [*start, *query[1], 53]]
    counted = read(network, ids, [np.array([0, 0, 1])], 1)[1]
    assert counted.tokens == 20 + 5 + 1 + 2 + 6
    assert (
        read(network, [start, start], [np.array([0, 0])], 1)[1].tokens == 19 + 2
    )  # the last token is read for its logits
    assert read(network, [start], [np.array([0])], 1)[1].tokens == 20


def test_a_sliding_window_reads_each_prompt_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 300}
    config = MistralConfig(
        **shape, num_attention_heads=4, num_key_value_heads=2, sliding_window=8, initializer_range=0.3
    )
    network = MistralForCausalLM(config).eval()
    ids, groups = prompts()
    shared, counted = read(network, ids, groups, 1)
    assert counted.tokens == sum(map(len, ids))
    assert torch.equal(shared, read(network, ids, [], 1)[0])
