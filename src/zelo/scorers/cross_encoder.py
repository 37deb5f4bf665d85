"""A published cross-encoder, opened by sentence-transformers: it reads the query and a document together."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from zelo.backbones.exported import CROSS_ENCODER, tokens_read
from zelo.backbones.kept_scores import KeptScores, pair_keys
from zelo.backbones.published import Published, by_length, check_batch
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.fingerprint.code_hash import code_hash
from zelo.progress import progress
from zelo.texts import document_texts

KEPT_TOGETHER = 8192  # pairs
SIGMOID, IDENTITY = "sigmoid", "identity"


@dataclass(frozen=True, kw_only=True)
class CrossEncoder:
    """One score a pair. `activation` null is the model's own; else the logit is divided by `temperature` first.

    A ranking does not depend on either; a threshold does. zerank-2 gives raw logits, and sigmoid(x / 5) is its probability.
    Scores are kept in the store, pair by pair.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    model: str  # a folder, package:NAME/PATH, or a name on the Hugging Face hub
    revision: str | None  # of a hub name: a commit, tag or branch
    max_length: int | None  # tokens of a pair; None: what the model says
    prompt: str | None  # an instruction, for a model that takes one; None: the model's own
    activation: str | None  # sigmoid or identity
    temperature: float
    batch_size: int  # pairs at a time

    def __post_init__(self) -> None:
        if self.activation not in (None, SIGMOID, IDENTITY):
            raise BadInput(
                f"cross_encoder: activation={self.activation!r} is unknown; use {SIGMOID}, {IDENTITY}, or null for the"
                " model's own."
            )
        if not self.temperature > 0:
            raise BadInput(f"cross_encoder: temperature={self.temperature} must be above 0.")
        if self.activation is None and self.temperature != 1:
            raise BadInput(
                f"cross_encoder: temperature={self.temperature} divides logits, and activation=null leaves them to the model;"
                f" set activation={SIGMOID}."
            )
        check_batch("cross_encoder", self.batch_size, self.max_length)

    def content(self) -> dict[str, str]:
        """Hash of the model's files, wherever they lie."""
        return {"model": self._published.content()}

    def check(self) -> None:
        """Raises BadInput where the model's files are not there, or are another kind's."""
        self._published.check("CrossEncoder")

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs. Raises BadInput for a model that cannot be loaded, or has several scores a pair."""
        rows, query = np.unique(query_row, return_inverse=True)
        named, document = np.unique(doc_row, return_inverse=True)
        texts = document_texts(documents.take(pa.array(named)))
        keys = pair_keys(queries["text"].take(pa.array(rows)).to_pylist(), texts, query, document)
        kept = KeptScores(self._recipe)
        found, known = kept.find(keys)
        todo = np.flatnonzero(~known)
        for low in range(0, len(todo), KEPT_TOGETHER):
            some = todo[low : low + KEPT_TOGETHER]
            part = queries, documents, query_row[some], doc_row[some]
            found[some] = kept.add(keys.take(pa.array(some)), lambda part=part: self.scores(self._model, *part))
        return found

    @property
    def _recipe(self) -> Facts:
        """All that a score depends on but the texts."""
        names = ("max_length", "prompt", "activation", "temperature")
        own = {name: getattr(self, name) for name in names}
        return {**self.content(), **own, "code": code_hash(__name__, "CrossEncoder")}

    @cached_property
    def _model(self) -> Any:
        return self.loaded()

    def loaded(self) -> Any:
        """The model in memory. Raises BadInput where it cannot be loaded, or has several scores a pair."""
        import torch

        options: dict[str, Any] = {} if self.max_length is None else {"max_length": self.max_length}
        model = self._published.opened("CrossEncoder", **options)
        if model.num_labels != 1:
            raise BadInput(
                f"{self._published.setting}: the model has {model.num_labels} scores for a pair, and a reranker has one."
                " Name another."
            )
        if self.activation:
            model.activation_fn = torch.nn.Identity()
        return model

    def scores(
        self, model: Any, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray
    ) -> np.ndarray:
        """What `score` gives, by the model that `loaded` gave."""
        used_queries, query = np.unique(query_row, return_inverse=True)
        used_documents, document = np.unique(doc_row, return_inverse=True)
        asked = queries["text"].take(pa.array(used_queries)).to_pylist()
        texts = document_texts(documents.take(pa.array(used_documents)))
        found = np.empty(len(query_row), np.float32)
        ask = {} if self.prompt is None else {"prompt": self.prompt}
        with progress("cross-encoder", len(found), "pairs") as advance:
            for rows in by_length([len(asked[q]) + len(texts[d]) for q, d in zip(query, document, strict=True)]):
                pairs = [(asked[query[row]], texts[document[row]]) for row in rows]
                found[rows] = model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False, **ask)
                advance(len(rows))
        return self._activated(found)

    def tokens(self, model: Any, query: str, documents: list[str]) -> int:
        """How many tokens the model reads to score the documents for a query."""
        return tokens_read(model, CROSS_ENCODER, query, documents)

    def _activated(self, logits: np.ndarray) -> np.ndarray:
        scaled = logits / np.float32(self.temperature)
        return (0.5 + 0.5 * np.tanh(scaled / 2)).astype(np.float32) if self.activation == SIGMOID else scaled

    @property
    def _published(self) -> Published:
        return Published(self.model, self.revision)
