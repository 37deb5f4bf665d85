"""A reranker behind an address: it gets a query and many documents, and scores each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from zelo.errors import BadInput
from zelo.providers.connection import Connection
from zelo.providers.request import RERANK, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.providers.rerank import RerankApi, RerankRequest
from zelo.records import ANSWERED, UNPARSEABLE, Questions
from zelo.texts import SHORTEST_CUT, beginning

LARGEST = 3e38  # a score is kept as 32 bits
NO_FORM = "the reply is of another form: choose the option of `scorer` that is made for this endpoint"
# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "context_too_long": "the request is longer than the model reads: lower document_tokens or documents_per_request",
    "no_choices": NO_FORM,
    "wrong_shape": NO_FORM,
}


@dataclass(frozen=True, kw_only=True)
class Hosted(Connection):
    """One model of one endpoint. Scores are as it gives them: higher is better, the range is the provider's.

    Results come ranked and are mapped to documents by their index: a reply that lacks one, has one twice, or has a score that
    is no number is no answer. Documents of one query are sent `documents_per_request` at a time, each part in the order of
    its texts, so that the same documents are the same request wherever they stood.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = Connection.OUTSIDE_IDENTITY | {"search_price"}

    name: str
    api: RerankApi
    documents_per_request: int  # of one query, at most
    document_tokens: int  # a longer document is cut
    search_price: float | None  # US dollars per 1,000 searches; None: unknown, or billed by token

    def __post_init__(self) -> None:
        where = f"reranker {self.name}"
        self._check_set(where, "set it, as in baselines.NAME.{}=...", "name")
        for name, least in (("documents_per_request", 1), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        if self.input_price is not None and self.search_price is not None:
            raise BadInput(f"{where}: both input_price and search_price are set; a call is billed by one of them.")
        self._check_extra_body(where, "reranker", self.api.filled)
        _ = self.endpoint  # checks its own fields

    @property
    def endpoint(self) -> Endpoint:
        """Where the questions go. What comes out costs nothing."""
        return self._read_only(self.name, RERANK, self.input_price, self.search_price)

    def requests(self, questions: Questions) -> Iterator[Request]:
        """What to ask, lazily, query by query. Each row, a query and `doc_a`, belongs to exactly one request."""
        endpoint = self.endpoint
        form = form_of(endpoint, *self.api.form, self.documents_per_request)
        order = np.argsort(questions.query_row, kind="stable")
        ends = np.flatnonzero(np.diff(questions.query_row[order], prepend=-1))
        for rows in np.split(order, ends[1:]) if len(order) else ():
            (query,) = questions.query_texts(slice(rows[0], rows[0] + 1))
            for low in range(0, len(rows), self.documents_per_request):
                part = rows[low : low + self.documents_per_request]
                read = questions.take(part).texts_a()
                texts = [beginning(text, self.document_tokens) for text in read]
                sent = sorted(zip(texts, part.tolist(), strict=True))
                documents = tuple(text for text, _ in sent)
                yield RerankRequest(
                    key=key_of(endpoint, RERANK, 0, *self.api.form, query, documents),
                    system="",
                    user="",
                    schema=None,
                    logprobs=False,
                    repeat=0,
                    rows=tuple(row for _, row in sent),
                    tokens_out=0,
                    form=form,
                    query=query,
                    documents=documents,
                )

    def read(self, request: Request, reply: Reply) -> Reading:
        """The scores of the request's rows as `p`, or why there are none."""
        if reply.status != ANSWERED:
            return Reading(reply.status, why=WHY.get(reply.error, ""), shown=reply.text)
        found: dict[int, float] = {}
        for index, score in json.loads(reply.text):
            if fault := _fault(index, score, len(request.rows), found):
                return Reading(UNPARSEABLE, why=fault, shown=f"index {index}, score {score}")
            found[index] = score
        if lacks := [index for index in range(len(request.rows)) if index not in found]:
            shown = f"{len(found)} results for {len(request.rows)} documents, none with index {lacks[0]}"
            return Reading(UNPARSEABLE, why="a document has no result", shown=shown)
        return Reading(ANSWERED, tuple(found[index] for index in range(len(request.rows))))


def _fault(index: Any, score: Any, documents: int, found: dict[int, float]) -> str:
    """What is wrong with a result; "" where nothing is."""
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < documents:
        return "a result has an index that is no document's"
    if index in found:
        return "a document has two results"
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= LARGEST:
        return "a score is no number"
    return ""
