"""A published late-interaction model, opened by sentence-transformers: a vector for each token (ColBERT, Khattab 2020)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from zelo.backbones.exported import MULTI_VECTOR, tokens_read
from zelo.backbones.published import Published, by_length, check_batch
from zelo.progress import progress
from zelo.texts import document_texts


@dataclass(frozen=True, kw_only=True)
class MultiVector:
    """MaxSim as the model defines it; a query's prompt and lengths are the model's own. Documents are encoded once each."""

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    model: str  # a folder, package:NAME/PATH, or a name on the Hugging Face hub
    revision: str | None  # of a hub name: a commit, tag or branch
    batch_size: int  # texts at a time

    def __post_init__(self) -> None:
        check_batch("multi_vector", self.batch_size, None)

    def content(self) -> dict[str, str]:
        """Hash of the model's files, wherever they lie."""
        return {"model": self._published.content()}

    def check(self) -> None:
        """Raises BadInput where the model's files are not there, or are another kind's."""
        self._published.check("MultiVectorEncoder")

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores of N pairs. Raises BadInput for a model that cannot be loaded."""
        return self.scores(self.loaded(), queries, documents, query_row, doc_row)

    def loaded(self) -> Any:
        """The model in memory. Raises BadInput where it cannot be loaded."""
        return self._published.opened("MultiVectorEncoder")

    def tokens(self, model: Any, query: str, documents: list[str]) -> int:
        """How many tokens the model reads to score the documents for a query."""
        return tokens_read(model, MULTI_VECTOR, query, documents)

    def scores(
        self, model: Any, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray
    ) -> np.ndarray:
        """What `score` gives, by the model that `loaded` gave."""
        options = {"batch_size": self.batch_size, "show_progress_bar": False}
        used, query = np.unique(query_row, return_inverse=True)
        asked = model.encode_query(queries["text"].take(pa.array(used)).to_pylist(), **options)
        wanted, document = np.unique(doc_row, return_inverse=True)
        texts = document_texts(documents.take(pa.array(wanted)))
        found = np.empty(len(query_row), np.float32)
        order = np.argsort(document, kind="stable")
        ends = np.searchsorted(document[order], np.arange(len(wanted) + 1))
        with progress("late interaction", len(found), "pairs") as advance:
            for some in by_length([len(text) for text in texts]):
                vectors = model.encode_document([texts[row] for row in some], **options)
                for row, vector in zip(some, vectors, strict=True):
                    pairs = order[ends[row] : ends[row + 1]]
                    left = [asked[one] for one in query[pairs]]
                    scores = model.similarity_pairwise(left, [vector] * len(pairs))
                    found[pairs] = scores.float().cpu().numpy()
                    advance(len(pairs))
        return found

    @property
    def _published(self) -> Published:
        return Published(self.model, self.revision)
