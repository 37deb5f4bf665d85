"""Texts that are nearly the same: most of their words are."""

import math
import re

from zelo.texts import fold

_WORD = re.compile(r"\w+")
_ROUNDING = 1e-9  # 0.8 * 5 words are 4 words


class Seen:
    """Texts by the sets of their words; two are alike where these share at least `alike` of their words together (Jaccard).

    Case, punctuation, white space and the order of words do not count. Exact, and quick: two such sets share one of the first
    few words of each, in any one order of all words (Chaudhuri, Ganti and Kaushik, ICDE 2006, section 4).
    """

    def __init__(self, alike: float) -> None:
        """alike: in (0, 1]."""
        self.alike = alike
        self.sets: list[frozenset[str]] = []
        self.having: dict[str, list[int]] = {}  # one of the first words -> positions in `sets`

    def add(self, text: str) -> None:
        """Remembers a text."""
        words = _words(text)
        for word in self._first(words):
            self.having.setdefault(word, []).append(len(self.sets))
        self.sets.append(words)

    def has_like(self, text: str) -> bool:
        """Whether a text that it remembers is alike."""
        words = _words(text)
        places = {place for word in self._first(words) for place in self.having.get(word, ())}
        return any(self._alike(words, self.sets[place]) for place in places)

    def _alike(self, one: frozenset[str], other: frozenset[str]) -> bool:
        shared = len(one & other)
        return shared >= self.alike * (len(one) + len(other) - shared) - _ROUNDING

    def _first(self, words: frozenset[str]) -> list[str]:
        """The words of which a set that is alike has one too: long ones, which are rare."""
        count = len(words) - math.ceil(self.alike * len(words) - _ROUNDING) + 1
        return sorted(words, key=lambda word: (-len(word), word))[:count]


def _words(text: str) -> frozenset[str]:
    """Its words; a text without any stands for itself."""
    plain = fold(text)
    return frozenset(_WORD.findall(plain)) or frozenset({plain})
