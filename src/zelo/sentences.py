"""The sentences of a text that are prose: no code, no tables, no scraps."""

import re

_WRAPPED = re.compile(r"(?<=[\w,])[ \t]*\n[ \t]*(?=[a-z])")  # a line that goes on in the next
_BREAK = re.compile(r"\n+|(?<=[.!?])\s+")
_AROUND = " \t\"'#*`/-"  # of comments and lists, not of the sentence
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*[,.!?]?$")
SHORTEST, LONGEST = 4, 25  # words of a sentence
PROSE = 0.8  # share of its words that are nothing but letters: code and tables are no queries


def sentences(text: str) -> list[str]:
    """The sentences of 4 to 25 words, most of them nothing but letters, in their order and with single spaces."""
    parts = (part.strip(_AROUND) for part in _BREAK.split(_WRAPPED.sub(" ", text)))
    return [" ".join(part.split()) for part in parts if _prose(part)]


def _prose(sentence: str) -> bool:
    words = sentence.split()
    return SHORTEST <= len(words) <= LONGEST and sum(map(bool, map(_WORD.match, words))) >= PROSE * len(words)
