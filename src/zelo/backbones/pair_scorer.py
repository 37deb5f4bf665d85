"""A one-label classifier of an exported folder, read as fast as it can be: the same logits as anywhere else, sooner."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from zelo.backbones.first_token import first_token_only
from zelo.backbones.pretrained import longest
from zelo.backbones.token_batches import TOKENS

CHUNK = 512  # pairs tokenised at a time, the next ones while these are read
ACTIVATIONS = {"torch.nn.modules.activation.Sigmoid": True, "torch.nn.modules.linear.Identity": False}
PLAIN = {"transformer_task", "modality_config", "module_output_name", "max_seq_length", "do_lower_case"}


def is_plain(folder: Path) -> bool:
    """Whether a CrossEncoder folder is nothing but transformers' classifier of one label: no template, prompt or module more."""
    config, ours = _read(folder / "config.json"), _read(folder / "config_sentence_transformers.json")
    modules = _read(folder / "modules.json")
    return (
        ours.get("activation_fn") in ACTIVATIONS
        and not any((ours.get("prompts") or {}).values())
        and len(config.get("id2label") or {}) == 1
        and len(modules) == 1
        and not modules[0]["path"]
        and set(_read(folder / "sentence_bert_config.json")) <= PLAIN
        and not (folder / "chat_template.jinja").exists()
    )


class PairScorer:
    """Pairs by number of tokens, few enough at a time to stay in a CPU's cache, tokenised in bulk beside the computation."""

    def __init__(self, folder: Path, device: str) -> None:
        """folder: one that `is_plain`; device: of torch. Raises whatever transformers raises for a broken one."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        options: dict[str, bool] = {"local_files_only": True, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        self.tokenizer.padding_side = "right"
        network = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options)
        self.network = network.eval().to(device)
        first_token_only(self.network)
        self.budget = TOKENS[device]
        self.max_length = min(self.tokenizer.model_max_length, longest(network) or 1 << 30)
        self.activated = ACTIVATIONS[_read(folder / "config_sentence_transformers.json")["activation_fn"]]

    def scores(
        self, queries: list[str], documents: list[str], query_row: np.ndarray, doc_row: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(places among the N pairs, their scores), a chunk at a time. query_row, doc_row: [N] positions in the texts."""
        import torch

        characters = [np.array([len(text) for text in texts]) for texts in (queries, documents)]
        order = np.argsort(characters[0][query_row] + characters[1][doc_row], kind="stable")
        chunks = [order[low : low + CHUNK] for low in range(0, len(order), CHUNK)]

        def tokens(rows: np.ndarray) -> dict[str, list[list[int]]]:
            return self._tokens([queries[row] for row in query_row[rows]], [documents[row] for row in doc_row[rows]])

        with ThreadPoolExecutor(1) as beside:
            waiting = [beside.submit(tokens, rows) for rows in chunks[:1]]
            for number, rows in enumerate(chunks):
                found = waiting.pop().result()
                waiting += [beside.submit(tokens, later) for later in chunks[number + 1 : number + 2]]
                logits = torch.from_numpy(self._logits(found))
                yield rows, (torch.sigmoid(logits) if self.activated else logits).numpy()

    def tokens(self, queries: list[str], documents: list[str]) -> int:
        """How many tokens N pairs have."""
        return sum(map(len, self._tokens(queries, documents)["input_ids"]))

    def _tokens(self, queries: list[str], documents: list[str]) -> dict[str, list[list[int]]]:
        return self.tokenizer(queries, documents, truncation=True, max_length=self.max_length, padding=False)

    def _logits(self, tokens: dict[str, list[list[int]]]) -> np.ndarray:
        import torch

        from zelo.backbones import classifier

        batch, order = classifier.padded(self.tokenizer, tokens)
        batch = {key: value.to(self.network.device) for key, value in batch.items()}
        found = np.empty(len(order), np.float32)
        with torch.inference_mode():
            found[order] = classifier.logits(self.network, batch, self.budget).cpu().numpy()
        return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
