"""Vectors that somebody else computed, as a closed embedding API gives them: read from files, never computed here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.backbones.pretrained import check_rate
from zelo.backbones.vectors import PART, Vectors, hash_texts, kept
from zelo.errors import BadInput
from zelo.fingerprint.code_hash import code_hash
from zelo.store.hashing import hash_file, hash_json

VECTOR = "vector"
_FIX = "Ask the API for it again, or leave the row out with its query or document."


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Vectors of queries and documents in two files, for model=embedding with trains=matrix.

    A file is parquet with the columns `query_id` or `doc_id` and `vector`, a list of numbers, rows in any order; or `NAME.npy`
    [N, dim] with the ids, one a line and in its order, in `NAME.ids.txt`. Rows of other ids are passed over. Vectors are
    brought to length 1. `lr`: the learning rate that suits it, for the optimizer; the matrix learns ten times as fast.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"lr"})  # the optimizer's is inside
    fresh_head: ClassVar[bool] = False
    by_id: ClassVar[Literal[True]] = True

    query_file: str
    document_file: str
    lr: float

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def content(self) -> dict[str, str]:
        """Hashes of the files. Raises BadInput where one is not there."""
        fields = {"query_file": self.query_file, "document_file": self.document_file}
        return {name: hash_json([hash_file(path) for path in _files(name, value)]) for name, value in fields.items()}

    def tokenizer(self) -> NoReturn:
        """Raises BadInput: a model that reads texts cannot be made of vectors."""
        raise BadInput(
            "backbone=stored holds vectors and no model: use it with model=embedding and model.trains=matrix alone."
        )

    def width(self) -> int:
        """Numbers in a vector. Raises BadInput where queries and documents differ."""
        query, document = (
            _width(name, value)
            for name, value in (("query_file", self.query_file), ("document_file", self.document_file))
        )
        if query != document:
            raise BadInput(
                f"backbone.query_file={self.query_file} has vectors of {query} numbers, backbone.document_file="
                f"{self.document_file} of {document}: name two files of one model."
            )
        return document

    def documents(self, table: pa.Table) -> Vectors:
        """Vectors of N documents (DOCUMENT rows). Raises BadInput naming the file and the row."""
        return _aligned("document_file", self.document_file, "doc_id", table["doc_id"])

    def queries(self, table: pa.Table) -> Vectors:
        """Vectors of N queries (QUERY rows). Raises BadInput naming the file and the row."""
        return _aligned("query_file", self.query_file, "query_id", table["query_id"])


def _files(name: str, value: str) -> list[Path]:
    path = Path(value).expanduser()
    files = [path, path.with_suffix(".ids.txt")] if path.suffix == ".npy" else [path]
    for file in files:
        if not file.is_file():
            ids = " It holds the ids of the vectors, one a line." if file != path else ""
            raise BadInput(f"backbone.{name}={value}: there is no file {file}.{ids}")
    return files


def _width(name: str, value: str) -> int:
    for _ids, vectors in _read(name, value, None):
        return vectors.shape[1]
    raise BadInput(f"backbone.{name}={value}: the file holds no vector.")


def _read(name: str, value: str, column: str | None) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """(ids, [n, dim] float32 vectors) part by part; column: of the ids, None: not read."""
    setting, files = f"backbone.{name}={value}", _files(name, value)
    if files[0].suffix == ".npy":
        yield from _read_npy(setting, files)
        return
    try:
        file = pq.ParquetFile(files[0])
    except pa.ArrowInvalid as error:
        raise BadInput(f"{setting}: neither parquet nor .npy ({error}). Save it as one of them.") from error
    wanted = [VECTOR] if column is None else [column, VECTOR]
    if missing := set(wanted) - set(file.schema_arrow.names):
        raise BadInput(
            f"{setting}: the file has no column {sorted(missing)[0]!r}, but {', '.join(file.schema_arrow.names)}. Write the ids"
            f" as {column or 'doc_id'!r} and the vectors as {VECTOR!r}."
        )
    kind = file.schema_arrow.field(VECTOR).type
    if not pa.types.is_list(kind) and not pa.types.is_large_list(kind) and not pa.types.is_fixed_size_list(kind):
        raise BadInput(f"{setting}: the column {VECTOR!r} holds {kind}, where a list of numbers is needed in each row.")
    width, low = None, 0
    for batch in file.iter_batches(PART, columns=wanted):
        lists, count = batch.column(VECTOR), len(batch)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        width = width or int(lengths[0])
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise BadInput(
                f"{setting}, row {low + row + 1}: a vector of {lengths[row]} numbers, where the first has {width}. {_FIX}"
            )
        vectors = pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.float32).reshape(count, width)
        ids = batch.column(column).cast(pa.string()) if column else pa.nulls(count, pa.string())
        yield ids, vectors
        low += count


def _read_npy(setting: str, files: list[Path]) -> Iterator[tuple[pa.Array, np.ndarray]]:
    try:
        array = np.load(files[0], mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise BadInput(f"{setting}: no array of numbers ({error}). Save it with numpy.save().") from error
    ids = files[1].read_text(encoding="utf-8").splitlines()
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) != len(ids):
        raise BadInput(
            f"{setting}: an array of {array.dtype} {list(array.shape)} and {len(ids)} ids in {files[1].name}; needed are"
            " numbers [N, dim] and N ids."
        )
    for low in range(0, len(array), PART):
        yield pa.array(ids[low : low + PART], pa.string()), array[low : low + PART].astype(np.float32)


def _aligned(name: str, value: str, column: str, wanted: pa.ChunkedArray) -> Vectors:
    """Vectors of the wanted ids, in their order and of length 1."""
    ids = wanted.combine_chunks()
    recipe = {
        "file": [hash_file(path) for path in _files(name, value)],
        "ids": hash_texts(text for low in range(0, len(ids), PART) for text in ids.slice(low, PART).to_pylist()),
        "code": code_hash(__name__, "Stored"),
    }

    def make(folder: Path) -> None:
        found = np.zeros(len(ids), np.int64)  # row in the file, from 1
        array = np.lib.format.open_memmap(
            folder / "pooled.npy", mode="w+", dtype=np.float32, shape=(len(ids), _width(name, value))
        )
        low = 0
        for given, vectors in _read(name, value, column):
            place = pc.fill_null(pc.index_in(given, ids), -1).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(place >= 0)
            _check_rows(f"backbone.{name}={value}", vectors, given, rows, found[place[rows]], place[rows], low)
            length = np.linalg.norm(vectors[rows], axis=1, keepdims=True)
            array[place[rows]] = vectors[rows] / length
            found[place[rows]] = low + rows + 1
            low += len(given)
        if not found.all():
            first, count = ids[int(np.argmin(found))].as_py(), int((found == 0).sum())
            raise BadInput(
                f"backbone.{name}={value}: no vector of {column} {first!r}; {count} of {len(ids)} are missing. Add them."
            )
        array.flush()

    return kept(recipe, make)


def _check_rows(
    setting: str, vectors: np.ndarray, ids: pa.Array, rows: np.ndarray, earlier: np.ndarray, place: np.ndarray, low: int
) -> None:
    """Raises BadInput for a vector that has no direction, and for an id that comes twice. earlier: rows of the same ids."""
    size = np.abs(vectors[rows]).sum(axis=1)
    usable = np.isfinite(size) & (size > 0)
    if not usable.all():
        row = rows[int(np.argmin(usable))]
        raise BadInput(
            f"{setting}, row {low + row + 1}: the vector of {ids[row].as_py()!r} is zero or no number. {_FIX}"
        )
    again = earlier > 0
    again[np.setdiff1d(np.arange(len(place)), np.unique(place, return_index=True)[1])] = True
    if again.any():
        row = rows[int(np.argmax(again))]
        raise BadInput(
            f"{setting}, row {low + row + 1}: {ids[row].as_py()!r} was there before. Keep one row of each id."
        )
