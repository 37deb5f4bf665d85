"""Hosted embeddings: texts go out, a vector with the place of its text comes back for each."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.providers.request import Endpoint, Parsed, Request, count, usage

OVERHEAD = 16  # tokens that an endpoint may put around a text
NUMBERS = "<f4"  # of a vector as base64: little-endian, 32 bits each


@dataclass(slots=True)
class EmbeddingRequest(Request):
    """Texts of one side; `system`, `user` and `schema` are empty. Each text has a key, under which its vector is kept."""

    side: str | None  # what the endpoint is told that they are; None: nothing
    texts: tuple[str, ...]
    keys: tuple[bytes, ...]

    @property
    def tokens_in(self) -> int:
        """No fewer tokens than any tokenizer on bytes can make of it."""
        return sum(map(size_of, self.texts))

    @property
    def parts(self) -> tuple[tuple[bytes, int], ...]:
        """(key, size) of each text."""
        return tuple(zip(self.keys, map(size_of, self.texts), strict=True))


@dataclass(frozen=True, kw_only=True)
class EmbeddingsApi:
    """POST {model, TEXTS: [text], SIDE: ...} -> {VECTORS: [{index, embedding}]}, the capitals being named by the fields.

    An embedding is a list of numbers, or base64 of them as 32 bits each. Where VECTORS is an object of lists by type of number,
    as Cohere's, it has one, whose vectors stand in the order of the texts.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path", "encoding"})
    parameters: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = (
        "model",
        "texts_per_request",
        "tokens_per_request",
        "document_tokens",
        "extra_body",
    )

    path: str  # behind base_url
    texts: str  # key of the texts
    side: str | None  # key that says whether texts are queries or documents; None: it is not sent
    query: str | None  # its value for queries
    document: str | None  # and for documents
    vectors: str  # key of the answer's vectors
    encoding: Facts  # keys that ask for base64, which is a third as long as numbers in words; it changes no vector

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or {"?", "#"} & {*self.path}:
            raise BadInput(f"embedding: api.path={self.path!r} is no path behind base_url; write it as /embeddings.")
        for name in ("texts", "vectors"):
            if not getattr(self, name):
                raise BadInput(f"embedding: api.{name} is empty; name the key, as in conf/retriever/api.yaml.")
        if (self.side is None) != (self.query is None) or (self.side is None) != (self.document is None):
            raise BadInput(
                f"embedding: api.side={self.side}, api.query={self.query}, api.document={self.document}: set all three, or null"
                " for a model that is not told what a text is."
            )

    @property
    def filled(self) -> tuple[str, ...]:
        """Keys of the body that a request fills."""
        return ("model", self.texts, *([self.side] if self.side else []), *self.encoding)

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body, with the key where one is to be sent."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for `extra_body`."""
        assert isinstance(request, EmbeddingRequest), "no request for vectors"
        side = {self.side: request.side} if self.side else {}
        encoding = {name: value for name, value in self.encoding.items() if value is not None}
        return {"model": endpoint.model, self.texts: list(request.texts)} | side | encoding

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The vectors in a body as JSON, [[index, base64], ...], or the class of what is wrong with it.

        Raises KeyError and the like for other shapes. Nothing is billed for what comes out.
        """
        found = answer.get(self.vectors)
        if found is None:
            return "no_choices"
        if isinstance(found, dict):
            (found,) = found.values()
        listed = [
            [one.get("index"), _packed(one["embedding"])] if isinstance(one, dict) else [place, _packed(one)]
            for place, one in enumerate(found)
        ]
        return Parsed(json.dumps(listed), "", False, (), _tokens(answer), 0)

    def bodies(self, text: str) -> dict[int, str]:
        """Index -> a body with this vector alone, which `parse` takes, from what `parse` has made of one with all."""
        return {
            index: json.dumps({self.vectors: [{"index": 0, "embedding": vector}]}, separators=(",", ":"))
            for index, vector in json.loads(text)
        }


def size_of(text: str) -> int:
    """No fewer tokens than any tokenizer on bytes can make of a text."""
    return len(text.encode()) + OVERHEAD


def unpacked(vector: str) -> np.ndarray:
    """[dim] float32 of its base64. Raises ValueError for what is none."""
    return np.frombuffer(base64.b64decode(vector, validate=True), NUMBERS).astype(np.float32)


def _packed(vector: Any) -> str:
    """Base64 of a vector that came as a list of numbers; one that came as base64 as it is. Raises ValueError, TypeError."""
    if isinstance(vector, str):
        unpacked(vector)
        return vector
    if not isinstance(vector, list) or any(isinstance(one, bool) or not isinstance(one, int | float) for one in vector):
        raise TypeError("embedding")
    return base64.b64encode(np.array(vector, np.float64).astype(NUMBERS).tobytes()).decode()


def _tokens(answer: Mapping[str, Any]) -> int | None:
    """Tokens of the texts as an endpoint counts them; None where it does not say."""
    used, meta = usage(answer), answer.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    places = (
        used.get("total_tokens"),
        used.get("prompt_tokens"),
        billed.get("input_tokens") if isinstance(billed, dict) else None,
    )
    return next((found for found in map(count, places) if found), None)
