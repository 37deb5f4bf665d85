"""The BEIR layout (corpus.jsonl, queries.jsonl, qrels/*.tsv) and the rule that says which query is for what.

BEIR: Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models".
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.records import DEV, DOCUMENT, QREL, QUERY, SPLITS, TEST, TRAIN, Corpus
from zelo.store import hash_file, hash_json

CHUNK = 65_536  # rows that exist as Python objects at a time
SPLIT_NAMES = {"train": TRAIN, "dev": DEV, "valid": DEV, "validation": DEV, "test": TEST}
HEADER = ["query-id", "corpus-id", "score"]


def read_documents(path: Path) -> tuple[pa.Table, tuple[str, ...]]:
    """The DOCUMENT rows of a corpus.jsonl, and notes. Raises BadInput naming file and line."""
    batches, columns, empty = [], ([], [], []), []
    for line, record in _records(path):
        title = record.get("title")
        row = (_id(record, path, line), "" if title is None else _text(title, "title", path, line))
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
    _refuse_repeats(documents["doc_id"], path)
    if not empty:
        return documents, ()
    count = f"{len(empty)} of {documents.num_rows} documents"
    return documents, (f"{count} have neither title nor text, the first at {path.name}:{empty[0]}",)


def read_queries(path: Path) -> pa.Table:
    """QUERY rows of a queries.jsonl, `split` being what the line says, or null. Raises BadInput naming file and line."""
    ids, texts, splits = [], [], []
    for line, record in _records(path):
        text = _text(record.get("text"), "text", path, line)
        split = record.get("split")
        if not text.strip():
            raise BadInput(f"{path}:{line}: query {record.get('_id')!r} has no text; write it or delete the line")
        if split is not None and split not in SPLIT_NAMES:
            raise BadInput(f"{path}:{line}: split {split!r} is unknown; use one of {', '.join(SPLITS)} or leave it out")
        ids.append(_id(record, path, line))
        texts.append(text)
        splits.append(split and SPLIT_NAMES[split])
    if not ids:
        raise BadInput(f"{path} holds no queries: write one JSON object with _id and text on each line")
    queries = pa.table([ids, texts, splits], schema=QUERY)
    _refuse_repeats(queries["query_id"], path)
    return queries


def qrels_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, split) of each qrels/*.tsv except the train ones. Raises BadInput on other names."""
    return [(path, split) for path, split in _split_files(folder) if split != TRAIN]


def train_qrels_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, split) of qrels/train.tsv and the like, which a second pass alone may open."""
    return [(path, split) for path, split in _split_files(folder) if split == TRAIN]


def _split_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.joinpath("qrels").glob("*.tsv")):
        split = SPLIT_NAMES.get(path.stem.split("-")[0].split("_")[0])
        if split is None:
            raise BadInput(f"{path} names no split; call it test.tsv or dev.tsv, or move it out of {path.parent}")
        yield path, split


def read_qrels(files: Sequence[tuple[Path, str]]) -> pa.Table:
    """QREL rows, `split` being that of the file, and `place`, "file:line". Raises BadInput naming file and line.

    A row is query, document and score, after the header of BEIR, or query, iteration, document and score as in TREC.
    """
    rows: dict[tuple[str, str, str], tuple[int, str]] = {}
    for path, split in files:
        for line, text in enumerate(_lines(path), 1):
            cells = text.split()
            if not cells or (line == 1 and [cell.lower() for cell in cells] == HEADER):
                continue
            place = f"{path}:{line}"
            if len(cells) not in (3, 4):
                raise BadInput(f"{place}: {len(cells)} columns; write query-id, corpus-id and score, separated by tabs")
            try:
                relevance = int(cells[-1])
            except ValueError:
                raise BadInput(
                    f"{place}: score {cells[-1]!r} is not an integer; write a grade such as 0, 1 or 2"
                ) from None
            key = (cells[0], cells[-2], split)
            before = rows.setdefault(key, (relevance, place))
            if before[0] != relevance:
                raise BadInput(
                    f"{place}: document {key[1]!r} has score {relevance} for query {key[0]!r}, but {before[0]} at "
                    f"{before[1]}; keep one of the two"
                )
    keys = list(zip(*rows, strict=True)) or [(), (), ()]
    values = list(zip(*rows.values(), strict=True)) or [(), ()]
    columns = [pa.array(column, pa.string()) for column in (keys[0], keys[1], keys[2], values[1])]
    relevances = pa.array(values[0], pa.int32())
    names = [*QREL.names, "place"]
    return pa.table([columns[0], columns[1], relevances, columns[2], columns[3]], names=names)


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
    """The corpus, its queries split. Raises BadInput naming file and line.

    queries: as `read_queries` gives them; named: as `read_named` does; source: the file of the queries.
    """
    refuse_unknown(named, "query_id", queries, "query", source)
    splits, made = split_queries(queries, named)
    if TRAIN not in splits:
        raise BadInput(
            f"{source}: no train queries, all {len(splits)} are dev or test queries; add queries without judgements, or "
            "let the dev queries serve as such with dataset.train_on_dev=true"
        )
    if DEV not in splits:
        raise BadInput(f"{source}: one train query and no dev query; add train queries, of which a tenth becomes dev")
    if made:
        notes += (f"no dev queries are given: {made} train queries, chosen by hash, serve as such without labels",)
    split = pa.array(splits, pa.string())
    return Corpus(queries=queries.set_column(2, QUERY.field("split"), split), documents=documents, notes=notes)


def refuse_unknown(qrels: pa.Table, column: str, known: pa.Table, kind: str, source: Path) -> None:
    """Raises BadInput at the first judgement of a query or document that does not exist."""
    row = pc.index(pc.is_in(qrels[column], value_set=known[column]), False).as_py()
    if row >= 0:
        name, place = qrels[column][row].as_py(), qrels["place"][row].as_py()
        raise BadInput(f"{place}: {kind} {name!r} is not in {source}; add it there or delete the row")


def at_home(qrels: pa.Table, queries: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """The QREL rows in files of their query's own split, and a note that counts the others. queries: QUERY."""
    home = queries["split"].take(pc.index_in(qrels["query_id"], queries["query_id"].combine_chunks()))
    here = pc.fill_null(pc.equal(qrels["split"], home), False)
    own, away = qrels.filter(here).select(QREL.names), pc.invert(here)
    if len(own) == len(qrels):
        return own, ()
    files, homes = (
        " and ".join(sorted(pc.unique(column.filter(away)).to_pylist())) for column in (qrels["split"], home)
    )
    count = f"{len(qrels) - len(own)} of {len(qrels)} judgements"
    return own, (f"{count}, in {files} files but of {homes} queries, were left out",)


