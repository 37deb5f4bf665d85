"""The texts of documents as the query browser shows them: each once, and no longer than all of them together allow."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TEXT, LONGEST, SHORTEST = 24_000_000, 1200, 120  # bytes of all texts, and characters of one: what fits
TITLE = 160  # characters
_NAMES = ["doc_id", "title", "text"]


@dataclass(frozen=True)
class Beginnings:
    """D documents, texts not beyond `length` characters."""

    doc_id: pa.Array
    title: pa.Array
    text: pa.Array
    length: int


def beginnings(parts: Iterable[pa.Table]) -> Beginnings:
    """With texts as long as all of them together allow. parts: DOCUMENT."""
    found = [pa.table([part["doc_id"], *(tidy(part[name]) for name in ("title", "text"))], _NAMES) for part in parts]
    documents = pa.concat_tables([pa.table([pa.array([], pa.string())] * 3, _NAMES), *found]).combine_chunks()
    text = documents["text"]
    long = pc.utf8_length(text).to_numpy()
    room = TEXT * long.sum() / max(pc.sum(pc.binary_length(text)).as_py() or 0, 1)  # in characters
    lengths = range(LONGEST, SHORTEST, -20)
    length = next((most for most in lengths if np.minimum(long, most).sum() <= room), SHORTEST)
    short = pc.binary_join_element_wise(pc.utf8_slice_codeunits(text, 0, length), "…", "")
    return Beginnings(
        documents["doc_id"].combine_chunks(),
        pc.utf8_slice_codeunits(documents["title"], 0, TITLE).combine_chunks(),
        pc.if_else(pa.chunked_array([long > length]), short, text).combine_chunks(),
        length,
    )


def tidy(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts without runs of white space; ends of lines stay."""
    texts = pc.replace_substring_regex(pc.fill_null(texts, ""), r"[ \t\r\f\v]+", " ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r" ?\n[ \n]*", "\n"))
