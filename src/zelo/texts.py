"""Texts of queries and documents, made Python strings no sooner than they are asked for."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

BYTES_PER_TOKEN = 4  # English in a common tokenizer; an endpoint's own is not known
SHORTEST_CUT = 16  # tokens; less says nothing about a document
_TEXTS = 4096  # Python strings at a time


class Texts(Sequence[str]):
    """A column of texts, each made a Python string when it is asked for; `titles` stand on a line of their own before them."""

    def __init__(self, texts: pa.ChunkedArray, titles: pa.ChunkedArray | None = None) -> None:
        self.texts, self.titles = texts, titles

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        title = self.titles[int(row)].as_py() if self.titles is not None else None
        return _read(title, self.texts[int(row)].as_py())

    def __iter__(self) -> Iterator[str]:
        for low in range(0, len(self), _TEXTS):
            texts = self.texts.slice(low, _TEXTS).to_pylist()
            titles = [None] * len(texts) if self.titles is None else self.titles.slice(low, _TEXTS).to_pylist()
            yield from map(_read, titles, texts)


def _read(title: str | None, text: str) -> str:
    return f"{title}\n{text}" if title else text


def document_texts(documents: pa.Table) -> list[str]:
    """What a model reads of each document: the title and, on a new line, the text."""
    return list(Texts(documents["text"], documents["title"]))


def beginning(text: str, tokens: int) -> str:
    """At most so many tokens of a document, ending with a whole character."""
    most = tokens * BYTES_PER_TOKEN
    if len(text) * 4 <= most:  # no character has more bytes
        return text
    raw = text.encode()
    return text if len(raw) <= most else raw[:most].decode(errors="ignore")


def folded(texts: pa.ChunkedArray) -> list[str]:
    """Texts without what does not tell queries apart: case, white space, and how Unicode writes a character (NFKC)."""
    return [fold(text) for text in texts.to_pylist()]


def fold(text: str) -> str:
    """One text without what does not tell queries apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
