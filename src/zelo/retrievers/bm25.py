"""BM25: words that query and document share, rare words first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.progress import progress
from zelo.ranking import best, groups, top_candidates
from zelo.texts import document_texts


@dataclass(frozen=True, kw_only=True)
class Bm25:
    """Okapi BM25 as Lucene computes it, over title and text (Robertson and Zaragoza, 2009; Kamphuis et al., 2020).

    `k1` saturates the count of a word, `b` normalises by length. `stemmer`: a Snowball algorithm, None keeps words as they
    are. `stopwords`: a language of bm25s ("en"), None drops none. A document that shares no word scores 0.
    """

    k1: float
    b: float
    stemmer: str | None
    stopwords: str | None

    def __post_init__(self) -> None:
        import Stemmer

        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise BadInput(f"bm25: k1={self.k1}, b={self.b} cannot be; k1 must be 0 or more and b in [0, 1].")
        if self.stemmer is not None and self.stemmer not in Stemmer.algorithms():
            raise BadInput(
                f"bm25: stemmer={self.stemmer} is unknown; choose null or one of {', '.join(Stemmer.algorithms())}."
            )

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows with a score above 0 (a query may have fewer than `top_k`, or none), ties by doc_id."""
        scores_of = self._index(documents)
        words = self._words(queries["text"].to_pylist())
        found = []
        with progress("bm25 search", len(words), "queries") as advance:
            for row, text in enumerate(words):
                scores = scores_of(text)
                column = best(scores[None], top_k)[1]
                column = column[scores[column] > 0]
                found.append((np.full(len(column), row), column, scores[column]))
                advance(1)
        query_row, doc_row, score = (
            (np.concatenate(part) for part in zip(*found, strict=True)) if found else [np.zeros(0, int)] * 3
        )
        return top_candidates(queries, documents, query_row, doc_row, score, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores, 0 or more, of N pairs."""
        scores_of = self._index(documents)
        result = np.zeros(len(query_row), np.float32)
        rows, places = np.unique(query_row, return_inverse=True)
        words = self._words(queries["text"].take(pa.array(rows)).to_pylist())
        for place, positions in groups(places, doc_row):
            result[positions] = scores_of(words[place])[doc_row[positions]]
        return result

    def _index(self, documents: pa.Table) -> Callable[[list[str]], np.ndarray]:
        """A function from a query's words to the scores [D] of all documents."""
        import bm25s

        words = self._words(document_texts(documents))
        if not any(words):  # nothing to index: no document has a word
            return lambda _query: np.zeros(documents.num_rows, np.float32)
        index = bm25s.BM25(method="lucene", k1=self.k1, b=self.b, dtype="float32")
        index.index(words, show_progress=False)
        vocabulary = index.vocab_dict

        def scores(query: list[str]) -> np.ndarray:
            known = [word for word in query if word in vocabulary]
            return index.get_scores(known) if known else np.zeros(documents.num_rows, np.float32)

        return scores

    def _words(self, texts: list[str]) -> list[list[str]]:
        import bm25s
        import Stemmer

        stem: Any = Stemmer.Stemmer(self.stemmer).stemWords if self.stemmer else None
        try:
            words: Any = bm25s.tokenize(
                texts, stopwords=self.stopwords or [], stemmer=stem, return_ids=False, show_progress=False
            )
        except ValueError as error:
            raise BadInput(f"bm25: stopwords={self.stopwords}: {error}") from error
        return words
