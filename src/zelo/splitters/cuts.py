"""Where a text is cut: at paragraphs, else sentences, lines, words."""

import re
from dataclasses import dataclass

import numpy as np

_HEADING = r"^[^\S\n]*#{1,6}[^\S\n][^\n]*"
_AFTER_HEADING = re.compile(rf"{_HEADING}\s+", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*|\n(?=[^\S\n]*#{1,6}[^\S\n])")
# Not behind a letter or digit that stands alone: an initial, or the number of a list.
_SENTENCE = re.compile(r"(?<!\b\w)[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*\s*")
_LINE = re.compile(r"\n\s*")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True)
class Bounds:
    """Places where a text may be cut, ascending: before its paragraphs, sentences, lines and words.

    A cut behind a heading would part it from what it heads, and is none but between words.
    """

    paragraphs: np.ndarray
    sentences: np.ndarray  # paragraphs included
    lines: np.ndarray
    words: np.ndarray

    @staticmethod
    def of(text: str) -> "Bounds":
        """All that are behind the beginning of the text and before its end."""
        paragraphs, sentences, lines, words, headed = (
            np.array([place for found in pattern.finditer(text) if 0 < (place := found.end()) < len(text)], np.int64)
            for pattern in (_PARAGRAPH, _SENTENCE, _LINE, _WORD, _AFTER_HEADING)
        )
        paragraphs, lines = np.setdiff1d(paragraphs, headed), np.setdiff1d(lines, headed)
        return Bounds(paragraphs, np.setdiff1d(np.union1d(paragraphs, sentences), headed), lines, words)

    def end(self, low: int, high: int, aim: int) -> int | None:
        """The place in [low, high] nearest to `aim`, of the best kind that has any there."""
        for places in (self.paragraphs, self.sentences, self.lines, self.words):
            found = _within(places, low, high)
            if len(found):
                return int(found[np.argmin(np.abs(found - aim))])
        return None

    def start(self, low: int, high: int) -> int:
        """The first sentence in [low, high), else the first line or word; `high` where there is none."""
        for places in (self.sentences, self.lines, self.words):
            found = _within(places, low, high - 1)
            if len(found):
                return int(found[0])
        return high


def spans(text: str, begin: np.ndarray, room: int, overlap: int) -> list[tuple[int, int]]:
    """[start, end) of passages of at most `room` tokens that together are the text, each half full at least.

    begin: [T] where each token begins, ascending. A passage repeats at most `overlap` tokens, and half, of the one before. A
    word is cut only where it has more than `room` tokens. The last two share what is left.
    """
    bounds, start = Bounds.of(text), 0
    found: list[tuple[int, int]] = []
    while True:
        first = int(np.searchsorted(begin, start))
        left = len(begin) - first
        if left <= room:
            return [*found, (start, len(text))]
        low, aim = first + (room + 1) // 2, first + room
        if left + overlap <= 2 * room:
            low, aim = max(low, len(begin) + overlap - room), first + (left + 1) // 2
        high, done = int(begin[first + room]), found[-1][1] if found else 0
        end = bounds.end(max(int(begin[low]), done + 1), high, int(begin[aim]))
        if end is None and start < done:  # what is repeated leaves no room for the next word
            start = done
            continue
        if end is None:  # a long word
            end = bounds.end(start + 1, high, high) or max(high, start + 1)
        found.append((start, end))
        size = int(np.searchsorted(begin, end)) - first
        back = min(overlap, size // 2)
        start = bounds.start(max(int(begin[first + size - back]), start + 1), end) if back else end


def _within(places: np.ndarray, low: int, high: int) -> np.ndarray:
    return places[np.searchsorted(places, low) : np.searchsorted(places, high, "right")]
