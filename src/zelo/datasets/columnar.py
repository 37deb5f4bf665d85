"""Columnar tables: parquet and arrow files, with those of `datasets` saved to disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zelo.datasets.columns import CHUNK, LINE, Columns
from zelo.errors import BadInput


class Parquet:
    """A parquet file; a field of a struct is a column of its own, text.en."""

    UNIT: ClassVar[str] = "row"

    def fits(self, path: Path, head: bytes) -> bool:
        """By the name's end."""
        return path.suffix.lower() in (".parquet", ".pq")

    def names(self, path: Path, columns: Columns) -> list[str]:
        """The columns, and the fields of structs."""
        return _names(_open_parquet(path).schema_arrow)

    def rows(self, path: Path, columns: Columns) -> Iterator[pa.Table]:
        """Raises BadInput for a file that is no parquet, and for a column that holds no texts."""
        file = _open_parquet(path)
        chosen = columns.choose(_names(file.schema_arrow), path)
        tops = {name for name in file.schema_arrow.names for column in chosen.values() if _is_of(column, name)}
        yield from _chosen(_batches(file, sorted(tops), path), chosen, path)


class Arrow:
    """An arrow file or stream, feather too."""

    UNIT: ClassVar[str] = "row"

    def fits(self, path: Path, head: bytes) -> bool:
        """By the name's end."""
        return path.suffix.lower() in (".arrow", ".feather", ".ipc")

    def names(self, path: Path, columns: Columns) -> list[str]:
        """The columns, and the fields of structs."""
        return _names(_open_arrow(path).schema)

    def rows(self, path: Path, columns: Columns) -> Iterator[pa.Table]:
        """Raises BadInput for a file that is no arrow, and for a column that holds no texts."""
        reader = _open_arrow(path)
        chosen = columns.choose(_names(reader.schema), path)
        yield from _chosen(_all(reader, path), chosen, path)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} is no parquet file ({_short(error)}){_begins(path)}") from None


def _open_arrow(path: Path) -> pa.RecordBatchReader | pa.ipc.RecordBatchFileReader:
    try:
        source = pa.memory_map(str(path))
        try:
            return pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} is no arrow file ({_short(error)}){_begins(path)}") from None


def _begins(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(40)
    try:
        return (
            f"; it begins with {head.decode()!r}: give a text the end .csv, .tsv or .jsonl" if head else "; it is empty"
        )
    except UnicodeDecodeError:
        return "; it may be cut short: copy it again"


def _batches(file: pq.ParquetFile, tops: list[str], path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(CHUNK, columns=tops)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} is damaged ({_short(error)}); copy it again") from None


def _all(reader: pa.RecordBatchReader | pa.ipc.RecordBatchFileReader, path: Path) -> Iterator[pa.RecordBatch]:
    try:
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} is damaged ({_short(error)}); copy it again") from None


def _short(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")[:120]


def _names(schema: pa.Schema) -> list[str]:
    found, todo = [], [(field.name, field.type) for field in schema]
    for name, kind in todo:
        found.append(name)
        if pa.types.is_struct(kind):
            todo += [(f"{name}.{field.name}", field.type) for field in kind]
    return found


def _is_of(column: str, top: str) -> bool:
    return column == top or column.startswith(f"{top}.")


def _chosen(parts: Iterator[pa.RecordBatch], chosen: dict[str, str], path: Path) -> Iterator[pa.Table]:
    before = 0
    for part in parts:
        columns = [_texts(_column(part, column), role, column, path) for role, column in chosen.items()]
        lines = pa.array(np.arange(before + 1, before + 1 + len(part)))
        before += len(part)
        yield pa.table([*columns, lines], names=[*chosen, LINE])


def _column(part: pa.RecordBatch, column: str) -> pa.Array:
    if column in part.schema.names:
        return part.column(column)
    top = next(name for name in part.schema.names if _is_of(column, name))
    found = part.column(top)
    for key in column[len(top) + 1 :].split("."):
        found = pc.struct_field(found, key)
    return found


def _texts(column: pa.Array, role: str, name: str, path: Path) -> pa.Array:
    """Any column as texts: 1.0 is 1, a list of texts is joined by new lines. Raises BadInput for others."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
        whole = pc.all(pc.equal(column, pc.floor(column)), min_count=0).as_py()
        column = column.cast(pa.int64()) if whole else column
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if _is_text(kind.value_type):
            column = pc.binary_join(column, "\n")
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = column.cast(pa.binary())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        inside = f", dataset.columns.{role}={name}.{kind.field(0).name}" if pa.types.is_struct(kind) else ""
        raise BadInput(
            f"{path}: column {name} is of type {kind!s:.60}, no text; name another column or a field of it{inside}"
        ) from None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
