"""Reads the file of an offline W&B run: a LevelDB log with a header of 7 bytes."""

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, in order."""
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")  # its names are made as it is imported
    data, place, pending = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        pending += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = records.Record()
            record.ParseFromString(pending)
            pending = b""
            yield record
