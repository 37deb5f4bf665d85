"""The documents that questions about one query are about, in an order that follows from ids alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zelo.likelihood.randomness import content_seed
from zelo.records import Questions
from zelo.texts import document_texts


@dataclass(frozen=True)
class QueryPool:
    """The N questions of one query and repeat, and their D documents."""

    query: str
    repeat: int
    rows: np.ndarray  # [N] rows of the questions
    texts: list[str]  # [D] in an order drawn from the ids of query and document
    first: list[int]  # [N] place in `texts` of the document shown first
    second: list[int]  # [N]


def query_pools(questions: Questions) -> Iterator[QueryPool]:
    """Query by query, lazily; neither the order of the rows nor what else is asked changes one."""
    groups = np.stack([questions.query_row.astype(np.int64), questions.repeat.astype(np.int64)])
    group = np.unique(groups, axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []:
        query = questions.queries.slice(int(questions.query_row[rows[0]]), 1).to_pylist()[0]
        pool = np.unique(np.concatenate([questions.a_row[rows], questions.b_row[rows]]))
        documents = questions.documents.take(pool)
        drawn = [content_seed(f"{query['query_id']}\x00{name}", 0) for name in documents["doc_id"].to_pylist()]
        shuffled = np.argsort(np.array(drawn, np.uint64), kind="stable")
        place = np.argsort(shuffled)
        first, second = (place[np.searchsorted(pool, of[rows])].tolist() for of in (questions.a_row, questions.b_row))
        texts = document_texts(documents.take(shuffled))
        yield QueryPool(query["text"], int(questions.repeat[rows[0]]), rows, texts, first, second)
