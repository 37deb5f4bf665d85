"""The tables that a run leaves in its folder as parquet: candidates, outcomes, ratings and what a student is trained on."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.records import TRAIN
from zelo.reporting import lineage
from zelo.store.table import Table
from zelo.texts import document_texts
from zelo.tracking import whole_file

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

CANDIDATES, OUTCOMES, RATINGS = "candidates.parquet", "outcomes.parquet", "ratings.parquet"
PER_QUERY = "per_query.parquet"
EXAMPLES, LISTS = "training_examples.parquet", "training_lists.parquet"
ONCE = 1 << 30  # bytes of a dictionary: a text that many rows have is written once

PAIR = pa.schema([("query", pa.string()), ("document", pa.string()), ("label", pa.float32())])
LIST = pa.schema([("query", pa.string()), ("documents", pa.list_(pa.string())), ("labels", pa.list_(pa.float32()))])


def publish(result: "Result", folder: Path) -> None:
    """Links the last ratings of the run, what they were made of, and writes the training examples with their texts.

    A table of several shards is a folder of that name, as Spark and pandas have it.
    """
    if rated := lineage.deepest(result, "ratings"):
        above = [rated, *lineage.above(result, rated)]
        _linked([result.tables[rated]], "ratings", folder / RATINGS)
        judged = [name for name in above if name in lineage.holding(result, "outcomes")]
        _linked([result.tables[name] for name in reversed(judged)], "outcomes", folder / OUTCOMES)
    if found := lineage.deepest(result, "candidates") if not rated else lineage.nearest(result, rated, "candidates"):
        _linked([result.tables[found]], "candidates", folder / CANDIDATES)
    if evaluated := lineage.deepest(result, "per_query"):
        _linked([result.tables[evaluated]], "per_query", folder / PER_QUERY)
    if learned := lineage.deepest(result, "examples"):
        texts = [lineage.nearest(result, learned, name) for name in ("queries", "documents")]
        queries, documents = (
            result.tables[str(holder)].read(name) for holder, name in zip(texts, ("queries", "documents"), strict=True)
        )
        _write_examples(result.tables[learned], queries, documents, folder)


def _linked(tables: Iterable[Table], name: str, target: Path) -> None:
    """A file where there is one, else a folder of files."""
    files = [path for table in tables for path in table.shards(name)]
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    if len(files) == 1:
        whole_file.link(files[0], target)
        return
    target.mkdir()
    for number, path in enumerate(files):
        whole_file.link(path, target / f"{number:05}.parquet")


def _write_examples(examples: Table, queries: pa.Table, documents: pa.Table, folder: Path) -> None:
    """A row per document, and a row per query: what CrossEncoder and SentenceTransformer trainers take as a dataset."""
    queries_id, documents_id = queries["query_id"].combine_chunks(), documents["doc_id"].combine_chunks()
    with (
        pq.ParquetWriter(folder / EXAMPLES, PAIR, compression="zstd", dictionary_pagesize_limit=ONCE) as pairs,
        pq.ParquetWriter(folder / LISTS, LIST, compression="zstd", dictionary_pagesize_limit=ONCE) as lists,
    ):
        for rows in _train_rows(examples):
            query = queries["text"].take(pc.index_in(rows["query_id"], queries_id))
            read = pc.index_in(rows["doc_id"], documents_id).combine_chunks().dictionary_encode()
            document = pa.array(document_texts(documents.take(read.dictionary))).take(read.indices)
            label = rows["target"].combine_chunks()
            pairs.write_table(pa.Table.from_arrays([query, document, label], schema=PAIR))
            ids = rows["query_id"].combine_chunks().dictionary_encode().indices.to_numpy()
            first = np.flatnonzero(np.diff(ids, prepend=-1))  # rows of a query follow each other
            offsets = pa.array(np.append(first, len(ids)), pa.int32())
            grouped = [pa.ListArray.from_arrays(offsets, column) for column in (document, label)]
            lists.write_table(pa.Table.from_arrays([query.take(pa.array(first)), *grouped], schema=LIST))


def _train_rows(examples: Table) -> Iterator[pa.Table]:
    for path in examples.shards("examples"):
        rows = pq.read_table(path)
        rows = rows.filter(pc.equal(rows["split"], TRAIN))
        if len(rows):
            yield rows
