"""Documents that a judge reads the beginning of."""

import numpy as np
import pyarrow.compute as pc

from zelo.records import Questions, distinct
from zelo.texts import BYTES_PER_TOKEN


def longer(questions: Questions, tokens: int) -> int:
    """How many of the documents asked about are longer than that, and so are judged by their beginning."""
    rows = distinct(np.concatenate([questions.a_row, questions.b_row]))
    documents = questions.documents.select(["title", "text"]).take(rows)
    title, text = (
        pc.fill_null(pc.binary_length(documents[name]), 0).to_numpy().astype(np.int64) for name in ("title", "text")
    )
    return int((title + (title > 0) + text > tokens * BYTES_PER_TOKEN).sum())
