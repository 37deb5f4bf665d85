"""BM25: words that query and document share, rare words first."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.languages import languages
from zelo.progress import Advance, progress, silent
from zelo.ranking import best, groups, top_candidates
from zelo.store.liveness import half_of
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
INDEX = "index"
PART = 65_536  # documents whose words are strings at a time


@dataclass(frozen=True)
class Index:
    """What bm25s has made of the words of a corpus."""

    made: Any  # a bm25s.BM25; None: no document has a word
    documents: int

    @staticmethod
    def of(ids: list[list[int]], vocabulary: dict[str, int], k1: float, b: float) -> "Index":
        """ids: of the words of each document."""
        import bm25s

        if not vocabulary:
            return Index(None, len(ids))
        made = bm25s.BM25(method="lucene", k1=k1, b=b, dtype="float32")
        made.index((ids, vocabulary), show_progress=False)
        return Index(made, len(ids))

    def save(self, folder: Path) -> None:
        """Into a new folder."""
        folder.mkdir()
        if self.made is not None:
            self.made.save(folder, show_progress=False)

    @staticmethod
    def opened(folder: Path, documents: int) -> "Index":
        """What was saved there; but for the vocabulary it stays on disk."""
        import bm25s

        if not any(folder.iterdir()):
            return Index(None, documents)
        made = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        made.scores |= {name: np.asarray(made.scores[name]) for name in ("data", "indices", "indptr")}
        return Index(made, documents)

    def scores(self, words: list[str]) -> np.ndarray:
        """[D] float32 of all documents."""
        vocabulary = {} if self.made is None else self.made.vocab_dict
        known = [vocabulary[word] for word in words if word in vocabulary]
        return cast(Any, self.made).get_scores_from_ids(known) if known else np.zeros(self.documents, np.float32)


@dataclass(frozen=True, kw_only=True)
class Bm25:
    """Okapi BM25 as Lucene computes it, over title and text (Robertson and Zaragoza, 2009; Kamphuis et al., 2020).

    `k1` saturates the count of a word, `b` normalises by length. `stemmer`: a Snowball algorithm, None keeps words as they
    are. `stopwords`: a language of bm25s ("en"), None drops none. Either can be `auto`: that of the language of most documents,
    English where no language has most. A document that shares no word scores 0. The words of scripts
    that are written without spaces are pairs of neighbouring characters, as in Lucene's CJK analyzer; documents also have the
    characters, for a query of one.
    """

    spreads: ClassVar[Literal[True]] = True

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

    def prepared(self, queries: pa.Table, documents: pa.Table, folder: Path) -> "Bm25Search":
        """Reads the words of the documents, once, into an index in the folder."""
        found = self.of(documents)
        if not (folder / INDEX).exists():
            index = found.index(documents)
            half = half_of(folder / INDEX)
            index.save(half)
            half.rename(folder / INDEX)
        return Bm25Search(found, folder / INDEX, len(documents))

    def search(self, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """CANDIDATE rows with a score above 0 (a query may have fewer than `top_k`, or none), ties by doc_id."""
        found = self.of(documents)
        with progress("bm25 search", len(queries), "queries") as advance:
            return _found(found, found.index(documents), queries, documents, top_k, advance)

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        """[N] float32 scores, 0 or more, of N pairs."""
        found = self.of(documents)
        index = found.index(documents)
        result = np.zeros(len(query_row), np.float32)
        rows, places = np.unique(query_row, return_inverse=True)
        words = found.words(queries["text"].take(pa.array(rows)).to_pylist())
        for place, positions in groups(places, doc_row):
            result[positions] = index.scores(words[place])[doc_row[positions]]
        return result

    def index(self, documents: pa.Table) -> Index:
        """Of all documents (DOCUMENT)."""
        vocabulary: dict[str, int] = {}
        ids: list[list[int]] = []
        with progress("bm25 index", documents.num_rows, "documents") as advance:
            for low in range(0, documents.num_rows, PART):  # the words of all would be gigabytes of strings
                part = documents.slice(low, PART)
                for words in self.words(document_texts(part), 1):
                    ids.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
                advance(part.num_rows)
        return Index.of(ids, vocabulary, self.k1, self.b)

    def words(self, texts: list[str], least: int = 2) -> list[list[str]]:
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
    found = bm25.of(documents)
    index = found.index(documents)
    return lambda query: index.scores(found.words([query])[0])


@dataclass(frozen=True)
class Bm25Search:
    """A PreparedSearch."""

    bm25: Bm25  # with the stemmer and stop words of the documents
    folder: Path  # of the index
    documents: int

    def __getstate__(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in ("bm25", "folder", "documents")}

    def search(self, asked: pa.Table, queries: pa.Table, documents: pa.Table, top_k: int) -> pa.Table:
        """As of Bm25."""
        return _found(self.bm25, self._index, asked, documents, top_k, silent)

    @cached_property
    def _index(self) -> Index:
        return Index.opened(self.folder, self.documents)


def _found(bm25: Bm25, index: Index, queries: pa.Table, documents: pa.Table, top_k: int, advance: Advance) -> pa.Table:
    """CANDIDATE rows. advance: called with queries done."""
    found = []
    for row, text in enumerate(bm25.words(queries["text"].to_pylist())):
        scores = index.scores(text)
        column = np.flatnonzero(scores)  # few of many documents share a word
        if len(column) > top_k:
            column = column[best(scores[column][None], top_k)[1]]
        found.append((np.full(len(column), row), column, scores[column]))
        advance(1)
    query_row, doc_row, score = (
        (np.concatenate(part) for part in zip(*found, strict=True)) if found else [np.zeros(0, int)] * 3
    )
    return top_candidates(queries, documents, query_row, doc_row, score, top_k)


def _pieces(text: str, least: int) -> list[str]:
    """Each `least` to two neighbouring characters of scripts without spaces; one that stands alone is a word by itself."""
    runs = _UNSPACED.findall(text)
    return [
        run[at : at + size]
        for run in runs
        for size in range(min(least, len(run)), min(2, len(run)) + 1)
        for at in range(len(run) - size + 1)
    ]
