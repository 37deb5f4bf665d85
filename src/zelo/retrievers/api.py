"""Nearest neighbours by the vectors of a hosted embedding model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from zelo.backbones.vector_search import VectorSearch
from zelo.backbones.vectors import Vectors, hash_texts, kept
from zelo.errors import BadInput
from zelo.ledger.ledger import Ledger
from zelo.ledger.place import ledger_path
from zelo.progress import progress
from zelo.providers.connection import Connection
from zelo.providers.embeddings import EmbeddingRequest, EmbeddingsApi, unpacked
from zelo.providers.request import EMBED, Endpoint, Reading, Reply, Request, form_of, key_of
from zelo.ranking import cosines, nearest, top_candidates
from zelo.records import ANSWERED, DOCUMENT, QUERY, TRAIN, UNPARSEABLE, Questions
from zelo.texts import BYTES_PER_TOKEN, SHORTEST_CUT, Texts, beginning

QUERIES, DOCUMENTS = "query", "document"  # sides, in the order of a Questions' `queries`
ROWS = 1024  # texts that are joined, or looked up, at a time
NO_FORM = "the reply is of another form: name its keys in `api`, as conf/retriever/api.yaml does"
# Class of what is wrong with a reply, before anything is read -> the reason and the fix.
WHY = {
    "context_too_long": "a text is longer than the model reads, or all are: lower document_tokens or tokens_per_request",
    "no_choices": NO_FORM,
    "wrong_shape": NO_FORM,
}


@dataclass(frozen=True, kw_only=True)
class Api(Connection):
    """Cosine of the vectors that an endpoint gives, in [-1, 1]: the search is that of `Dense`.

    A stage asks for the vectors through the budget, and the ledger keeps each under its text: a text is paid for once, whichever
    others it was sent with. The endpoint is told by `api.side`, or by a prefix, whether a text is a query.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = Connection.OUTSIDE_IDENTITY | {
        "name",
        "texts_per_request",
        "tokens_per_request",
    }
    spreads: ClassVar[Literal[True]] = True

    name: str
    api: EmbeddingsApi
    query_prefix: str
    document_prefix: str
    texts_per_request: int  # at most
    tokens_per_request: int  # at most; at 4 bytes a token
    document_tokens: int  # a longer text is cut; at 4 bytes a token

    def __post_init__(self) -> None:
        where = f"embedding {self.name}"
        self._check_set(where, "set it, as in retriever.{}=...", "name")
        for name, least in (("texts_per_request", 1), ("document_tokens", SHORTEST_CUT)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        if self.tokens_per_request < self.document_tokens:
            raise BadInput(
                f"{where}: tokens_per_request={self.tokens_per_request} has no room for a text of"
                f" document_tokens={self.document_tokens}; set it to {self.document_tokens} or more."
            )
        self._check_extra_body(where, "retriever", self.api.filled)
        _ = self.endpoint  # checks its own fields

    @property
    def endpoint(self) -> Endpoint:
        """Where the texts go. What comes out costs nothing."""
        return self._read_only(self.name, EMBED, self.input_price)

    @property
    def embedders(self) -> Mapping[str, "TextEmbedder"]:
        """Who is asked, by its place in this component."""
        return {"": TextEmbedder(self)}

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> VectorSearch:
        """Takes the vectors out of the ledger into the store. Raises BadInput for those that are not in it."""
        return VectorSearch.of(*self._both(queries, documents))

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows, best first, ties by doc_id. Raises BadInput for vectors that are not in the ledger."""
        left, right = self._both(queries, documents)
        with progress("api search", queries.num_rows, "queries") as advance:
            found = nearest(left, right, top_k, advance)
        return top_candidates(queries, documents, *found, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 cosines of N pairs. Raises as `search`; vectors of other rows are not needed."""
        asked, query = np.unique(query_row, return_inverse=True)
        read, document = np.unique(doc_row, return_inverse=True)
        left, right = self._both(queries.take(pa.array(asked)), documents.take(pa.array(read)))
        return cosines(left, right, query, document)

    def _both(self, queries: pa.Table, documents: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """([Q, dim], [D, dim]) vectors of length 1. Raises BadInput where the model gives two lengths of vectors."""
        left = self._vectors(QUERIES, Texts(queries["text"])).pooled
        right = self._vectors(DOCUMENTS, Texts(documents["text"], documents["title"])).pooled
        if len(left) and len(right) and left.shape[1] != right.shape[1]:
            raise BadInput(self._changed(left.shape[1], right.shape[1]))
        return left, right

    def _vectors(self, side: str, texts: Sequence[str]) -> Vectors:
        """[N, dim] of texts, out of the ledger, or out of the store where these were read before."""
        endpoint = self.endpoint
        recipe = {
            "provider": endpoint.provider,
            "model": endpoint.model,
            "parameters": dict(endpoint.parameters),
            "side": self._told(side),
            "texts": hash_texts(self._sent(side, text) for text in texts),
        }

        def make(folder: Path) -> None:
            keys = [self._key(endpoint, side, self._sent(side, text)) for text in texts]
            with Ledger(ledger_path()) as ledger:
                array = None
                for low in range(0, len(keys), ROWS):
                    part = self._rows(ledger, keys[low : low + ROWS], len(keys))
                    if array is None:
                        shape = (len(keys), part.shape[1])
                        array = np.lib.format.open_memmap(folder / "pooled.npy", "w+", np.float32, shape)
                    if array.shape[1] != part.shape[1]:
                        raise BadInput(self._changed(array.shape[1], part.shape[1]))
                    array[low : low + ROWS] = part
            if array is None:
                np.save(folder / "pooled.npy", np.zeros((0, 1), np.float32))

        return kept(recipe, make)

    def _rows(self, ledger: Ledger, keys: list[bytes], asked: int) -> np.ndarray:
        """[n, dim] vectors of length 1 of these keys. Raises BadInput where one is missing or of another length."""
        found = ledger.find(list(dict.fromkeys(keys)))
        if lacks := sum(key not in found for key in keys):
            raise BadInput(
                f"embedding {self.name}: {lacks:,} or more of {asked:,} texts have no vector in the ledger, and nothing here asks"
                f" {self.model} of {self.provider} for one. Use it as a first stage or a baseline: retriever=api."
            )
        vectors = {key: _of_body(json.loads(entry.answer)["body"], self.api.vectors) for key, entry in found.items()}
        widths = sorted({len(vector) for vector in vectors.values()})
        if len(widths) > 1:
            raise BadInput(self._changed(*widths[:2]))
        return np.stack([vectors[key] / np.linalg.norm(vectors[key]) for key in keys])

    def _changed(self, one: int, other: int) -> str:
        return (
            f"embedding {self.name}: {self.model} of {self.provider} gives vectors of {one} numbers, and of {other}: another"
            " model answers under its name since. Give it another label, as in retriever.provider=NAME-2, and all texts are asked"
            " for again."
        )

    def _told(self, side: str) -> str | None:
        """What the endpoint is told of this side."""
        return self.api.query if side == QUERIES else self.api.document

    def _sent(self, side: str, text: str) -> str:
        """A text as it is sent; one that is blank is a space, for some endpoints refuse an empty one."""
        prefix = self.query_prefix if side == QUERIES else self.document_prefix
        return beginning(prefix + text, self.document_tokens) if text.strip() else prefix or " "

    def _key(self, endpoint: Endpoint, side: str, sent: str) -> bytes:
        return key_of(endpoint, EMBED, 0, self._told(side), sent)


@dataclass(frozen=True)
class TextEmbedder:
    """The model of an `Api`, which is asked about texts: side (`query`) and text (`doc_a`) are a question."""

    retriever: Api

    @property
    def name(self) -> str:
        """What its share of a plan is recorded under."""
        return self.retriever.name

    @property
    def endpoint(self) -> Endpoint:
        """Where the texts go."""
        return self.retriever.endpoint

    def questions(self, queries: pa.Table, documents: pa.Table) -> Questions:
        """All these texts. queries: QUERY, documents: DOCUMENT."""
        sides = pa.table([[QUERIES, DOCUMENTS], ["", ""], [TRAIN, TRAIN]], schema=QUERY)
        none = pa.nulls(len(queries), pa.string())
        asked = pa.table([queries["query_id"], none, queries["text"]], schema=DOCUMENT)
        side = np.repeat(np.arange(2, dtype=np.int32), [len(queries), len(documents)])
        row = np.arange(len(side), dtype=np.int32)
        texts = pa.concat_tables([asked, documents.select(DOCUMENT.names)])
        return Questions(sides, texts, side, row, row, np.zeros(len(row), np.int16))

    def unknown(self, questions: Questions) -> tuple[Questions, int]:
        """(those whose vectors the ledger lacks, each text once; texts in all, each counted once)."""
        lacking, seen = [], set()
        with Ledger(ledger_path()) as ledger:
            for rows, keys, _ in self._texts(questions):
                known = ledger.known(keys)
                for row, key in zip(rows, keys, strict=True):
                    if key not in known and key not in seen:
                        lacking.append(row)
                    seen.add(key)
        return questions.take(np.array(lacking, np.int64)), len(seen)

    def requests(self, questions: Questions) -> Iterator[Request]:
        """Batches of texts of one side, lazily, in their order."""
        one, batch, size = self.retriever, list[tuple[int, bytes, str]](), 0
        side, told = -1, None
        for rows, keys, texts in self._texts(questions):
            for row, key, text in zip(rows, keys, texts, strict=True):
                tokens = -(-len(text.encode()) // BYTES_PER_TOKEN)
                full = len(batch) == one.texts_per_request or size + tokens > one.tokens_per_request
                if batch and (full or side != questions.query_row[row]):
                    yield self._request(batch, told)
                    batch, size = [], 0
                side = int(questions.query_row[row])
                told = one._told((QUERIES, DOCUMENTS)[side])
                batch.append((row, key, text))
                size += tokens
        if batch:
            yield self._request(batch, told)

    def _request(self, batch: list[tuple[int, bytes, str]], told: str | None) -> EmbeddingRequest:
        rows, keys, texts = zip(*batch, strict=True)
        endpoint = self.endpoint
        return EmbeddingRequest(
            key=key_of(endpoint, EMBED, 0, [key.hex() for key in keys]),
            system="",
            user="",
            schema=None,
            logprobs=False,
            repeat=0,
            rows=rows,
            tokens_out=0,
            form=form_of(endpoint, self.retriever.texts_per_request),
            side=told,
            texts=texts,
            keys=keys,
        )

    def read(self, request: Request, reply: Reply) -> Reading:
        """Whether there is a vector of each text; `p` says nothing."""
        if reply.status != ANSWERED:
            return Reading(reply.status, why=WHY.get(reply.error, ""), shown=reply.text[:200])
        texts, found = len(request.rows), dict[int, int]()
        listed = json.loads(reply.text)
        if len(listed) != texts:
            return Reading(
                UNPARSEABLE, why="another number of vectors than of texts", shown=f"{len(listed)} for {texts}"
            )
        for index, packed in listed:
            vector = unpacked(packed)
            if fault := _fault(index, vector, texts, found):
                return Reading(UNPARSEABLE, why=fault, shown=f"index {index}, {len(vector)} numbers")
            found[index] = len(vector)
        return Reading(ANSWERED, (1.0,) * texts)

    def _texts(self, questions: Questions) -> Iterator[tuple[list[int], list[bytes], list[str]]]:
        """(rows, keys, texts as they are sent) of some questions at a time."""
        one, endpoint = self.retriever, self.endpoint
        for low in range(0, len(questions), ROWS):
            rows = slice(low, low + ROWS)
            sides = [(QUERIES, DOCUMENTS)[side] for side in questions.query_row[rows]]
            sent = [one._sent(*pair) for pair in zip(sides, questions.texts_a(rows), strict=True)]
            keys = [one._key(endpoint, *pair) for pair in zip(sides, sent, strict=True)]
            yield list(range(low, low + len(sent))), keys, sent


def _fault(index: object, vector: np.ndarray, texts: int, found: dict[int, int]) -> str:
    """What is wrong with a vector; "" where nothing is. found: index -> numbers of the vectors before it."""
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < texts:
        return "a vector has no index, or one that is no text's"
    if index in found:
        return "a text has two vectors"
    if not len(vector) or not np.isfinite(vector).all():
        return "a vector is empty, or has what is no number"
    if not vector.any():
        return "a vector has zeros only"
    if len(vector) not in (found.values() or [len(vector)]):
        return "vectors of one reply differ in their number of numbers"
    return ""


def _of_body(body: str, key: str) -> np.ndarray:
    return unpacked(json.loads(body)[key][0]["embedding"])
