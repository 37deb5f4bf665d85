"""What the data is like, said before anything is made of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.duplicates import domains_of, first_of_same, near_duplicates
from zelo.facts import Facts
from zelo.languages import languages, spaced
from zelo.records import DEV, DOMAIN, SPLITS, TEST, TRAIN
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.texts import Texts

LENGTH = pa.schema([("length", pa.int32()), ("documents", pa.int64())])  # documents of each length, shortest first
MEASURED = 100_000  # documents whose length is counted
READ = 1000  # documents whose language is guessed
SHOWN = 3  # pairs of duplicates that are named
# A word, a mark, or a character of a script that puts no space between words: a tokenizer makes at least one token of most.
PIECE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]"
SPLIT = "passages"  # in a manifest: how documents were split


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """Writes `lengths` (LENGTH) of documents, or of passages where they are split, in words and marks.

    No stage reads it: it is for people, and changes nothing.
    Labels are counted. Large collections are sampled, and the facts say so; equal texts are counted in full.
    """

    inputs: dict[str, str]  # data: the load stage; labels: a stage of judgements; passages: of documents

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Counts and measures."""
        data, labels = tables["data"], tables.get("labels")
        queries, documents = data.read("queries"), data.read("documents")
        lengths = read_lengths = _lengths(documents["title"], documents["text"])
        split = tables["passages"] if "passages" in tables and SPLIT in tables["passages"].manifest else None
        if split:
            passages = split.read("documents", ["title", "text"])
            read_lengths = _lengths(passages["title"], passages["text"])
        counted = np.unique(read_lengths, return_counts=True)
        write_parquet(pa.table(list(counted), names=LENGTH.names).cast(LENGTH), LENGTH, out, "lengths")
        texts = Texts(documents["text"], documents["title"])
        found = languages(texts, READ)
        used = queries.filter(pc.is_in(queries["split"], pa.array(SPLITS)))
        manifests = [table.manifest for table in (data, labels, split) if table]
        card = {
            "documents": len(documents),
            "queries": {split: pc.sum(pc.equal(used["split"], split)).as_py() or 0 for split in SPLITS},
            "document_lengths": _spread(lengths),
            "measured": len(lengths),
            SPLIT: split.manifest[SPLIT] | {"lengths": _spread(read_lengths)} if split else None,
            "query_lengths": _spread(_lengths(used["text"])),
            "languages": {
                "documents": found.total(),
                "shares": {name: count / found.total() for name, count in found.most_common()},
            },
            "duplicates": _duplicates(documents),
            "duplicate_queries": int((first_of_same(used["split"], used["text"]) != np.arange(len(used))).sum()),
            "judged": _judged(labels.read("qrels")) if labels else None,
            "left_out": {
                "documents": data.manifest.get("dropped_documents", 0),
                "queries": data.manifest.get("duplicates", {}),
            },
            "domains": _domains(queries, documents),
            "notes": [note for manifest in manifests for note in manifest.get("notes", [])],
        }
        return {"rows": len(documents), "card": card}


def _lengths(*columns: pa.ChunkedArray) -> np.ndarray:
    """[min(N, MEASURED)] words and marks of the texts of some rows, all columns together."""
    rows = pa.array(spaced(len(columns[0]), MEASURED))
    counts = [pc.count_substring_regex(column.take(rows), PIECE).to_numpy() for column in columns]
    return np.sum(counts, axis=0)


def _spread(lengths: np.ndarray) -> Facts | None:
    """None where there is nothing to measure."""
    if not len(lengths):
        return None
    middle, high, longest = np.quantile(lengths, [0.5, 0.95, 1.0], method="higher").tolist()
    return {"median": middle, "p95": high, "longest": longest, "empty": int((lengths == 0).sum())}


def _duplicates(documents: pa.Table) -> Facts:
    titles, texts, ids = documents["title"], documents["text"], documents["doc_id"]
    first = first_of_same(titles, texts, *domains_of(documents))
    rows = np.arange(len(first))
    near = near_duplicates(titles, texts, rows[first == rows])
    same = [(row, int(first[row])) for row in np.flatnonzero(first != rows)[:SHOWN].tolist()]

    def named(pairs: list[tuple[int, int]]) -> list[list[str]]:
        return [[ids[row].as_py() for row in pair] for pair in pairs[:SHOWN]]

    return {
        "exact": int((first != rows).sum()),
        "near": near.count,
        "near_is_exact": near.exact,
        "examples": named(same),
        "near_examples": named(near.pairs),
    }


def _domains(queries: pa.Table, documents: pa.Table) -> Facts:
    """Domain -> its queries of each split, those that nothing uses too, and its documents where these have domains."""
    if DOMAIN not in queries.column_names:
        return {}
    counts = queries.group_by([DOMAIN, "split"]).aggregate([([], "count_all")]).to_pylist()
    found: Facts = {}
    for row in sorted(counts, key=lambda row: row[DOMAIN] or ""):
        found.setdefault(row[DOMAIN] or "", {})[row["split"]] = row["count_all"]
    held = documents[DOMAIN].value_counts().to_pylist() if DOMAIN in documents.column_names else []
    for row in held:
        found.setdefault(row["values"], {})["documents"] = row["counts"]
    return found


def _judged(qrels: pa.Table) -> Facts:
    """Split -> how deep it is judged. qrels: QREL."""
    found = {}
    for split in (TRAIN, DEV, TEST):
        rows = qrels.filter(pc.equal(qrels["split"], split))
        depth = rows.group_by("query_id").aggregate([("relevance", "count"), ("relevance", "max")])
        if len(depth):
            counts, best = depth["relevance_count"].to_numpy(), depth["relevance_max"].to_numpy()
            found[split] = {
                "queries": len(depth),
                "labels": len(rows),
                "relevant": pc.sum(pc.greater(rows["relevance"], 0)).as_py(),
                "fewest": int(counts.min()),
                "most": int(counts.max()),
                "without_relevant": int((best <= 0).sum()),
            }
    return found
