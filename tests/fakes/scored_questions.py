"""A scorer whose scores are known, and questions about four documents."""

import numpy as np
import pyarrow as pa

from zelo.records import DOCUMENT, QUERY, Questions

QUERIES = pa.table(
    {"query_id": ["sort", "file"], "text": ["sort a list of numbers", "delete a file"], "split": ["train", "test"]},
    schema=QUERY,
)
DOCUMENTS = pa.table(
    {
        "doc_id": ["list.sort", "zip", "os.remove", "empty"],
        "title": ["list.sort()", "zip(*iterables)", "os.remove(path)", ""],
        "text": ["Sort the list.", "Pair up items.", "Delete a file.", ""],
    },
    schema=DOCUMENT,
)


def questions(query: list[int], a: list[int], b: list[int]) -> Questions:
    columns = [np.array(column, np.int32) for column in (query, a, b)]
    return Questions(QUERIES, DOCUMENTS, *columns, repeat=np.zeros(len(a), np.int16))


class Table:
    """A scorer with a fixed score for each pair."""

    def __init__(self, *scores: list[float]) -> None:
        self.scores = np.array(scores, np.float32)
        self.asked: list[tuple[int, int]] = []

    def score(self, queries: pa.Table, documents: pa.Table, query_row: np.ndarray, doc_row: np.ndarray) -> np.ndarray:
        self.asked += zip(query_row.tolist(), doc_row.tolist(), strict=True)
        return self.scores[query_row, doc_row]
