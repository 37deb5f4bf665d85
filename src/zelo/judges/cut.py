"""Documents cut to what a judge reads of them."""

import numpy as np
import pyarrow.compute as pc

from zelo.records import Questions

BYTES_PER_TOKEN = 4  # English in a common tokenizer; the endpoint's own is not known
SHORTEST_CUT = 16  # tokens; less says nothing about a document


def beginning(text: str, tokens: int) -> str:
    """At most so many tokens of a document, ending with a whole character."""
    most = tokens * BYTES_PER_TOKEN
    if len(text) * 4 <= most:  # no character has more bytes
        return text
    raw = text.encode()
    return text if len(raw) <= most else raw[:most].decode(errors="ignore")


def longer(questions: Questions, tokens: int) -> int:
    """How many of the documents asked about are longer than that, and so are judged by their beginning."""
    rows = np.unique(np.concatenate([questions.a_row, questions.b_row]))
    documents = questions.documents.select(["title", "text"]).take(rows)
    title, text = (
        pc.fill_null(pc.binary_length(documents[name]), 0).to_numpy().astype(np.int64) for name in ("title", "text")
    )
    return int((title + (title > 0) + text > tokens * BYTES_PER_TOKEN).sum())
