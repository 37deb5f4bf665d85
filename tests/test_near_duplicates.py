"""Texts that are nearly the same, against the definition."""

import re
from itertools import combinations

import numpy as np
import pytest

from zelo.near_duplicates import Seen


def jaccard(one: str, other: str) -> float:
    a, b = set(re.findall(r"\w+", one.lower())), set(re.findall(r"\w+", other.lower()))
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("alike", [0.5, 0.8, 1.0])
def test_it_finds_what_comparing_all_pairs_finds(alike: float) -> None:
    rng = np.random.default_rng(3)
    words = ["a", "bb", "ccc", "dd", "e", "fff", "gg"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 7))) for _ in range(80)]
    found = 0
    for one, other in combinations(texts, 2):
        seen = Seen(alike)
        seen.add(one)
        assert seen.has_like(other) == (jaccard(one, other) >= alike - 1e-9), (one, other)
        found += seen.has_like(other)
    assert 0 < found < len(list(combinations(texts, 2)))


def test_case_punctuation_and_writing_do_not_count() -> None:
    seen = Seen(0.8)
    seen.add("How do I   return a PARCEL?")
    seen.add("???")
    assert seen.has_like("how do i return a parcel")
    assert seen.has_like("how do i return a \uff50arcel")  # a full-width p
    assert seen.has_like("???")
    assert not seen.has_like("!!!")
    assert not seen.has_like("how do i send a letter")
