"""Passages of a size that a model reads to the end."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.protocols import Backbone
from zelo.records import DOCUMENT
from zelo.splitters.cuts import spans
from zelo.texts import document_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LEAST = 16  # tokens; fewer say nothing
LONG = 1 << 30  # tokens; nothing is cut while they are counted


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Passages of at most `tokens`: title, text, prompt and special tokens, as `backbone` reads a document.

    They end at paragraphs, else at sentences, lines or words; each begins with up to `overlap` tokens of the one before. The
    title stands on every passage, unless it takes more than half of the room: then it is read as text.
    """

    backbone: Backbone
    tokens: int
    overlap: int

    def __post_init__(self) -> None:
        if not isinstance(self.backbone, Backbone):
            raise BadInput(
                f"splitter.backbone is {type(self.backbone).__name__}, which has no tokenizer to count with. Choose another one:"
                " backbone@splitter.backbone=minilm."
            )
        if self.tokens < LEAST or not 0 <= self.overlap <= self.tokens // 2:
            raise BadInput(
                f"splitter.tokens={self.tokens}, splitter.overlap={self.overlap}: tokens must be at least {LEAST}, overlap from 0"
                " to half of tokens. Write splitter.tokens=256 splitter.overlap=32."
            )

    @property
    def rule(self) -> str:
        """The sizes in words."""
        return (
            f"at most {self.tokens} tokens each, the title on every one included, ends at paragraphs or sentences, up to"
            f" {self.overlap} tokens repeated from the passage before"
        )

    def check(self) -> None:
        """Raises BadInput where the tokenizer cannot be read, or leaves no room for a text."""
        self.backbone.folder()
        if (frame := self._frame("")) > self.tokens // 2:
            raise BadInput(
                f"splitter.tokens={self.tokens}: the model's prompt and special tokens take {frame} of them. Set it to"
                f" {2 * frame} or more."
            )

    def split(self, documents: pa.Table) -> list[list[tuple[str, str]]]:
        """The passages of each document; one that is short enough is its own."""
        lengths = self._lengths(document_texts(documents))
        rows = zip(documents["title"].to_pylist(), documents["text"].to_pylist(), lengths, strict=True)
        return [
            [(title, text)] if length <= self.tokens else self._passages(title or "", text)
            for title, text, length in rows
        ]

    def _passages(self, title: str, text: str) -> list[tuple[str, str]]:
        frame = self._frame(title)
        if frame > self.tokens // 2:
            title, text, frame = "", f"{title}\n{text}", self._frame("")
        begin, room = self._begin(text), self.tokens - frame
        while True:
            cut = [text[start:end].strip() for start, end in spans(text, begin, room, min(self.overlap, room // 2))]
            parts = [(title, part) for part in cut if part]
            over = max(self._lengths(document_texts(_table(parts)))) - self.tokens
            if over <= 0 or room == 1:
                return parts
            room = max(room - over, 1)  # a beginning may be other tokens than it was in the middle

    def _begin(self, text: str) -> np.ndarray:
        """[T] place of the first letter of each token, white space before it left out."""
        read = self._tokenizer([text], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        [places] = read["offset_mapping"]
        return np.array([end - len(text[begin:end].lstrip()) for begin, end in places], np.int64)

    def _frame(self, title: str) -> int:
        """Tokens that a passage has besides its text."""
        with_text, text = self._lengths(document_texts(_table([(title, "a")]))), self._begin("a")
        return with_text[0] - len(text)

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each document, as the model reads it, where nothing is cut."""
        read = self.backbone.texts(self._tokenizer, texts, self.backbone.document_prompt, LONG)
        return [len(ids) for ids in read]

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        return self.backbone.text_tokenizer()


def _table(parts: list[tuple[str, str]]) -> pa.Table:
    titles, texts = zip(*parts, strict=True)
    return pa.table([[""] * len(parts), titles, texts], schema=DOCUMENT)