def split_queries(queries: pa.Table, named: pa.Table) -> tuple[list[str], int]:
    """The split of each query, and how many dev queries had to be made.

    A query that a test qrels file names is test, else one that a dev file names is dev, else its own `split` counts, else
    it is train. Where that leaves no dev query, the tenth of the train queries with the least hash of the id becomes dev.
    """
    of: dict[str, set[str]] = {DEV: set(), TEST: set()}
    for query, split in zip(named["query_id"].to_pylist(), named["split"].to_pylist(), strict=True):
        of[split].add(query)
    ids = queries["query_id"].to_pylist()
    splits = [
        TEST if query in of[TEST] else DEV if query in of[DEV] else split or TRAIN
        for query, split in zip(ids, queries["split"].to_pylist(), strict=True)
    ]
    train = [row for row, split in enumerate(splits) if split == TRAIN]
    if DEV in splits or len(train) < 2:
        return splits, 0
    train.sort(key=lambda row: (blake2b(ids[row].encode(), digest_size=8).digest(), ids[row]))
    made = max(1, len(train) // 10)
    for row in train[:made]:
        splits[row] = DEV
    return splits, made


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, one at a time."""
    try:
        with path.open("rb") as file:
            for line, raw in enumerate(file, 1):
                try:
                    yield raw.decode("utf-8-sig" if line == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise BadInput(f"{path}:{line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; a folder in BEIR layout holds corpus.jsonl and queries.jsonl") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank."""
    for line, text in enumerate(_lines(path), 1):
        if text.isspace():
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            raise BadInput(f"{path}:{line}: not JSON ({error}); write one JSON object on each line") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}:{line}: a JSON {type(record).__name__}; write one JSON object on each line")
        yield line, record


def _id(record: dict[str, Any], path: Path, line: int) -> str:
    value = record.get("_id")
    if type(value) is int:
        return str(value)
    if value is None:
        raise BadInput(f"{path}:{line}: no _id; give each line an _id of its own")
    value = _text(value, "_id", path, line)
    if len(value.split()) != 1 or value != value.strip():
        raise BadInput(
            f"{path}:{line}: _id {value!r} is empty or has white space, which run files cannot hold; rename it"
        )
    return value


def _text(value: Any, name: str, path: Path, line: int) -> str:
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


def _refuse_repeats(ids: pa.ChunkedArray, path: Path) -> None:
    """Raises BadInput naming the lines of the first id that occurs twice. ids: of all lines."""
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        name = repeated.field("values")[0].as_py()
        lines = [line for line, record in _records(path) if str(record["_id"]) == name]
        raise BadInput(
            f"{path}:{lines[1]}: _id {name!r} is also that of line {lines[0]}; give each line an _id of its own"
        )
