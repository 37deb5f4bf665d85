"""What a page's script opens, as Python sees it."""

import base64
import itertools
import json
import zlib
from typing import Any

import numpy as np


def unpacked(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts and the columns that packed_columns has packed; columns of texts as lists."""
    raw = zlib.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(raw[:4], "little")
    facts = json.loads(raw[4:end])
    plain = {
        name: np.frombuffer(raw, np.dtype(kind).newbyteorder("<"), length, end + start)
        for name, kind, start, length in facts.pop("columns")
    }
    columns: dict[str, Any] = {}
    for name, values in plain.items():
        if f"{name}_start" in plain:
            bounds = plain[f"{name}_start"].tolist()
            words = values.tobytes()
            columns[name] = [words[low:high].decode("utf-8") for low, high in itertools.pairwise(bounds)]
        elif not name.endswith("_start") or name.removesuffix("_start") not in plain:
            columns[name] = values
    return facts, columns
