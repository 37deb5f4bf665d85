"""Short English texts about ten subjects, with labels: for trying a component in seconds. Figures on them mean nothing."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from zelo.errors import BadInput
from zelo.records import DEV, DOCUMENT, QREL, QUERY, TEST, TRAIN, Corpus
from zelo.store.hashing import hash_json

WORDS = {
    "garden": "soil seed rose leaf root water spade flower",
    "kitchen": "oven flour salt knife bread butter soup plate",
    "music": "violin piano song melody choir drum concert rhythm",
    "weather": "rain storm cloud wind snow thunder frost sunshine",
    "railway": "train station track ticket engine platform tunnel signal",
    "medicine": "doctor nurse fever vaccine patient hospital tablet wound",
    "ocean": "wave fish coral tide ship harbour whale island",
    "football": "goal referee player stadium penalty team coach match",
    "astronomy": "planet star telescope moon orbit comet galaxy eclipse",
    "library": "book shelf reader author novel chapter index librarian",
}
SPLITS = (TRAIN, TRAIN, TRAIN, DEV, TEST)  # of the queries of a subject, in turns
SHOWN, ASKED = 5, 2  # words of the subject in a document and in a query


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """`queries` queries and `documents` documents, a tenth of each about each subject; those about one subject are relevant."""

    queries: int
    documents: int

    def __post_init__(self) -> None:
        if self.queries < len(SPLITS) * len(WORDS) or self.documents < 2 * len(WORDS):
            raise BadInput(
                f"dataset=subjects: queries={self.queries}, documents={self.documents}; every subject needs a query in each"
                f" split and two documents: {len(SPLITS) * len(WORDS)} and {2 * len(WORDS)} at least."
            )

    def content(self) -> dict[str, str]:
        """Nothing beyond its fields and its code."""
        return {}

    def load(self) -> Corpus:
        """Queries q0, q1, ... and documents d0, d1, ...; each is about the subject of its number mod 10."""
        subjects, random = list(WORDS), np.random.default_rng(0)
        queries, documents = [], []
        for number in range(self.queries):
            subject = subjects[number % len(subjects)]
            pairs = list(combinations(WORDS[subject].split(), ASKED))
            asked = " and the ".join(pairs[number // len(subjects) % len(pairs)])
            split = SPLITS[number // len(subjects) % len(SPLITS)]
            queries.append(
                {"query_id": f"q{number}", "text": f"what about the {asked} of the {subject}", "split": split}
            )
        for number in range(self.documents):
            subject = subjects[number % len(subjects)]
            shown = random.choice(WORDS[subject].split(), SHOWN, replace=False)
            other = random.choice(WORDS[subjects[random.integers(len(subjects))]].split())
            documents.append(
                {
                    "doc_id": f"d{number}",
                    "title": f"The {shown[0]} and the {shown[1]}",
                    "text": f"In the {subject} there is the {', the '.join(shown)}. The {other} is elsewhere.",
                }
            )
        return Corpus(
            queries=pa.Table.from_pylist(queries, QUERY),
            documents=pa.Table.from_pylist(documents, DOCUMENT),
            name="subjects",
            notes=("dataset=subjects: the texts are made up, and no figure on them means anything",),
        )

    def judgements(self, queries: pa.Table, documents: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
        """Of dev and test: every document about the subject of the query is relevant."""
        rows = [
            {"query_id": query, "doc_id": doc, "relevance": 1, "split": split}
            for query, split in zip(queries["query_id"].to_pylist(), queries["split"].to_pylist(), strict=True)
            if split != TRAIN
            for doc in documents["doc_id"].to_pylist()
            if (int(query[1:]) - int(doc[1:])) % len(WORDS) == 0
        ]
        return pa.Table.from_pylist(rows, QREL), ()

    def qrels_content(self) -> str:
        """Hash of what judgements follow from."""
        return hash_json([self.queries, self.documents])
