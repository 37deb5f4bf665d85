"""Hosted rerankers, whose forms differ in names alone: a query and texts go out, scores with the texts' places come back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from zelo.errors import BadInput
from zelo.providers.request import Endpoint, Parsed, Request, count, usage

OVERHEAD = 150  # tokens that an endpoint may put around a pair of a query and a document
# What Cohere bills as one search: a query with up to 100 documents; one of more than 500 tokens, the query's own included,
# counts as several (docs.cohere.com/docs/how-does-cohere-pricing-work).
SEARCH_DOCUMENTS, SEARCH_TOKENS = 100, 500
LIKELY = 0.25  # tokens a byte


@dataclass(slots=True)
class RerankRequest(Request):
    """A query and the texts to score for it; `system`, `user` and `schema` are empty."""

    query: str
    documents: tuple[str, ...]

    @property
    def tokens_in(self) -> int:
        """No fewer tokens than any tokenizer on bytes can make of it: a cross-encoder reads the query with each document."""
        each = len(self.query.encode()) + OVERHEAD
        return sum(len(text.encode()) + each for text in self.documents)

    @property
    def searches(self) -> int:
        """If every byte were a token."""
        return self._searches(1.0)

    @property
    def likely_searches(self) -> int:
        """At 4 bytes a token."""
        return self._searches(LIKELY)

    def _searches(self, tokens_per_byte: float) -> int:
        room = max(SEARCH_TOKENS - tokens_per_byte * len(self.query.encode()), SEARCH_TOKENS / 2)
        parts = sum(max(1, math.ceil(tokens_per_byte * len(text.encode()) / room)) for text in self.documents)
        return math.ceil(parts / SEARCH_DOCUMENTS)


@dataclass(frozen=True, kw_only=True)
class RerankApi:
    """POST {model, query, DOCUMENTS: [text], TOP: n} -> {RESULTS: [{index, SCORE}]}, the capitals being named by the fields."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"path"})
    parameters: ClassVar[tuple[str, ...]] = ()
    fields: ClassVar[tuple[str, ...]] = ("model", "document_tokens", "documents_per_request", "extra_body")

    path: str  # behind base_url
    documents: str  # key of the texts
    top: str | None  # key of how many results are wanted: all; None: it is not sent
    results: str | None  # key of the list of results; None: the answer is this list
    score: str  # key of a result's score
    sends_model: bool  # False: the server has one model and takes no name

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or {"?", "#"} & {*self.path}:
            raise BadInput(f"reranker: api.path={self.path!r} is no path behind base_url; write it as /rerank.")
        for name in ("documents", "score"):
            if not getattr(self, name):
                raise BadInput(f"reranker: api.{name} is empty; name the key, as in conf/scorer/cohere.yaml.")

    @property
    def filled(self) -> tuple[str, ...]:
        """Keys of the body that a request fills."""
        return ("model", "query", self.documents, *([self.top] if self.top else []))

    @property
    def form(self) -> tuple[str, str | None, str]:
        """Part of an answer's key: an answer of another form could not be read."""
        return self.documents, self.results, self.score

    def headers(self, key: str | None) -> dict[str, str]:
        """What goes before the body, with the key where one is to be sent."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def body(self, endpoint: Endpoint, request: Request) -> dict[str, Any]:
        """The JSON to post, but for `extra_body`."""
        assert isinstance(request, RerankRequest), "no reranker's request"
        model = {"model": endpoint.model} if self.sends_model else {}
        top = {self.top: len(request.documents)} if self.top else {}
        return model | {"query": request.query, self.documents: list(request.documents)} | top

    def of_list(self, items: list[Any]) -> Mapping[str, Any]:
        """The object that `parse` takes for an answer that is a list."""
        return {} if self.results else {"": items}

    def parse(self, answer: Mapping[str, Any]) -> Parsed | str:
        """The results in a body as JSON, [[index, score], ...], or the class of what is wrong with it.

        Raises KeyError and the like for other shapes. Nothing is billed for what comes out.
        """
        results = answer.get(self.results or "")
        if results is None:
            return "no_choices"
        text = json.dumps([[one["index"], one[self.score]] for one in results])
        tokens, searches = _billed(answer)
        return Parsed(text, "", False, (), tokens, 0, searches)


def _billed(answer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(tokens, searches) as an endpoint counts them; None where it does not say."""
    more = answer.get("meta")
    meta: dict[str, Any] = more if isinstance(more, dict) else {}
    used, billed, counted = usage(answer), meta.get("billed_units"), meta.get("tokens")
    places = (
        used.get("total_tokens"),
        used.get("prompt_tokens"),
        answer.get("total_tokens"),
        counted.get("input_tokens") if isinstance(counted, dict) else None,
    )
    tokens = next((found for found in map(count, places) if found), None)
    return tokens, count(billed.get("search_units")) if isinstance(billed, dict) else None
