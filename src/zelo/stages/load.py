"""Reads the documents and queries of the dataset once and keeps them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from zelo.domains import with_domain
from zelo.duplicates import dropped_in_words, without_same
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import Dataset, MayLackQueries
from zelo.records import DEV, DOCUMENT, DROPPED, DUPLICATE, QUERY, SPLITS, TEST, TRAIN, Corpus
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.texts import folded

SHOWN = 3  # queries that a note names


@dataclass(frozen=True, kw_only=True)
class Load:
    """Writes queries (QUERY) and documents (DOCUMENT), without the documents that are dropped.

    A train query with the text of a dev or test query would teach what is measured, and a dev query with that of a test query
    would choose by it: their split becomes `duplicate`, which no stage uses. Their ids stay known to run files and judgements.
    """

    CHEAP: ClassVar[bool] = True  # plan=true may run it, to count what would be asked

    inputs: dict[str, str]
    dataset: Dataset
    drop_duplicates: (
        bool  # of documents with the same title and text the first is kept; `dropped` (DROPPED) names the others
    )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput when no query is left to train on where there were some, or there are fewer than two documents."""
        corpus = self.dataset.load()
        before = corpus.queries["split"].to_pylist()
        splits, found = without_leaks(corpus.queries)
        counts = {split: splits.count(split) for split in SPLITS}
        for split, words in ((TRAIN, "dev or test"), (DEV, "test")):
            if split in before and not counts[split]:
                raise BadInput(
                    f"The dataset has no {split} queries that could be used: each of the {before.count(split)} has the text of a"
                    f" {words} query. Add {split} queries of other texts."
                )
        if not counts[TRAIN] and not isinstance(self.dataset, MayLackQueries):
            raise BadInput(f"The dataset has no train queries ({counts}); add unlabelled queries to learn from.")
        facts = written(corpus, pa.chunked_array([splits], pa.string()), self.drop_duplicates, out)
        duplicates = {split: len(rows) for split, rows in found.items()}
        notes = [*corpus.notes, *_notes(corpus.queries, found), *facts["notes"]]
        return facts | {"queries": counts, "duplicates": duplicates, "notes": notes}


def written(corpus: Corpus, splits: pa.ChunkedArray, drop_duplicates: bool, out: Path) -> Facts:
    """Writes the queries of a corpus with these splits, and its documents, of each title and text one where others are dropped.

    The facts of both: name, rows, dropped_documents and notes on the documents. Raises BadInput for fewer than two documents.
    """
    documents, notes = corpus.documents, []
    if drop_duplicates:
        documents, dropped = without_same(documents)
        write_parquet(dropped, DROPPED, out, "dropped")
        notes.append(dropped_in_words(dropped))
    if len(documents) < 2:
        number = f"{len(documents)} document{'s' * (len(documents) != 1)}"
        raise BadInput(
            "; ".join([f"The dataset has {number}; at least two are needed to compare", *corpus.notes]) + "."
        )
    queries = corpus.queries.set_column(2, QUERY.field("split"), splits)
    write_parquet(queries, with_domain(QUERY, queries), out, "queries")
    write_parquet(documents, with_domain(DOCUMENT, documents), out, "documents")
    left = len(corpus.documents) - len(documents)
    return {"name": corpus.name, "rows": len(documents), "dropped_documents": left, "notes": notes}


def without_leaks(queries: pa.Table) -> tuple[list[str], dict[str, list[tuple[int, int]]]]:
    """The split of each query, and split -> rows (left out, the dev or test query of the same text) of train and dev.

    Texts are the same where they differ in case, white space and the writing of a character (NFKC) only.
    """
    texts, splits = folded(queries["text"]), queries["split"].to_pylist()
    held_out: dict[str, int] = {}
    found: dict[str, list[tuple[int, int]]] = {DEV: [], TRAIN: []}
    for split in (TEST, DEV, TRAIN):
        rows = [row for row, name in enumerate(splits) if name == split]
        if split != TEST:
            found[split] = [(row, held_out[texts[row]]) for row in rows if texts[row] in held_out]
        for row in rows if split != TRAIN else ():
            held_out.setdefault(texts[row], row)
    for row, _ in found[DEV] + found[TRAIN]:
        splits[row] = DUPLICATE
    return splits, found


def _notes(queries: pa.Table, found: dict[str, list[tuple[int, int]]]) -> list[str]:
    ids = queries["query_id"]
    words = {TRAIN: ("dev or test", "training"), DEV: ("test", "dev")}
    notes = []
    for split, rows in found.items():
        if rows:
            of, place = words[split]
            named = ", ".join(f"{ids[row].as_py()} = {ids[other].as_py()}" for row, other in rows[:SHOWN])
            count = f"{len(rows)} {split} {'queries have' if len(rows) > 1 else 'query has'} the text of a {of} query"
            notes.append(f"{count}, left out of {place}: {named}" + ", ..." * (len(rows) > SHOWN))
    return notes
