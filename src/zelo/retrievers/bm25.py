"""BM25: words that query and document share, rare words first."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.languages import languages
from zelo.progress import progress
from zelo.ranking import best, groups, top_candidates
from zelo.texts import Texts, document_texts

# Han, Hiragana, Katakana, Thai, Lao, Myanmar, Khmer: letters and the marks on them, no digits and no punctuation.
_UNSPACED = re.compile(
    "[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u31f0-\u31ff\uff66-\uff9f\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f"
    "\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f\u1780-\u17d3\u17d7\u17dc\u17dd]+"
)


AUTO, ENGLISH = "auto", "en"
READ = 200  # documents whose language is guessed
# ISO 639 code -> (Snowball algorithm, stop words of bm25s).
LANGUAGES = {
    "ar": ("arabic", None),
    "ca": ("catalan", None),
    "cs": ("czech", None),
    "da": ("danish", "da"),
    "de": ("german", "de"),
    "el": ("greek", None),
    "en": ("english", "en"),
    "es": ("spanish", "es"),
    "et": ("estonian", None),
    "eu": ("basque", None),
    "fa": ("persian", None),
    "fi": ("finnish", None),
    "fr": ("french", "fr"),
    "ga": ("irish", None),
    "hi": ("hindi", None),
    "hu": ("hungarian", None),
    "hy": ("armenian", None),
    "id": ("indonesian", None),
    "it": ("italian", "it"),
    "ko": (None, "ko"),
    "lt": ("lithuanian", None),
    "ne": ("nepali", None),
    "nl": ("dutch", "nl"),
    "no": ("norwegian", "no"),
    "pl": ("polish", None),
    "pt": ("portuguese", "pt"),
    "ro": ("romanian", None),
    "ru": ("russian", "ru"),
    "sr": ("serbian", None),
    "sv": ("swedish", "sv"),
    "ta": ("tamil", None),
    "tr": ("turkish", "tr"),
    "zh": (None, "zh"),
}
PART = 65_536  # documents whose words are strings at a time


@dataclass(frozen=True, kw_only=True)
class Bm25:
    """Okapi BM25 as Lucene computes it, over title and text (Robertson and Zaragoza, 2009; Kamphuis et al., 2020).

    `k1` saturates the count of a word, `b` normalises by length. `stemmer`: a Snowball algorithm, None keeps words as they
    are. `stopwords`: a language of bm25s ("en"), None drops none. Either can be `auto`: that of the language of most documents,
    English where no language has most. A document that shares no word scores 0. The words of scripts
    that are written without spaces are pairs of neighbouring characters, as in Lucene's CJK analyzer; documents also have the
    characters, for a query of one.
    """

    k1: float
    b: float
    stemmer: str | None
    stopwords: str | None

    def __post_init__(self) -> None:
        import Stemmer

        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise BadInput(f"bm25: k1={self.k1}, b={self.b} cannot be; k1 must be 0 or more and b in [0, 1].")
        if self.stemmer not in (None, AUTO, *Stemmer.algorithms()):
            raise BadInput(
                f"bm25: stemmer={self.stemmer} is unknown; choose auto, null or one of {', '.join(Stemmer.algorithms())}."
            )

    def of(self, documents: pa.Table) -> "Bm25":
        """The same with the stemmer and stop words of these documents (DOCUMENT) where they are `auto`."""
        if AUTO not in (self.stemmer, self.stopwords):
            return self
        found = languages(Texts(documents["text"], documents["title"]), READ)
        language, count = found.most_common(1)[0] if found else (ENGLISH, 0)
        stemmer, stopwords = LANGUAGES.get(language if 2 * count > found.total() else ENGLISH, (None, None))
        return replace(
            self,
            stemmer=stemmer if self.stemmer == AUTO else self.stemmer,
            stopwords=stopwords if self.stopwords == AUTO else self.stopwords,
        )

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows with a score above 0 (a query may have fewer than `top_k`, or none), ties by doc_id."""
        words_of, scores_of = self._index(documents)
        words = words_of(queries["text"].to_pylist())
        found = []
        with progress("bm25 search", len(words), "queries") as advance:
            for row, text in enumerate(words):
                scores = scores_of(text)
                column = np.flatnonzero(scores)  # few of many documents share a word
                if len(column) > top_k:
                    column = column[best(scores[column][None], top_k)[1]]
                found.append((np.full(len(column), row), column, scores[column]))
                advance(1)
        query_row, doc_row, score = (
            (np.concatenate(part) for part in zip(*found, strict=True)) if found else [np.zeros(0, int)] * 3
        )
        return top_candidates(queries, documents, query_row, doc_row, score, top_k)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores, 0 or more, of N pairs."""
        words_of, scores_of = self._index(documents)
        result = np.zeros(len(query_row), np.float32)
        rows, places = np.unique(query_row, return_inverse=True)
        words = words_of(queries["text"].take(pa.array(rows)).to_pylist())
        for place, positions in groups(places, doc_row):
            result[positions] = scores_of(words[place])[doc_row[positions]]
        return result

    def _index(
        self, documents: pa.Table
    ) -> tuple[Callable[[list[str]], list[list[str]]], Callable[[list[str]], np.ndarray]]:
        """Two functions: from texts to the words of each; from a query's words to the scores [D] of all documents."""
        import bm25s

        found = self.of(documents)

        vocabulary: dict[str, int] = {}
        ids: list[list[int]] = []
        with progress("bm25 index", documents.num_rows, "documents") as advance:
            for low in range(0, documents.num_rows, PART):  # the words of all would be gigabytes of strings
                part = documents.slice(low, PART)
                for words in found._words(document_texts(part), 1):
                    ids.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
                advance(part.num_rows)
        if not vocabulary:  # nothing to index: no document has a word
            return found._words, lambda _query: np.zeros(documents.num_rows, np.float32)
        index = bm25s.BM25(method="lucene", k1=self.k1, b=self.b, dtype="float32")
        index.index((ids, vocabulary), show_progress=False)

        def scores(query: list[str]) -> np.ndarray:
            known = [vocabulary[word] for word in query if word in vocabulary]
            return index.get_scores_from_ids(known) if known else np.zeros(documents.num_rows, np.float32)

        return found._words, scores

    def _words(self, texts: list[str], least: int = 2) -> list[list[str]]:
        """The words of each text; of scripts without spaces from `least` characters on, to two."""
        import bm25s
        import Stemmer

        stem: Any = Stemmer.Stemmer(self.stemmer).stemWords if self.stemmer else None
        unspaced = {row: text for row, text in enumerate(texts) if not text.isascii() and _UNSPACED.search(text)}
        spaced = [_UNSPACED.sub(" ", text) if row in unspaced else text for row, text in enumerate(texts)]
        try:
            words: Any = bm25s.tokenize(
                spaced, stopwords=self.stopwords or [], stemmer=stem, return_ids=False, show_progress=False
            )
        except ValueError as error:
            raise BadInput(f"bm25: stopwords={self.stopwords}: {error}") from error
        for row, text in unspaced.items():
            words[row] += _pieces(text, least)
        return words


def scorer(bm25: Bm25, documents: pa.Table) -> Callable[[str], np.ndarray]:
    """A function from a query to the scores [D] of all documents, whose words are read once. documents: DOCUMENT."""
    words_of, scores_of = bm25._index(documents)
    return lambda query: scores_of(words_of([query])[0])


def _pieces(text: str, least: int) -> list[str]:
    """Each `least` to two neighbouring characters of scripts without spaces; one that stands alone is a word by itself."""
    runs = _UNSPACED.findall(text)
    return [
        run[at : at + size]
        for run in runs
        for size in range(min(least, len(run)), min(2, len(run)) + 1)
        for at in range(len(run) - size + 1)
    ]
