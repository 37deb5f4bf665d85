"""Known items: titles and sentences taken out of documents, each a query whose answer is the document that it was taken from."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.likelihood.randomness import content_seed
from zelo.records import DOCUMENT, QUERY, TEST
from zelo.sentences import sentences

_TERM = re.compile(r"\w+")
REST = 5  # words that a document must have left
LEFT = 2  # words that a query keeps


@dataclass(frozen=True)
class Items:
    """I queries over D documents. Of each document its title or one sentence is a query, at most, and it lacks what was taken."""

    queries: pa.Table  # QUERY
    documents: pa.Table  # DOCUMENT
    wanted: np.ndarray  # [I] row of the document that each query was taken from

    @staticmethod
    def of(documents: pa.Table, items: int, among: int, seed: int) -> "Items":
        """At most `items` of them, from `among` documents that are drawn. documents: DOCUMENT; their order does not count.

        As in the inverse cloze task (Lee, Chang and Toutanova, ACL 2019, section 4), and in known-item search with made queries
        (Azzopardi, de Rijke and Balog, SIGIR 2007). At most half of them are titles. Of the words that the rest of its
        document has too, a query loses the rarest: people do not use the words of the answer, and a judge that counts words
        would look better than it is.
        """
        by_id = pc.sort_indices(documents["doc_id"]).to_numpy()
        drawn = by_id[np.random.default_rng(seed).permutation(len(by_id))[:among]]
        rows, texts, wanted = documents.take(pa.array(drawn)).to_pylist(), [], []
        everything = "\n".join(_plain(f"{row['title']}\n{row['text']}") for row in rows)
        titles = Counter(_plain(row["title"]) for row in rows)
        having = Counter(term for row in rows for term in _terms(f"{row['title']}\n{row['text']}"))
        titled = 0
        for number, row in enumerate(rows):
            if len(texts) == items:
                break
            alone = titles[_plain(row["title"])] == 1 and len(row["text"].split()) >= REST
            title = row["title"].strip() if alone else ""
            sentence = _taken(row["text"], everything, content_seed(row["doc_id"], seed))
            if title and titled <= len(texts) - titled:
                query, row["title"], titled = title, "", titled + 1
            elif sentence:
                query, row["text"] = sentence
            else:
                continue
            texts.append(_less_alike(query, _terms(f"{row['title']}\n{row['text']}"), having))
            wanted.append(number)
        queries = [[f"known-{number}" for number in range(len(texts))], texts, [TEST] * len(texts)]
        return Items(
            pa.table(queries, schema=QUERY),
            pa.Table.from_pylist(rows, schema=DOCUMENT),
            np.array(wanted, np.int64),
        )


def _less_alike(query: str, rest: set[str], having: Counter[str]) -> str:
    """The query without the rarest of the words that the rest of its document has too. having: documents that have a term."""
    words = query.split()
    count = [min((having[term] for term in _terms(word) & rest), default=None) for word in words]
    shared = [number for number, documents in enumerate(count) if documents is not None]
    if len(words) <= LEFT or not shared:
        return " ".join(words)
    rarest = min(shared, key=lambda number: count[number] or 0)
    return " ".join(words[:rarest] + words[rarest + 1 :])


def _taken(text: str, everything: str, seed: int) -> tuple[str, str] | None:
    """(a sentence that stands nowhere else, the text without it), drawn by the seed; None where there is none."""
    found = sentences(text)
    first = seed % max(len(found), 1)
    alone = (one for one in found[first:] + found[:first] if everything.count(one.lower()) == 1)
    if (sentence := next(alone, None)) is None:
        return None
    rest = re.sub(r"\s+".join(map(re.escape, sentence.split())), " ", text)
    return (sentence, rest) if len(rest.split()) >= REST else None


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _terms(text: str) -> set[str]:
    return set(_TERM.findall(text.lower()))
