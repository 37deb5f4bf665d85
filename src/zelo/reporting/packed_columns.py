"""Columns of numbers and texts as one compressed text, which a script on the page opens."""

import base64
import json
import zlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from zelo.facts import Facts

ALIGNED = 8  # bytes: where a column may begin
TYPES = {"float32", "int32", "uint32", "int16", "uint16", "int8", "uint8"}

Columns = Mapping[str, np.ndarray | pa.Array]
"""Name -> numbers of one of TYPES, or texts."""


def packed(facts: Facts, columns: Columns) -> str:
    """Base64 of zlib of: the length of a JSON head (uint32, little endian), the head, and the columns, each at a multiple of 8.

    The head is the facts and, as `columns`, [name, type, first byte after the head, length]. A column of texts is two: its
    UTF-8 bytes, and NAME_start, where each text begins, and the end. Equal data give equal texts.
    """
    plain: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        plain |= {name: column} if isinstance(column, np.ndarray) else _texts(name, column)
    places, end = [], 0
    for name, values in plain.items():
        if values.dtype.name not in TYPES:
            raise TypeError(f"column {name} is of {values.dtype}; a page opens {', '.join(sorted(TYPES))}")
        places.append([name, values.dtype.name, end, len(values)])
        end += _padded(values.nbytes)
    head = json.dumps({**facts, "columns": places}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
    head += b" " * (_padded(len(head) + 4) - len(head) - 4)
    deflate = zlib.compressobj(6)
    parts = [deflate.compress(len(head).to_bytes(4, "little") + head)]
    for values in plain.values():
        raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        parts.append(deflate.compress(raw.tobytes() + bytes(_padded(raw.nbytes) - raw.nbytes)))
    return base64.b64encode(b"".join([*parts, deflate.flush()])).decode("ascii")


def _padded(length: int) -> int:
    return -(-length // ALIGNED) * ALIGNED


def _texts(name: str, column: pa.Array) -> dict[str, np.ndarray]:
    texts = column.cast(pa.large_string())
    _, starts, words = texts.buffers()
    begin = np.frombuffer(starts, np.int64, len(texts) + 1, texts.offset * 8) if len(texts) else np.zeros(1, np.int64)
    low, high = int(begin[0]), int(begin[-1])
    raw = np.frombuffer(words, np.uint8, high - low, low) if high > low else np.empty(0, np.uint8)
    return {name: raw, f"{name}_start": (begin - low).astype(np.uint32)}
