"""The BEIR layout (corpus.jsonl, queries.jsonl) and the rule that says which query is for what.

BEIR: Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models".
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from zelo.domains import with_names
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.lines import read_lines
from zelo.qrels import SPLIT_NAMES
from zelo.records import DEV, DOCUMENT, DOMAIN, QUERY, SPLITS, TEST, TRAIN, Corpus
from zelo.store.hashing import hash_file
from zelo.texts import folded

CHUNK = 65_536  # rows that exist as Python objects at a time
ID = "_id"  # BEIR's name of the column with the id
LEAST_DEV = 50  # dev queries that are made where there are LARGE train queries or more
LARGE = 200

_ID_LIKE = re.compile(r"(.*[-_. ])?((d|doc|p|q|query|corpus|passage|u|uu)?id|docno)", re.IGNORECASE)


def read_documents(path: Path, id_column: str = ID) -> tuple[pa.Table, tuple[str, ...]]:
    """The DOCUMENT rows of a corpus.jsonl, and notes. Raises BadInput naming file and line.

    id_column: the key of the id; a line without it may have BEIR's `_id`.
    """
    batches, columns, empty = [], ([], [], []), []
    for line, record in _records(path):
        title = record.get("title")
        row = (_id(record, id_column, path, line), "" if title is None else _text(title, "title", path, line))
        row += (_text(record.get("text"), "text", path, line),)
        if not (row[1] or row[2]).strip():
            empty.append(line)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        if len(columns[0]) == CHUNK:
            batches.append(pa.record_batch(list(columns), schema=DOCUMENT))
            columns = ([], [], [])
    batches.append(pa.record_batch(list(columns), schema=DOCUMENT))
    documents = pa.Table.from_batches(batches, schema=DOCUMENT)
    if not documents.num_rows:
        raise BadInput(f"{path} holds no documents: write one JSON object with _id, title and text on each line")
    _refuse_repeats(documents["doc_id"], id_column, path)
    if not empty:
        return documents, ()
    count = f"{len(empty)} of {documents.num_rows} documents"
    return documents, (f"{count} have neither title nor text, the first at {path.name}:{empty[0]}",)


def read_queries(path: Path, id_column: str = ID) -> pa.Table:
    """QUERY rows of a queries.jsonl, `split` being what the line says, or null, with DOMAIN if a line names one.

    id_column: as in `read_documents`. Raises BadInput naming file and line.
    """
    ids, texts, splits, domains = [], [], [], []
    for line, record in _records(path):
        text = _text(record.get("text"), "text", path, line)
        split = record.get("split")
        if not text.strip():
            raise BadInput(
                f"{path}:{line}: query {_value(record, id_column)!r} has no text; write it or delete the line"
            )
        if split is not None and split not in SPLIT_NAMES:
            raise BadInput(f"{path}:{line}: split {split!r} is unknown; use one of {', '.join(SPLITS)} or leave it out")
        ids.append(_id(record, id_column, path, line))
        texts.append(text)
        splits.append(split and SPLIT_NAMES[split])
        domains.append(_domain(record, path, line))
    if not ids:
        raise BadInput(f"{path} holds no queries: write one JSON object with _id and text on each line")
    queries = pa.table([ids, texts, splits], schema=QUERY)
    _refuse_repeats(queries["query_id"], id_column, path)
    return with_names(queries, pa.chunked_array([domains], pa.string())) if any(domains) else queries


def has_train_queries(path: Path, id_column: str, named: pa.Table, train_on_dev: bool) -> bool:
    """Whether a queries.jsonl has a query that is trained on; the lines up to the first one are read.

    named: as in `assemble`. train_on_dev: dev queries are. Raises BadInput naming file and line.
    """
    trained = {TRAIN, DEV} if train_on_dev else {TRAIN}
    judged = set(named["query_id"].to_pylist())
    for line, record in _records(path):
        split = record.get("split")
        # Of another one, `read_queries` says what is wrong.
        named_split = SPLIT_NAMES.get(split, TRAIN) if isinstance(split, str) else TRAIN
        if named_split in trained and _id(record, id_column, path, line) not in judged:
            return True
    return False


def hash_large(path: Path) -> str:
    """Hash of a file's content, read once per process: several stages ask for it. Raises BadInput if it cannot be read."""
    try:
        facts = path.stat()
        return _hash_of(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


@cache
def _hash_of(path: Path, _size: int, _changed: int) -> str:
    return hash_file(path)


def assemble(documents: pa.Table, queries: pa.Table, named: pa.Table, notes: tuple[str, ...], source: Path) -> Corpus:
    """The corpus, its queries split; it may lack train queries. Raises BadInput naming the file.

    queries: as `read_queries` gives them; named: as `read_named` does, of these queries; source: the file of the queries.
    """
    splits, made = split_queries(queries, named)
    if DEV not in splits and TRAIN in splits:
        raise BadInput(
            f"{source}: one train query and no dev query; add train queries (of other texts than the test queries'), of which"
            " a tenth becomes dev"
        )
    if made:
        notes += (f"no dev queries are given: {made} train queries, chosen by hash, serve as such without labels",)
    split = pa.array(splits, pa.string())
    return Corpus(queries=queries.set_column(2, QUERY.field("split"), split), documents=documents, notes=notes)


def split_queries(queries: pa.Table, named: pa.Table) -> tuple[list[str], int]:
    """The split of each query, and how many dev queries had to be made.

    A query that a test qrels file names is test, else one that a dev file names is dev, else its own `split` counts, else
    it is train. Where that leaves no dev query, the tenth of the train queries with the least hash of the id becomes dev, and
    at least 50 of 200 or more; one with the text of a test query is none of them.
    """
    of: dict[str, set[str]] = {DEV: set(), TEST: set()}
    for query, split in zip(named["query_id"].to_pylist(), named["split"].to_pylist(), strict=True):
        of[split].add(query)
    ids = queries["query_id"].to_pylist()
    splits = [
        TEST if query in of[TEST] else DEV if query in of[DEV] else split or TRAIN
        for query, split in zip(ids, queries["split"].to_pylist(), strict=True)
    ]
    if DEV in splits:
        return splits, 0
    texts = folded(queries["text"])
    tested = {text for text, split in zip(texts, splits, strict=True) if split == TEST}
    train = [row for row, split in enumerate(splits) if split == TRAIN and texts[row] not in tested]
    if len(train) < 2:
        return splits, 0
    train.sort(key=lambda row: (blake2b(ids[row].encode(), digest_size=8).digest(), ids[row]))
    made = max(LEAST_DEV if len(train) >= LARGE else 1, len(train) // 10)
    for row in train[:made]:
        splits[row] = DEV
    return splits, made


def _records(path: Path) -> Iterator[tuple[int, Facts]]:
    """(line number, object) of each line that is not blank."""
    for line, text in enumerate(read_lines(path), 1):
        if text.isspace():
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            raise BadInput(f"{path}:{line}: not JSON ({error}); write one JSON object on each line") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}:{line}: a JSON {type(record).__name__}; write one JSON object on each line")
        yield line, record


def _value(record: Facts, id_column: str) -> object:
    return record.get(id_column, record.get(ID))


def _id(record: Facts, id_column: str, path: Path, line: int) -> str:
    value = _value(record, id_column)
    if type(value) is int:
        return str(value)
    if value is None:
        like = next((key for key in record if _ID_LIKE.fullmatch(key) and record[key] is not None), None)
        seen = ", ".join(map(repr, record)) or "nothing"
        advice = f"set dataset.id_column={like}, or rename {like!r} to {ID!r}" if like else f"give each line an {ID}"
        raise BadInput(f"{path}:{line}: no {id_column}, the line has {seen:.200}; {advice}")
    value = _text(value, id_column, path, line)
    if len(value.split()) != 1 or value != value.strip():
        raise BadInput(
            f"{path}:{line}: {id_column} {value!r} is empty or has white space, which run files cannot hold; rename it"
        )
    return value


def _domain(record: Facts, path: Path, line: int) -> str | None:
    """What a line has as `domain`, else what its `metadata` has, where BEIR keeps further keys."""
    metadata = record.get("metadata")
    value = record.get(DOMAIN, metadata.get(DOMAIN) if isinstance(metadata, dict) else None)
    if value is None:
        return None
    return str(value) if type(value) is int else _text(value, DOMAIN, path, line)


def _text(value: object, name: str, path: Path, line: int) -> str:
    if value is None:
        raise BadInput(f"{path}:{line}: no {name}; each line needs _id and text")
    if not isinstance(value, str):
        raise BadInput(f"{path}:{line}: {name} is a {type(value).__name__}, {value!r:.40}; it must be a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{path}:{line}: {name} holds half of a surrogate pair, no character; remove it") from None
    return value


def _refuse_repeats(ids: pa.ChunkedArray, id_column: str, path: Path) -> None:
    """Raises BadInput naming the lines of the first id that occurs twice. ids: of all lines."""
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        name = repeated.field("values")[0].as_py()
        lines = [line for line, record in _records(path) if str(_value(record, id_column)) == name]
        raise BadInput(
            f"{path}:{lines[1]}: {id_column} {name!r} is also that of line {lines[0]}; give each line an id of its own"
        )
