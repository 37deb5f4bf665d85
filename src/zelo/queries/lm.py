"""Queries that a language model in this process writes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.backbones.token_batches import token_batches
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.fingerprint.code_hash import code_hash
from zelo.progress import progress
from zelo.protocols import LanguageModel
from zelo.records import MADE
from zelo.store.hashing import hash_json
from zelo.store.store import Store
from zelo.texts import document_texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DOCUMENTS = 128  # whose queries are kept together: a few minutes on a CPU
SHOWN = 5  # queries that people have asked, in a prompt
AROUND = " \t\"'“”*-"  # of a query


@dataclass(frozen=True, kw_only=True)
class Lm:
    """The first line that a causal language model writes behind a document and the words of a style.

    As in InPars (Bonifacio et al., SIGIR 2022, section 3), with other words. What is written is kept in the store. With
    temperature 0 it is the likeliest token each time; else it is drawn, by the seed. Prompts are read in batches of about one
    length, which may change the last bits of a probability.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    backbone: LanguageModel
    most: int
    mix: bool
    top_k: int
    before: str
    styles: dict[str, str]  # name -> what stands behind a document
    document_tokens: int
    query_tokens: int
    temperature: float
    batch_tokens: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("document_tokens", "query_tokens", "batch_tokens"):
            if getattr(self, name) < 1:
                raise BadInput(f"queries.{name}={getattr(self, name)} is too small; set it to 1 or more.")
        if self.temperature < 0:
            raise BadInput(f"queries.temperature={self.temperature} is below 0; 0 takes the likeliest token, try 0.7.")
        if not self.styles:
            raise BadInput(
                "queries.styles is empty; name a style and what stands behind a document, as conf/queries/lm.yaml."
            )
        if not isinstance(self.backbone, LanguageModel):
            raise BadInput(
                f"queries: the backbone {type(self.backbone).__name__} is no causal language model. Mount one, such as"
                " backbone@queries.backbone=smollm2."
            )

    def content(self) -> dict[str, str]:
        """The numbers that the model computes with: on some machines they are others."""
        return {"computes_in": self.backbone.language_precision()}

    def check(self) -> None:
        """Raises BadInput for a model that is none, or reads less than a prompt and a query."""
        self._refuse_long(self._frames([]))

    def _refuse_long(self, frames: dict[str, tuple[list[int], list[int]]]) -> None:
        limit, words = self.backbone.context(), max(len(before) + len(behind) for before, behind in frames.values())
        longest = words + self.document_tokens + self.query_tokens
        if limit is not None and longest > limit:
            raise BadInput(
                f"queries.document_tokens={self.document_tokens}, queries.query_tokens={self.query_tokens} and the words around"
                f" them take {longest} tokens, and {self.backbone.model} reads at most {limit}. Lower document_tokens."
            )

    def make(self, documents: pa.Table, examples: Sequence[str]) -> Iterator[pa.Table]:
        """MADE rows of some documents at a time; where the model writes a blank line there is none."""
        names, frames = list(self.styles), self._frames(examples[:SHOWN])
        self._refuse_long(frames)
        by_id = pc.sort_indices(documents["doc_id"]).to_numpy()
        order = by_id[np.random.default_rng(self.seed).permutation(len(by_id))]
        for turn in range(len(names)):
            for low in range(0, len(order), DOCUMENTS):
                part = documents.take(pa.array(order[low : low + DOCUMENTS]))
                styles = [names[(number + turn) % len(names)] for number in range(len(part))]
                read = self._encoded(document_texts(part), self.document_tokens)
                prompts = [frames[style][0] + ids + frames[style][1] for style, ids in zip(styles, read, strict=True)]
                rows = zip(self._kept(prompts), part["doc_id"].to_pylist(), styles, strict=True)
                columns = zip(*((text, *row) for text, *row in rows if text), strict=True)
                yield pa.table(list(columns) or [[], [], []], schema=MADE)

    def _kept(self, prompts: list[list[int]]) -> list[str]:
        """What is written behind each prompt, from the store if it was before."""
        recipe = {
            **self.backbone.content(),
            **self.content(),
            "asked": hash_json([prompts, self.query_tokens, self.temperature, self.seed]),
            "code": code_hash(__name__, "Lm"),
        }

        def make(folder: Path, _partial: object) -> Facts:
            (folder / "texts.json").write_text(json.dumps(self._written(prompts)), encoding="utf-8")
            return {"recipe": recipe}

        table, _ = Store.current().obtain("written", hash_json(recipe), make)
        return json.loads((table.path / "texts.json").read_text(encoding="utf-8"))

    def _written(self, prompts: list[list[int]]) -> list[str]:
        import torch
        from transformers import GenerationConfig

        network, texts = self._network, [""] * len(prompts)
        tokenizer: Any = self._tokenizer
        # All of what a model's own settings would fill in.
        plain: Facts = {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0}
        chosen = plain | ({"do_sample": True, "temperature": self.temperature, "top_k": 0} if self.temperature else {})
        ends: Any = network.generation_config.eos_token_id if network.generation_config else None
        ends = tokenizer.eos_token_id if ends is None else ends
        config = GenerationConfig(max_new_tokens=self.query_tokens, eos_token_id=ends, pad_token_id=0, **chosen)
        with progress("queries", len(prompts), "documents") as advance, torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for batch in token_batches([prompt + [0] * self.query_tokens for prompt in prompts], self.batch_tokens):
                width = max(len(prompts[row]) for row in batch)
                # On the left, so that all prompts end where the query begins.
                ids = torch.tensor([[0] * (width - len(prompts[row])) + prompts[row] for row in batch])
                mask = torch.tensor([[0] * (width - len(prompts[row])) + [1] * len(prompts[row]) for row in batch])
                with torch.inference_mode():
                    made: Any = network.generate(  # pyright: ignore[reportCallIssue]
                        input_ids=ids.to(network.device),
                        attention_mask=mask.to(network.device),
                        generation_config=config,
                    )
                for row, written in zip(batch, made[:, width:].tolist(), strict=True):
                    texts[row] = _first_line(tokenizer.decode(_before(written, ends), skip_special_tokens=True))
                advance(len(batch))
        return texts

    def _frames(self, examples: Sequence[str]) -> dict[str, tuple[list[int], list[int]]]:
        """Style -> token ids before a document, with those that begin every text of the model, and behind it."""
        tokenizer: Any = self._tokenizer
        start = [] if (first := tokenizer.bos_token_id) is None else [first]
        begins = tokenizer("")["input_ids"] == start
        shown = "".join(f"A search query: {' '.join(text.split())}\n" for text in examples)
        before, *behind = self._encoded([f"{shown}{self.before}", *self.styles.values()], None)
        return {style: (start * begins + before, ids) for style, ids in zip(self.styles, behind, strict=True)}

    def _encoded(self, texts: list[str], most: int | None) -> list[list[int]]:
        """The first token ids of each text; what is written like a special token is none."""
        encoded: Any = self._tokenizer(
            texts, add_special_tokens=False, split_special_tokens=True, truncation=most is not None, max_length=most
        )
        return encoded["input_ids"]

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        return self.backbone.plain_tokenizer()

    @cached_property
    def _network(self) -> "PreTrainedModel":
        return self.backbone.language_model()


def _before(ids: list[int], ends: int | list[int] | None) -> list[int]:
    """Token ids before the first that ends a text: behind it stands padding."""
    stops = {ends} if isinstance(ends, int) else set(ends or ())
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]


def _first_line(text: str) -> str:
    """The first line that is not blank, without quotes and marks of a list around it."""
    lines = (" ".join(line.split()).strip(AROUND) for line in text.splitlines())
    return next(filter(None, lines), "")
