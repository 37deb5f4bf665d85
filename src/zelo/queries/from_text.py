"""Queries taken out of documents: titles, headings, questions and sentences."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.likelihood.randomness import content_seed
from zelo.records import MADE
from zelo.sentences import LONGEST, sentences
from zelo.texts import fold, folded

DOCUMENTS = 4096  # that are read at a time
READ = 50_000  # characters of a document
TITLE, HEADING, QUESTION, SENTENCE = "title", "heading", "question", "sentence"

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$|^(\S.*)\n[ \t]*(?:={3,}|-{3,})[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"\A---\n.*?^---$|^[ \t]*```.*?^[ \t]*```[ \t]*$|^[ \t]*\|[^\n]*", re.MULTILINE | re.DOTALL)
"""Front matter, code, and rows of tables."""
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*\)")
_MARKS = re.compile(r"\*\*|__|`")
_LABEL = re.compile(r"^(?:[Qq](?:uestion)?[ \t]*\d*|\d+)[ \t]*[.:)][ \t]+")  # of a question in a FAQ


@dataclass(frozen=True, kw_only=True)
class FromText:
    """At most `per_document` texts of each document, the first ones of all documents before the second ones of any.

    As in the inverse cloze task (Lee, Chang and Toutanova, ACL 2019, section 4), but whole documents are searched: what a query
    is compared with keeps the sentence. A text that stands in several documents is none. Sentences are prose of 4 to 25 words;
    of a script without spaces, only titles and headings are taken. Documents are drawn, and sentences too, by `seed`.
    """

    CHEAP: ClassVar[Literal[True]] = True

    most: int
    mix: bool
    top_k: int
    per_document: int
    seed: int

    def __post_init__(self) -> None:
        if self.per_document < 1:
            raise BadInput(f"queries.per_document={self.per_document} takes nothing; set it to 1 or more.")

    def make(self, documents: pa.Table, examples: Sequence[str]) -> Iterator[pa.Table]:
        """MADE rows; examples are not looked at."""
        by_id = pc.sort_indices(documents["doc_id"]).to_numpy()
        order = by_id[np.random.default_rng(self.seed).permutation(len(by_id))]
        titles = Counter(folded(documents["title"]))
        for low in range(0, len(order), DOCUMENTS):
            rows = documents.take(pa.array(order[low : low + DOCUMENTS])).to_pylist()
            found = [self._of(row["doc_id"], row["title"], row["text"][:READ], titles) for row in rows]
            having = Counter(plain for texts in found for plain in {fold(text) for text, _ in texts})
            alone = [
                [(text, row["doc_id"], style) for text, style in texts if having[fold(text)] == 1][: self.per_document]
                for row, texts in zip(rows, found, strict=True)
            ]
            for place in zip_longest(*alone):
                yield pa.table(list(zip(*filter(None, place), strict=True)), schema=MADE)

    def _of(self, doc_id: str, title: str, text: str, titles: Counter[str]) -> list[tuple[str, str]]:
        """(text, style) of all that could be a query, best first: kinds take turns, and a seed decides which begins."""
        drawn, text = content_seed(doc_id, self.seed), _FENCED.sub("\n", text)
        prose = [_LABEL.sub("", one) for one in sentences(_MARKS.sub("", _LINK.sub(r"\1", text)))]
        questions = [one for one in prose if one.endswith("?")]
        rest = [one for one in prose if not one.endswith("?")]
        first = drawn % max(len(rest), 1)
        named = title.split() if titles[fold(title)] == 1 and text.strip() else []
        headed = _HEADING.search(text)
        heading = (headed[1] or headed[2]).split() if headed else []
        kinds = {
            QUESTION: questions,
            TITLE: [" ".join(named)] if _short(named) else [],
            SENTENCE: rest[first:] + rest[:first],
            HEADING: [" ".join(heading)] if _short(heading) and len(heading) > 1 else [],
        }
        if drawn >> 63:  # titles and sentences are first in half of the documents each
            kinds = {kind: kinds[kind] for kind in (QUESTION, SENTENCE, TITLE, HEADING)}
        turns = zip_longest(*([(text, kind) for text in texts] for kind, texts in kinds.items()))
        found: dict[str, tuple[str, str]] = {}
        for text, kind in (one for turn in turns for one in turn if one):
            found.setdefault(fold(text), (text, kind))
        return list(found.values())


def _short(words: list[str]) -> bool:
    """Whether a title or heading could be asked: some words, with a letter in them."""
    return 0 < len(words) <= LONGEST and any(letter.isalpha() for word in words for letter in word)
