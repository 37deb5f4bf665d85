"""The ledger's answers as a parquet file, to share or to bring along: `python -m zelo.ledger.transfer export|import FILE`.

The ledger is the file `$ZELO_LEDGER`, else the one in `$ZELO_HOME`. A file holds what was answered, by which model, for how
much; no key of an account and no address, since the ledger has none. What is imported was paid for elsewhere: it serves later
runs and counts as no spending.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zelo.errors import BadInput, ZeloError
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Entry
from zelo.ledger.place import ledger_path
from zelo.streams import escape_unprintable, read_names_as_utf8

BATCH = 5000  # rows in memory at a time
FORM = "form"
ENTRY = pa.schema(
    [
        pa.field("key", pa.binary(16), nullable=False),  # hash of the request: request.key_of
        pa.field("provider", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # judge, generate, embed, rerank
        pa.field("repeat", pa.int32(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),  # JSON of the HTTP status and the body
        pa.field("tokens_in", pa.int64(), nullable=False),
        pa.field("tokens_out", pa.int64(), nullable=False),
        pa.field("usd", pa.float64(), nullable=False),
        pa.field("made", pa.float64(), nullable=False),  # seconds since 1970
        pa.field("seconds", pa.float64(), nullable=False),  # that the call took
        pa.field("prompt_bytes", pa.int64(), nullable=False),  # 0: not measured
        pa.field(FORM, pa.string(), nullable=False),  # of requests whose answers are about as long; "": not known
    ]
)
AMOUNTS = ("tokens_in", "tokens_out", "usd", "seconds", "prompt_bytes")


def export_entries(ledger: Ledger, path: Path) -> int:
    """Writes all entries to a new file and says how many. Raises BadInput when it is there or cannot be written."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    if path.exists():
        raise BadInput(f"{path} is there already and is not overwritten. Choose another name or move it away.")
    try:
        with pq.ParquetWriter(half, ENTRY, compression="zstd") as writer:
            for entries in ledger.entries(BATCH):
                columns = {name: [getattr(entry, name) for entry in entries] for name in ENTRY.names}
                writer.write_table(pa.table(columns, schema=ENTRY))
                count += len(entries)
        half.rename(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error
    finally:
        half.unlink(missing_ok=True)
    return count


def import_entries(ledger: Ledger, path: Path) -> tuple[int, int]:
    """Adds the entries of a file; (new ones, ones whose key the ledger had, which stay as they are).

    Raises BadInput at the first row that is no entry, before any is added.
    """
    for _ in _read(path):
        pass
    new = count = 0
    for entries in _read(path):
        new += ledger.add(entries)
        count += len(entries)
    return new, count - new


def _read(path: Path) -> Iterator[list[Entry]]:
    first = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [
                name for name in ENTRY.names if name != FORM or FORM in file.schema_arrow.names
            ]  # the first files had none
            lacking = [name for name in names if name not in file.schema_arrow.names]
            if lacking:
                raise BadInput(f"{path} has no column {lacking[0]}; it needs those of zelo.ledger.transfer.ENTRY.")
            for batch in file.iter_batches(BATCH, columns=names):
                rows = pa.Table.from_batches([batch])
                if FORM not in names:
                    rows = rows.append_column(FORM, pa.array([""] * len(rows)))
                yield _entries(path, first, rows)
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path} cannot be read as parquet ({error}). Give a file that export wrote.") from error


def _entries(path: Path, first: int, rows: pa.Table) -> list[Entry]:
    """The rows from number `first` on. Raises BadInput where one is no entry."""
    for field in ENTRY:
        column = rows[field.name]
        if column.null_count:
            row = first + column.is_null().index(True).as_py()
            raise BadInput(f"{path}: row {row} has no {field.name}. Give a file that export wrote.")
        try:
            rows = rows.set_column(rows.schema.get_field_index(field.name), field, column.cast(field.type))
        except pa.ArrowException as error:
            raise BadInput(f"{path}: {field.name} is {column.type}, not {field.type} ({error}).") from error
    entries = [Entry(**row) for row in rows.to_pylist()]
    for row, entry in enumerate(entries, first):
        if fault := _fault(entry):
            raise BadInput(f"{path}: row {row} {fault}. Nothing was imported; fix the file.")
    return entries


def _fault(entry: Entry) -> str:
    for name in AMOUNTS:
        if not 0 <= getattr(entry, name) < float("inf"):
            return f"has {name}={getattr(entry, name)}, which is no amount"
    try:
        json.loads(entry.answer)
    except ValueError:
        return "has an answer that is no JSON"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Writes the ledger's answers to a new parquet file, or adds those of one to the ledger; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m zelo.ledger.transfer", description=main.__doc__)
    parser.add_argument("verb", choices=["export", "import"])
    parser.add_argument("file", type=Path)
    given = parser.parse_args(arguments)
    try:
        place = ledger_path()
        if given.verb == "export" and not place.exists():
            raise BadInput(
                f"There is no ledger {place}. Set ZELO_LEDGER to it, or ZELO_HOME to the folder that has it."
            )
        if given.verb == "import" and not given.file.is_file():
            raise BadInput(f"{given.file} is no file. Give a parquet file that export wrote.")
        with Ledger(place) as ledger:
            if given.verb == "export":
                print(f"{export_entries(ledger, given.file):,} answers written to {given.file}")
            else:
                new, known = import_entries(ledger, given.file)
                print(f"{new:,} answers added to {place}, {known:,} were there already")
    except ZeloError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    read_names_as_utf8()
    escape_unprintable()
    sys.exit(main())
