"""A pretrained decoder that reads a query and a document through its chat template and answers with one token."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa

from zelo.backbones import device, segments, sides
from zelo.backbones.encoding import Encoding
from zelo.backbones.layers import check_frozen, checkpoint_gradients, freeze
from zelo.backbones.pretrained import (
    WEIGHTS,
    Pretrained,
    check_kind,
    check_learns,
    check_rate,
    decodes,
    keeps_tokens_only,
    takes_cache,
)
from zelo.backbones.vectors import (
    LAST,
    PART,
    Vectors,
    check_lengths,
    hash_texts,
    in_parts,
    kept,
    moved_by_parts,
    save_pooled,
)
from zelo.errors import BadInput
from zelo.fingerprint.code_hash import code_hash
from zelo.store.hashing import hash_json
from zelo.store.shards import CHECKPOINT
from zelo.texts import document_texts

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16")
# Stand in for the texts when the template is taken apart, and are read when it is put together again.
_QUERY, _DOCUMENT = "QUERY-STANDS-HERE", "DOCUMENT-STANDS-HERE"
_FIRST, _SECOND = "Document A:\n", " Document B:\n"  # a blank, so that no tokenizer joins it with the text before
_TEXTS = ("How do I sort a list?", "Sort it in place.")
# Some Llama templates print today's date: a score must not depend on the day.
_DATE = "26 Jul 2024"
_PAIR = (
    "{{%- set texts = namespace(query='', document='') -%}}"
    "{{%- for message in messages -%}}"
    "{{%- if message['role'] in ['query', 'system'] -%}}{{%- set texts.query = message['content'] | trim -%}}"
    "{{%- elif message['role'] in ['document', 'user'] -%}}{{%- set texts.document = message['content'] | trim -%}}"
    "{{%- endif -%}}{{%- endfor -%}}"
    "{{{{- {before} + texts.query + {between} + texts.document + {after} -}}}}"
)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A causal language model read as a classifier of one label: logit of `token` after the prompt, over `temperature`.

    The prompt is the model's chat template with the query as system and the document as user message, as the paper's rerankers
    read it (zerank model card, 2025). `model`: as for an encoder, or a GGUF file. A query is cut at `query_length` tokens.
    `precision` is that of the weights; auto: float32, but for a language model bfloat16 where that is fast. `lora_rank`: of
    adapters on every linear layer (Hu et al. 2021); None: all weights learn. `lr`: the learning rate that suits it, for the
    optimizer. Texts cannot write the model's special tokens.

    It also gives vectors: the last token's of a prompt with the text as user message and the system message `query` or
    `document` (method: zembed-1, 2026). There query_length and max_length count the template, too. `frozen_layers`: so many of
    the lowest layers, and the embeddings, do not learn.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"lr", "gradient_checkpointing"})
    fresh_head: ClassVar[bool] = False  # of `classifier`: it is a row of the pretrained head
    pooling: ClassVar[Literal["last"]] = LAST
    query_prompt: ClassVar[str] = "query"
    document_prompt: ClassVar[str] = "document"

    model: str
    revision: str | None
    sha256: str | None
    lr: float
    query_length: int
    max_length: int
    token: str
    temperature: float
    precision: str
    lora_rank: int | None
    lora_alpha: float
    gradient_checkpointing: bool
    frozen_layers: int

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise BadInput(f"backbone.precision={self.precision} is unknown; choose one of {', '.join(PRECISIONS)}.")
        check_rate(self.lr)
        check_frozen(self.frozen_layers)
        if self.max_length < 1:
            raise BadInput(f"backbone.max_length={self.max_length}: tokens of a document, template included.")
        if self.query_length < 1 or self.temperature <= 0 or self.lora_alpha <= 0:
            raise BadInput(
                f"backbone.query_length={self.query_length}, temperature={self.temperature}, lora_alpha={self.lora_alpha}:"
                " each must be above 0."
            )
        if self.lora_rank is not None and self.lora_rank < 1:
            raise BadInput(f"backbone.lora_rank={self.lora_rank}: at least 1, or null to let all weights learn.")

    def folder(self) -> Path:
        """The folder with config.json, the tokenizer and *.safetensors. Raises BadInput for what is missing or altered."""
        return self._pretrained.folder()

    def document_folder(self) -> Path:
        """The same of what reads documents: another one where `model` is a folder whose sides differ."""
        return sides.of_documents(self).folder()

    def document_matrix(self) -> "np.ndarray | None":
        """[dim, dim] W, where `model` moves document vectors d to normalise(d + W d); else None."""
        return sides.document_matrix(self)

    def content(self) -> dict[str, str]:
        """Hash of the weights, the architecture, the tokenizer and its chat template."""
        return sides.content(self)

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The model's tokenizer; its chat template writes a query and a document and is the same on every day.

        Raises BadInput without a chat template that has room for both, or where a text's tokens depend on what is around it.
        """
        tokenizer = self._reader(answers=True)
        if self.pairs(tokenizer, [""], [""], 1 << 20)["input_ids"][0][-1] == tokenizer.pad_token_id:
            raise BadInput(
                f"backbone.model={self.model}: the prompt ends with the token that pads ({tokenizer.pad_token}), so its end"
                " cannot be found. Give the tokenizer another pad_token."
            )
        return tokenizer

    def width(self) -> int:
        """Numbers in a vector."""
        return self._pretrained.config().hidden_size

    def text_tokenizer(self) -> "PreTrainedTokenizerFast":
        """The model's tokenizer; its chat template writes a system message and a text, and nothing behind them."""
        return self._reader(answers=False)

    def _reader(self, answers: bool) -> "PreTrainedTokenizerFast":
        """The tokenizer, its chat template reduced to a query and a document. answers: the beginning of one follows."""
        tokenizer = self._pretrained.tokenizer()
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        parts = self._parts(tokenizer, answers)
        names = ("before", "between", "after")
        words = [json.dumps(part, ensure_ascii=False) for part in parts]
        tokenizer.chat_template = _PAIR.format(**dict(zip(names, words, strict=True)))
        whole = _rendered(tokenizer, ("system", "user"), _TEXTS, answers)
        before, between, after = tokenizer(self._parts(tokenizer), add_special_tokens=False)["input_ids"]
        query, document = segments.cut(tokenizer, list(_TEXTS), 1 << 20)
        joined = before + query + between + document + after
        if tokenizer.encode(whole, add_special_tokens=False) != joined:
            raise BadInput(
                f"backbone.model={self.model}: its tokenizer joins a text with the chat template around it, so that a document"
                " cannot be cut before. Name a model whose template separates them, such as Qwen3 or Llama 3."
            )
        return tokenizer

    def classifier(self) -> "PreTrainedModel":
        """A sequence classifier of one label, its weight the row of `token` in the language model's head, over `temperature`.

        One that was trained as such keeps its head. Raises BadInput for an architecture without such a classifier, a tokenizer
        that has no `token`, weights that lack tensors, and adapters without peft.
        """
        import torch
        from transformers import AutoModelForSequenceClassification

        pretrained = sides.one(self)
        check_learns(pretrained)
        check_kind(pretrained, decoder=True)
        tokenizer = self.tokenizer()
        network, new = pretrained.load(
            AutoModelForSequenceClassification, head=r"score\.", dtype=self._learned_in, num_labels=1
        )
        if new:
            with torch.no_grad():
                network.get_parameter("score.weight").copy_(self._row(self._token(tokenizer)) / self.temperature)
        network.config.pad_token_id = tokenizer.pad_token_id
        return self._learning(network)

    def network(self) -> "PreTrainedModel":
        """The transformer without a head, in evaluation mode, with adapters where they are asked for.

        Raises BadInput for an architecture that is no decoder, weights that lack tensors, and adapters without peft.
        """
        check_learns(self._pretrained)
        return self._learning(self._network())

    def language_model(self) -> "PreTrainedModel":
        """The transformer with the head of a language model, in evaluation mode, where the process computes.

        Raises BadInput for an architecture that is no decoder, and weights that lack tensors.
        """
        from transformers import AutoModelForCausalLM

        self.context()
        network: Any = self._pretrained.load(AutoModelForCausalLM, dtype=self.language_precision())[0]
        return network.to(device.chosen())

    def language_precision(self) -> str:
        """torch's name of the numbers that the language model computes with."""
        if self.precision == AUTO:
            return "bfloat16" if device.fast_bfloat16() else "float32"
        return self.precision

    def plain_tokenizer(self) -> "PreTrainedTokenizerFast":
        """The model's tokenizer, whatever its chat template."""
        return self._pretrained.tokenizer()

    def context(self) -> int | None:
        """Tokens that it reads at once, None where its config does not say. Raises BadInput for a model that is no decoder."""
        if not decodes(self._pretrained):
            kind = self._pretrained.config().model_type
            raise BadInput(
                f"backbone.model={self.model}: the architecture {kind} is no causal language model. Name one, such as that of"
                " backbone=smollm2 or qwen3_0_6b."
            )
        return self._pretrained.context()

    def check_cache(self, *, tokens_only: bool) -> None:
        """Raises BadInput for a model that cannot go on from keys and values of tokens; if `tokens_only`, from these alone."""
        self.context()
        if not (keeps_tokens_only if tokens_only else takes_cache)(self._pretrained):
            kind = self._pretrained.config().model_type
            raise BadInput(
                f"backbone.model={self.model}: what texts have in common is read once, and its keys and values are handed on; the"
                f" architecture {kind} goes on from something else, such as a recurrent state. Name a model with attention in"
                " every layer, such as that of backbone=smollm2 or qwen3_0_6b."
            )

    def pairs(
        self, tokenizer: "PreTrainedTokenizerFast", queries: list[str], documents: list[str], max_length: int
    ) -> dict[str, list[list[int]]]:
        """`input_ids` of N queries, each with its document, at most `max_length` tokens, the whole template included.

        A query has half of what the template leaves, and what its document leaves of the other half. Texts are cut before the
        template is put around them. Raises BadInput where the template leaves nothing. tokenizer: the backbone's.
        """
        before, between, after = tokenizer(self._parts(tokenizer), add_special_tokens=False)["input_ids"]
        room = max_length - len(before) - len(between) - len(after)
        if room < 2:
            raise BadInput(
                f"model.max_length={max_length}: the chat template of {self.model} alone takes {max_length - room} tokens."
                " Give more."
            )
        asked, read = (
            segments.cut(tokenizer, queries, min(self.query_length, room)),
            segments.cut(tokenizer, documents, room),
        )
        asked = [query[: max(room // 2, room - len(found))] for query, found in zip(asked, read, strict=True)]
        ids = [
            before + query + between + document[: room - len(query)] + after
            for query, document in zip(asked, read, strict=True)
        ]
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}

    def joined(self, tokenizer: "PreTrainedTokenizerFast") -> str:
        """The user message of two documents, `{first}` and `{second}`."""
        return f"{_FIRST}{{first}}{_SECOND}{{second}}"

    def triples(
        self,
        tokenizer: "PreTrainedTokenizerFast",
        queries: list[str],
        first: list[str],
        second: list[str],
        max_length: int,
    ) -> dict[str, list[list[int]]]:
        """`input_ids` of N queries, each with two documents, at most `max_length` tokens, the whole template included.

        The user message is "Document A:", the first document, "Document B:" and the second. A query has at most a third of
        what the template leaves; the documents share the rest, half each or what the other leaves. Texts are cut before the
        template is put around them. Raises BadInput where the template leaves nothing. tokenizer: the backbone's.
        """
        words = [*self._parts(tokenizer), _FIRST, _SECOND]
        before, between, after, one, other = tokenizer(words, add_special_tokens=False)["input_ids"]
        room = max_length - sum(map(len, (before, between, after, one, other)))
        if room < 3:
            raise BadInput(
                f"model.max_length={max_length}: the chat template of {self.model} and the words around two documents alone take"
                f" {max_length - room} tokens. Give more."
            )
        asked = segments.cut(tokenizer, queries, min(self.query_length, room // 3))
        read = (segments.cut(tokenizer, texts, room) for texts in (first, second))
        ids = []
        for query, left, right in zip(asked, *read, strict=True):
            left, right = segments.fair(left, right, room - len(query))
            ids.append(before + query + between + one + left + other + right + after)
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}

    def texts(
        self, tokenizer: "PreTrainedTokenizerFast", texts: list[str], prompt: str, length: int
    ) -> list[list[int]]:
        """Token ids of N texts in the template, the system message before each, at most `length` tokens in all.

        A text is cut before the template is put around it. Raises BadInput where the template leaves nothing. tokenizer: as
        `text_tokenizer` gives it.
        """
        before, between, after = tokenizer(self._parts(tokenizer), add_special_tokens=False)["input_ids"]
        head = before + segments.cut(tokenizer, [prompt], length)[0] + between
        room = length - len(head) - len(after)
        if room < 1:
            raise BadInput(
                f"backbone.query_length and max_length: {length} tokens are too few, the chat template of {self.model} alone"
                f" takes {length - room}. Give more."
            )
        return [head + text + after for text in segments.cut(tokenizer, texts, room)]

    def documents(self, table: pa.Table) -> Vectors:
        """Vectors of N documents (DOCUMENT rows), from the store if these texts were read before."""
        how = document_texts, self.document_prompt, self.max_length, self.document_matrix()
        return sides.of_documents(self)._kept("documents", table, *how)

    def queries(self, table: pa.Table) -> Vectors:
        """Vectors of N queries (QUERY rows), from the store if these texts were read before."""
        return self._kept("queries", table, _query_texts, self.query_prompt, self.query_length, None)

    def _kept(
        self,
        label: str,
        table: pa.Table,
        read: Callable[[pa.Table], list[str]],
        prompt: str,
        length: int,
        matrix: "np.ndarray | None",
    ) -> Vectors:
        texts = hash_texts(text for part in in_parts(table) for text in read(part))
        recipe = {"texts": texts, "prompt": prompt, "length": length, "precision": self._learned_in}

        def make(folder: Path) -> None:
            tokenizer = self.text_tokenizer()
            parts = (self.texts(tokenizer, read(part), prompt, length) for part in in_parts(table))
            encoding = Encoding(self.transformer, folder / CHECKPOINT, LAST, self.width(), None)
            encoding.run(label, parts, PART)
            save_pooled(folder, moved_by_parts(encoding.pooled(), matrix))

        recipe |= {} if matrix is None else {"matrix": hash_json(matrix.tolist())}
        return kept(
            {"model": self._pretrained.content(), **recipe, "pooling": LAST, "code": code_hash(__name__, "Decoder")},
            make,
        )

    def transformer(self) -> "PreTrainedModel":
        """What reads texts, where models go. Raises BadInput where it cannot read as many tokens as it is to."""
        network: Any = self._network()
        check_lengths(network, self)
        return network.to(device.chosen())

    def _network(self) -> "PreTrainedModel":
        from transformers import AutoModel

        check_kind(self._pretrained, decoder=True)
        network = self._pretrained.load(AutoModel, dtype=self._learned_in)[0]
        network.config.use_cache = False
        return network

    def _learning(self, network: "PreTrainedModel") -> "PreTrainedModel":
        network.config.use_cache = False
        if self.lora_rank is not None:
            from zelo.backbones.lora import adapt

            adapt(network, self.lora_rank, self.lora_alpha)
        freeze(network, self.frozen_layers)
        if self.gradient_checkpointing:
            checkpoint_gradients(network)
        return network

    @property
    def _learned_in(self) -> str:
        return "float32" if self.precision == AUTO else self.precision

    @property
    def _pretrained(self) -> Pretrained:
        return sides.pretrained(self)

    def _parts(self, tokenizer: "PreTrainedTokenizerFast", answers: bool = True) -> list[str]:
        """The chat template before, between and behind the query and the document; what `_reader` made knows its own end."""
        if tokenizer.chat_template is None:
            raise BadInput(
                f"backbone.model={self.model}: its tokenizer has no chat template. Name an instruction-tuned model, or save a"
                " chat_template.jinja in its folder."
            )
        parts = re.split(
            f"({_QUERY}|{_DOCUMENT})", _rendered(tokenizer, ("system", "user"), (_QUERY, _DOCUMENT), answers)
        )
        if parts[1::2] != [_QUERY, _DOCUMENT]:
            raise BadInput(
                f"backbone.model={self.model}: its chat template does not write the system and then the user message, once"
                " each. Name another model."
            )
        return parts[::2]

    def _token(self, tokenizer: "PreTrainedTokenizerFast") -> int:
        ids = tokenizer.encode(self.token, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise BadInput(
                f"backbone.token={self.token!r} is not one token of {self.model} but {len(ids) if ids else 'none'}:"
                f" {tokenizer.convert_ids_to_tokens(ids)}. Set backbone.token to a word that it knows."
            )
        return ids[0]

    def _row(self, token: int) -> "Tensor":
        """[1, dim] the token's row of the language model's head, or of the embedding that serves as one."""
        from safetensors import safe_open

        tied = self._pretrained.config().get_text_config().tie_word_embeddings
        wanted = r"(model\.)?embed_tokens\.weight" if tied else r"lm_head\.weight"
        for path in sorted(self.folder().glob(WEIGHTS)):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (no mapping)
                    if re.fullmatch(wanted, name):
                        return file.get_slice(name)[token : token + 1]
        raise BadInput(
            f"The weights in {self.folder()} have no head of a language model ({wanted}). Save the model whole."
        )


def _query_texts(queries: pa.Table) -> list[str]:
    return queries["text"].to_pylist()


def _rendered(tokenizer: Any, roles: tuple[str, str], texts: tuple[str, str], answers: bool) -> str:
    """The chat template with these messages and, if wanted, the beginning of an answer."""
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answers, date_string=_DATE)
