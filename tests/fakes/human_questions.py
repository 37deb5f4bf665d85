"""Questions for a person."""

import numpy as np
import pyarrow as pa

from zelo.records import DOCUMENT, QUERY, Questions

QUERIES = pa.table({"query_id": ["QID-1", "QID-2"], "text": ["red?", "blue?"], "split": ["test"] * 2}, schema=QUERY)
DOCUMENTS = pa.table(
    {
        "doc_id": [f"DOC-{n}" for n in range(4)],
        "title": ["Reds", "Blues", "", "Long"],
        "text": [
            "all about red",
            "all about blue",
            "with \x1b[2J an escape",
            "\n".join(f"line {n}" for n in range(99)),
        ],
    },
    schema=DOCUMENT,
)


def ask(*rows: tuple[int, int, int], repeat: int = 0) -> Questions:
    query, a, b = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    return Questions(QUERIES, DOCUMENTS, query, a, b, np.full(len(rows), repeat, np.int16))
