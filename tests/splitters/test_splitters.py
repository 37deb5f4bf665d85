"""Splitting a text: nothing is lost, nothing is too long, and words stay whole."""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny_models
from components import component
from hypothesis import given, settings
from hypothesis import strategies as st

from zelo.errors import BadInput
from zelo.records import DOCUMENT
from zelo.splitters.cuts import spans
from zelo.splitters.tokens import Tokens

TEXTS = st.lists(
    st.sampled_from(["a", "wörd", "end.", "\n", "\n\n", " ", "# Head\n", "1. ", "说。", "x" * 40]), max_size=60
)


def pieces(text: str) -> np.ndarray:
    """Where tokens begin: of three letters at most."""
    return np.array([found.start() for found in re.finditer(r"\w{1,3}|[^\w\s]", text)], np.int64)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 20), st.integers(0, 10))
def test_passages_cover_the_text_and_fit(parts: list[str], room: int, overlap: int) -> None:
    text = " ".join(parts)
    begin = pieces(text)
    found = spans(text, begin, room, min(overlap, room // 2))
    assert found[0][0] == 0
    assert found[-1][1] == len(text)
    counts = [np.searchsorted(begin, end) - np.searchsorted(begin, start) for start, end in found]
    assert max(counts) <= room
    for (start, end), (following, last) in pairwise(found):
        assert start < following <= end < last, "in order, without a hole"
        assert np.searchsorted(begin, end) - np.searchsorted(begin, following) <= overlap
        before, after = (
            re.findall(pattern, part) for pattern, part in ((r"\S+\Z", text[:end]), (r"\A\S+", text[end:]))
        )
        if before and after and not before[0].endswith("。"):
            assert len(pieces(before[0] + after[0])) > room, "a word is cut that could have been whole"


def test_paragraphs_come_before_sentences_and_these_before_words() -> None:
    text = "One two. Three four.\n\nFive six seven. Eight nine ten eleven twelve thirteen.\n\n# Head\n\nLast one here."
    found = [text[start:end].strip() for start, end in spans(text, pieces(text), 14, 0)]
    assert found == [
        "One two. Three four.",
        "Five six seven.",
        "Eight nine ten eleven twelve thirteen.",
        "# Head\n\nLast one here.",
    ]


@pytest.fixture(scope="module", params=["modernbert", "qwen3"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    option = {"qwen3": "qwen3_0_6b"}.get(request.param, request.param)
    return component(f"backbone/{option}", model=str(tiny_models.save(request.param, tmp_path_factory.mktemp("tiny"))))


def test_what_a_model_reads_of_a_passage_has_at_most_so_many_tokens(backbone: Any) -> None:
    text = "\n\n".join(f"Read row {number} of the file. How do I sort a list in place?" for number in range(60))
    title, long_title = "Today a list", "read " * 200
    table = pa.table([["a", "b", "c"], [title, title, long_title], [text, "short", "end"]], schema=DOCUMENT)
    splitter = Tokens(backbone=backbone, tokens=160, overlap=16)
    splitter.check()
    long, short, titled = splitter.split(table)
    assert short == [(title, "short")], "what fits stays as it is"
    assert all(found == title and part in text for found, part in long)
    assert {int(row) for _, part in long for row in re.findall(r"row (\d+)", part)} == set(range(60))
    assert {found for found, _ in titled} == {""}, "a title that leaves no room is read as text"
    assert titled[-1][1].endswith("end")
    tokenizer = backbone.text_tokenizer()
    for parts in (long, titled):
        read = ["\n".join(filter(None, part)) for part in parts]
        counts = [len(ids) for ids in backbone.texts(tokenizer, read, backbone.document_prompt, 10_000)]
        assert len(counts) > 2
        assert max(counts) <= 160
        assert min(counts) > 80, "and is at least half full"


def test_what_cannot_be_split_is_refused(backbone: Any) -> None:
    for tokens, overlap in ((8, 0), (100, 51), (100, -1)):
        with pytest.raises(BadInput, match=f"splitter.tokens={tokens}, splitter.overlap={overlap}"):
            Tokens(backbone=backbone, tokens=tokens, overlap=overlap)
    with pytest.raises(BadInput, match=r"splitter.backbone is str, which has no tokenizer"):
        Tokens(backbone="minilm", tokens=100, overlap=0)  # type: ignore[arg-type]
    if backbone.document_prompt or not backbone.text_tokenizer().cls_token:  # a chat template
        with pytest.raises(BadInput, match=r"special tokens take \d+ of them"):
            Tokens(backbone=backbone, tokens=16, overlap=0).check()
