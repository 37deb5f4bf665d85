"""A pretrained encoder: where its weights lie, and the vectors of a corpus, encoded once and kept in the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from zelo.backbones import device, segments, sides
from zelo.backbones.encoding import Encoding
from zelo.backbones.layers import check_frozen, checkpoint_gradients, freeze
from zelo.backbones.pretrained import Pretrained, check_kind, check_learns, check_rate, longest
from zelo.backbones.vectors import TokenVectors, hash_texts, moved
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.fingerprint.code_hash import code_hash
from zelo.store.hashing import hash_json
from zelo.store.shards import CHECKPOINT
from zelo.store.store import Store
from zelo.texts import Texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

STORAGE = ("float32", "float16", None)
POOLING = ("mean", "cls")
PART = 65_536  # texts whose tokens are lists at a time, and that are batched together
PRECISIONS = ("float32", "bfloat16")
_HEAD = r"classifier|score|head\."  # of a sequence classifier: what is put on top of the pretrained layers


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A transformer with its tokenizer, and how texts become vectors.

    `model`: `package:NAME/FOLDER` (a folder inside an installed Python package), a folder, or the name of a model on the
    Hugging Face hub, there at `revision`. `sha256`: of model.safetensors; None is not checked. Lengths count tokens, special ones
    included. `lr`: the learning rate that suits it, for the optimizer.
    `precision` is that of documents; queries are always encoded in float32. `storage` is that of token vectors on disk; None
    keeps one vector a text, and late interaction is refused.
    `frozen_layers`: so many of the lowest layers, and the embeddings, do not learn. Code of a model's own is never run.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"lr", "gradient_checkpointing"}
    )  # the optimizer's is inside
    fresh_head: ClassVar[bool] = True  # of `classifier`: nothing is known of it yet
    token_vectors: ClassVar[Literal[True]] = True  # `documents` gives a vector of each token, too

    model: str
    revision: str | None
    sha256: str | None
    lr: float
    max_length: int
    query_length: int
    precision: str
    storage: str | None
    pooling: Literal["mean", "cls"]
    query_prompt: str
    document_prompt: str
    frozen_layers: int
    gradient_checkpointing: bool

    def __post_init__(self) -> None:
        for name, options in (("precision", PRECISIONS), ("storage", STORAGE), ("pooling", POOLING)):
            if getattr(self, name) not in options:
                known = ", ".join(option or "null" for option in options)
                raise BadInput(f"backbone.{name}={getattr(self, name)} is unknown; choose one of {known}.")
        check_rate(self.lr)
        check_frozen(self.frozen_layers)
        for name in ("max_length", "query_length"):
            if getattr(self, name) < 3:
                raise BadInput(f"backbone.{name}={getattr(self, name)} leaves no room for a text; give 3 or more.")

    def folder(self) -> Path:
        """The folder with config.json, the tokenizer and *.safetensors. Raises BadInput for what is missing or altered."""
        return self._pretrained.folder()

    def document_folder(self) -> Path:
        """The same of what reads documents: another one where `model` is a folder whose sides differ."""
        return sides.of_documents(self).folder()

    def document_matrix(self) -> np.ndarray | None:
        """[dim, dim] W, where `model` moves document vectors d to normalise(d + W d); else None."""
        return sides.document_matrix(self)

    def content(self) -> dict[str, str]:
        """Hash of the weights, the architecture and the tokenizer."""
        return sides.content(self)

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer that belongs to the model."""
        return self._pretrained.tokenizer()

    def network(self) -> "PreTrainedModel":
        """The transformer without a head, in float32, in evaluation mode. Raises BadInput when it lacks weights."""
        check_learns(self._pretrained)
        return self._learning(self._network())

    def classifier(self) -> "PreTrainedModel":
        """The transformer with a head of one label, a fresh one where the weights bring none, in float32.

        Raises BadInput for an architecture without such a head and for weights that lack other tensors.
        """
        from transformers import AutoModelForSequenceClassification

        pretrained = sides.one(self)
        check_learns(pretrained)
        check_kind(pretrained, decoder=False)
        return self._learning(pretrained.load(AutoModelForSequenceClassification, head=_HEAD, num_labels=1)[0])

    def pairs(
        self, tokenizer: "PreTrainedTokenizerFast", queries: list[str], documents: list[str], max_length: int
    ) -> dict[str, list[list[int]]]:
        """`input_ids` and the like of N queries, each with its document, at most `max_length` tokens; the longer is cut first."""
        return {**tokenizer(queries, documents, truncation=True, max_length=max_length, padding=False)}

    def joined(self, tokenizer: "PreTrainedTokenizerFast") -> str:
        """The second text of a pair that holds two documents, `{first}` and `{second}`. tokenizer: the backbone's."""
        between = _frame(tokenizer)[0][1]
        return f"{{first}}{''.join(tokenizer.convert_ids_to_tokens(between))}{{second}}"

    def triples(
        self,
        tokenizer: "PreTrainedTokenizerFast",
        queries: list[str],
        first: list[str],
        second: list[str],
        max_length: int,
    ) -> dict[str, list[list[int]]]:
        """`input_ids` and the like of N queries, each with two documents, at most `max_length` tokens.

        As a pair whose second part holds both documents, between them the tokens that stand between its parts. A query has at
        most `query_length` tokens and a third of the room; the documents share the rest, half each or what the other leaves.
        Raises BadInput where there is no room. tokenizer: the backbone's.
        """
        (before, between, after), kinds = _frame(tokenizer)
        room = max_length - len(before) - 2 * len(between) - len(after)
        if room < 3:
            raise BadInput(f"model.max_length={max_length} leaves no room for a query and two documents. Give more.")
        asked = segments.cut(tokenizer, queries, min(self.query_length, room // 3))
        read = (segments.cut(tokenizer, texts, room) for texts in (first, second))
        ids, types = [], []
        for query, left, right in zip(asked, *read, strict=True):
            left, right = segments.fair(left, right, room - len(query))
            ids.append(before + query + between + left + between + right + after)
            head = len(before) + len(query) + len(between)
            types.append([kinds[0]] * head + [kinds[1]] * (len(ids[-1]) - head))
        rows = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
        return rows | ({"token_type_ids": types} if "token_type_ids" in tokenizer.model_input_names else {})

    def width(self) -> int:
        """Numbers in a vector."""
        return self._pretrained.config().hidden_size

    def text_tokenizer(self) -> "PreTrainedTokenizerFast":
        """The tokenizer: it reads a text alone as it reads a pair."""
        return self.tokenizer()

    def texts(
        self, tokenizer: "PreTrainedTokenizerFast", texts: list[str], prompt: str, length: int
    ) -> list[list[int]]:
        """Token ids of N texts, each behind the prompt, at most `length` tokens."""
        return tokenizer([prompt + text for text in texts], truncation=True, max_length=length)["input_ids"]

    def documents(self, table: pa.Table) -> TokenVectors:
        """Vectors of N documents (DOCUMENT rows), from the store if these texts were encoded before."""
        texts, reader = Texts(table["text"], table["title"]), sides.of_documents(self)
        matrix = self.document_matrix()
        return reader._obtain("documents", texts, self.document_prompt, self.max_length, self.precision, matrix)

    def queries(self, table: pa.Table) -> TokenVectors:
        """Vectors of N queries (QUERY rows), from the store if these texts were encoded before."""
        return self._obtain("queries", Texts(table["text"]), self.query_prompt, self.query_length, "float32", None)

    def check_token_vectors(self, asks: str) -> None:
        """Raises BadInput where none are kept. asks: what compares them."""
        if self.storage is None:
            raise BadInput(
                f"backbone.storage=null keeps no token vectors, which {asks} compares; set backbone.storage=float16."
            )

    def _obtain(
        self, label: str, texts: Texts, prompt: str, length: int, precision: str, matrix: np.ndarray | None
    ) -> TokenVectors:
        recipe = {
            "model": self._pretrained.content(),
            "texts": hash_texts(prompt + text for text in texts),
            "length": length,
            "precision": precision,
            "storage": self.storage,
            "pooling": self.pooling,
            "code": code_hash(__name__, "Encoder"),
            **({} if matrix is None else {"matrix": hash_json(matrix.tolist())}),
        }

        def make(folder: Path, _partial: object) -> Facts:
            self._encode(folder, label, texts, prompt, length, precision, matrix)
            return {"recipe": recipe}

        table, _reused = Store.current().obtain("vectors", hash_json(recipe), make)
        names = ("vectors", "offsets", "tokens", "pooled")
        return TokenVectors(*(np.load(table.path / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names))

    def _encode(
        self,
        folder: Path,
        label: str,
        texts: Texts,
        prompt: str,
        length: int,
        precision: str,
        matrix: np.ndarray | None,
    ) -> None:
        load = partial(self.transformer, length, precision)
        encoding = Encoding(load, folder / CHECKPOINT, self.pooling, self.width(), self.storage)
        encoding.run(label, self._tokens(texts, prompt, length), PART)
        found = {"offsets": encoding.offsets, "tokens": encoding.tokens, "pooled": moved(encoding.pooled(), matrix)}
        for name, array in found.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        encoding.vectors.rename(folder / "vectors.npy")

    def _tokens(self, texts: Texts, prompt: str, length: int) -> Iterator[list[list[int]]]:
        """The token ids of all texts, some thousand texts at a time."""
        tokenizer = self.tokenizer()
        for low in range(0, len(texts), PART):
            read = [prompt + text for text in texts[low : low + PART]]
            yield tokenizer(read, truncation=True, max_length=length)["input_ids"]

    def transformer(self, length: int, precision: str) -> "PreTrainedModel":
        """What reads texts of `length` tokens, where models go. Raises BadInput where it cannot read so many."""
        import torch

        network: Any = self._network()
        self._check_length(network, length)
        return network.to(device=device.chosen(), dtype=getattr(torch, precision))

    @property
    def _pretrained(self) -> Pretrained:
        return sides.pretrained(self)

    def _network(self) -> "PreTrainedModel":
        from transformers import AutoModel

        self._pretrained.config()
        return self._pretrained.load(AutoModel)[0]

    def _learning(self, network: "PreTrainedModel") -> "PreTrainedModel":
        freeze(network, self.frozen_layers)
        if self.gradient_checkpointing:
            checkpoint_gradients(network)
        return network

    def _check_length(self, network: "PreTrainedModel", length: int) -> None:
        limit = longest(network)
        if limit and length > limit:
            raise BadInput(
                f"{self.model} reads at most {limit} tokens; set backbone.max_length and query_length below that."
            )


def _frame(tokenizer: "PreTrainedTokenizerFast") -> tuple[list[list[int]], tuple[int, int]]:
    """The special tokens before, between and behind the two texts of a pair, and the types of its parts."""
    probe = tokenizer("a", "b", return_special_tokens_mask=True)
    ids, special = probe["input_ids"], probe["special_tokens_mask"]
    runs = [[ids[n] for n in places] for kind, places in groupby(range(len(ids)), special.__getitem__) if kind]
    types = probe.get("token_type_ids", [0] * len(ids))
    return runs, (types[0], types[-1])
