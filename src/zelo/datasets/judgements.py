"""Judgements of a dataset: which queries and labels they name, and which ids the folder does not hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.lines import read_lines
from zelo.qrels import header_cells, kind_of_column, read_qrels
from zelo.records import QREL
from zelo.store.hashing import hash_json

BEIR = {"query": "queries.jsonl", "document": "corpus.jsonl"}  # where they are
SHOWN = 3  # unknown ids that an error or a note names


def refuse_lost_row(files: Sequence[tuple[Path, str]], queries: pa.Table, documents: pa.Table) -> None:
    """Raises BadInput for a first line that was taken for a header and names a query or a document of the dataset."""
    for path, _ in files:
        line, text = next(((n, text) for n, text in enumerate(read_lines(path), 1) if text.strip()), (0, ""))
        names = header_cells(text)
        if not names:
            continue
        for name, known in ((names[0], queries["query_id"]), (names[-2], documents["doc_id"])):
            if kind_of_column(name) is None and pc.index(known, name).as_py() >= 0:
                raise BadInput(
                    f"{path}:{line}: score {names[-1]!r} is not an integer, and {name!r} is an id, so this is no header;"
                    " write a grade such as 0, 1 or 2"
                )


def read_named(files: Sequence[tuple[Path, str]]) -> pa.Table:
    """What decides the splits: `query_id`, `split` and `place` of each row of `read_qrels`, without document and label."""
    return read_qrels(files).select(["query_id", "split", "place"])


def hash_named(files: Sequence[tuple[Path, str]]) -> str:
    """Hash of which queries these files name for which split: the same whatever the labels are."""
    named = read_named(files)
    return hash_json(sorted(set(zip(named["query_id"].to_pylist(), named["split"].to_pylist(), strict=True))))


def hash_qrels(files: Sequence[tuple[Path, str]]) -> str:
    """Hash of the judgements in these files."""
    return hash_json(read_qrels(files).select(QREL.names).to_pydict())


def drop_unknown(
    qrels: pa.Table, queries: pa.Table, documents: pa.Table, drop: bool, places: Mapping[str, str] = BEIR
) -> tuple[pa.Table, tuple[str, ...]]:
    """The rows whose query and document exist, and a note that counts the others, with the first of their ids.

    qrels: as `read_qrels` gives them. places: what holds a query, and what a document. Raises BadInput with the same
    words where there are others, unless `drop`.
    """
    known_query = pc.is_in(qrels["query_id"], value_set=queries["query_id"])
    known_doc = pc.is_in(qrels["doc_id"], value_set=documents["doc_id"])
    known = pc.and_(known_query, known_doc)
    if pc.all(known, min_count=0).as_py():
        return qrels, ()
    first: dict[tuple[str, str], str] = {}  # (kind, id) -> where it is named first
    bad = qrels.append_column("no_query", pc.invert(known_query)).append_column("no_doc", pc.invert(known_doc))
    for row in bad.filter(pc.invert(known)).to_pylist():
        for kind, column, unknown in (("query", "query_id", "no_query"), ("document", "doc_id", "no_doc")):
            if row[unknown]:
                first.setdefault((kind, row[column]), row["place"])
    named = [f"{place}: {kind} {name!r} is not in {places[kind]}" for (kind, name), place in first.items()][:SHOWN]
    counts = [f"{n} {kind} id{'s' * (n != 1)}" for kind in places if (n := sum(key[0] == kind for key in first))]
    lost = len(qrels) - pc.sum(known).as_py()
    words = "; ".join(named) + "; ..." * (len(first) > SHOWN)
    words += f" ({' and '.join(counts)} unknown, in {lost} of {len(qrels)} judgements)"
    if not drop:
        raise BadInput(f"{words}. Add them there, delete the rows, or leave them out with dataset.unknown_ids=drop.")
    return qrels.filter(known), (f"judgements of unknown ids are left out: {words}",)


def at_home(qrels: pa.Table, queries: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """The QREL rows in files of their query's own split, and a note that counts the others. queries: QUERY, or some of it."""
    home = queries["split"].take(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()))
    here = pc.fill_null(pc.equal(qrels["split"], home), False)
    own, away = qrels.filter(here).select(QREL.names), pc.invert(here)
    if len(own) == len(qrels):
        return own, ()
    files, homes = (
        " and ".join(sorted(pc.unique(pc.fill_null(column.filter(away), "other")).to_pylist()))
        for column in (qrels["split"], home)
    )
    count = f"{len(qrels) - len(own)} of {len(qrels)} judgements"
    return own, (f"{count}, in {files} files but of {homes} queries, were left out",)
