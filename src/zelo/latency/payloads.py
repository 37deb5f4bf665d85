"""Queries with documents of a given size in bytes, cut from the texts of a collection."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FILL = b"."  # in place of what is left of a character that was cut


@dataclass(frozen=True)
class Payload:
    """What one call is about."""

    query: str
    documents: list[str]

    @property
    def size(self) -> int:
        """Bytes of all texts in UTF-8."""
        return len(self.query.encode()) + sum(len(text.encode()) for text in self.documents)


def payloads(
    queries: list[str], texts: list[str], size: int, document_bytes: int, count: int, seed: int
) -> list[Payload]:
    """`count` payloads of exactly `size` bytes, no two with the same documents.

    A payload has size / document_bytes documents, rounded, of about the same size: stretches of the texts in random order. A
    query that would take more than half of the payload is cut to that.
    """
    rng = np.random.default_rng([seed, size])
    asked = rng.permutation(len(queries))
    stream = _Stream(texts, rng)
    found = []
    for number in range(count):
        query = _cut(queries[asked[number % len(asked)]].encode(), size // 2)
        left = size - len(query.encode())
        sizes = np.diff(np.linspace(0, left, max(1, round(size / document_bytes)) + 1).astype(int))
        found.append(Payload(query, [stream.take(int(length)) for length in sizes]))
    return found


class _Stream:
    """The texts, over and over, each time in another order."""

    def __init__(self, texts: list[str], rng: np.random.Generator) -> None:
        self.parts, self.rest = self._forever(texts, rng), b""

    def take(self, size: int) -> str:
        """The next `size` bytes as text."""
        while len(self.rest) < size:
            self.rest += next(self.parts)
        found, self.rest = self.rest[:size], self.rest[size:]
        text = found.decode(errors="ignore")
        return text + (FILL * (size - len(text.encode()))).decode()

    @staticmethod
    def _forever(texts: list[str], rng: np.random.Generator) -> Iterator[bytes]:
        while True:
            for row in rng.permutation(len(texts)):
                yield texts[row].encode() + b"\n"


def _cut(text: bytes, most: int) -> str:
    return text[:most].decode(errors="ignore")
