"""Tables written as parquet files: one file, or shards that are there when they are whole.

A shard is half-written under a name that says who writes it, and renamed at the end, so that processes of several hosts write the
shards of one table. Who makes the table may look at `shard(...)`: what is there is whole.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zelo.store.liveness import HALF, HEARTBEAT, half_of, is_half_of_another

UNFINISHED = ".unfinished"
CHECKPOINT = "checkpoint"  # a stage's own folder between attempts; it sees to it that what lies there is whole
WHOLE = "whole"  # what inputs say that are whole: their identities say all
SHARD = re.compile(r"\d{5}\.parquet")


def write_parquet(table: pa.Table, schema: pa.Schema, folder: Path, name: str) -> None:
    """Writes `name`.parquet with exactly this schema."""
    pq.write_table(table.select(schema.names).cast(schema), folder / f"{name}.parquet", **_encoding(schema))


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Texts repeat and are written once each; a dictionary of numbers, given up when it is full, would be built for nothing."""
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)]
    return {"compression": "zstd", "use_dictionary": texts}


def shard(folder: Path, name: str, number: int) -> Path:
    """Where a shard lies. One that is there is whole."""
    return folder / name / f"{number:05}.parquet"


def write_shard(table: pa.Table, schema: pa.Schema, folder: Path, name: str, number: int) -> None:
    """Writes one shard of `name` with exactly this schema, all of it or nothing."""
    with shard_writer(schema, folder, name, number) as writer:
        writer.write_table(table.select(schema.names).cast(schema))


@contextmanager
def shard_writer(schema: pa.Schema, folder: Path, name: str, number: int) -> Iterator[pq.ParquetWriter]:
    """Writes one shard bit by bit; it is there when all of it is."""
    path = shard(folder, name, number)
    path.parent.mkdir(exist_ok=True)
    half = half_of(path)
    with HEARTBEAT.on(half):
        try:
            with pq.ParquetWriter(half, schema, **_encoding(schema)) as writer:
                yield writer
            half.rename(path)
        except BaseException:
            half.unlink(missing_ok=True)
            raise


def keep_shards(folder: Path) -> None:
    """Leaves of an unfinished table its finished shards, its checkpoint and what living processes are writing.

    A folder in which nothing of that is left goes, too.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name == CHECKPOINT:
            continue
        if path.is_dir():
            for file in path.iterdir():
                if not SHARD.fullmatch(file.name) and not is_half_of_another(file):
                    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            with suppress(OSError):
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def keep_made_of(folder: Path, inputs: str) -> None:
    """Leaves of an unfinished table nothing that was made of other inputs, and notes of which it is made from now on.

    inputs: what they say, as `made_of` has it; of partial tables one identity says several things.
    """
    note = folder / CHECKPOINT / "made_of"
    before = note.read_text(encoding="utf-8") if note.is_file() else WHOLE
    if before == inputs:
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if inputs != WHOLE:
        note.parent.mkdir()
        note.write_text(inputs, encoding="utf-8")


def remove_halves(folder: Path) -> None:
    """Removes what is half-written in a table of which everything is there: somebody else has finished the same."""
    for path in list(folder.rglob(f".*{HALF}")):
        path.unlink(missing_ok=True)
