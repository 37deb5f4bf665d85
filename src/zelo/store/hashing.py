"""Hashes of files and of JSON-ready values."""

import hashlib
import json
from pathlib import Path


def hash_file(path: Path) -> str:
    """Hex digest (blake2b, 16 bytes) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def hash_json(value: object) -> str:
    """Hex digest (sha256, 24 characters) of a JSON-ready value; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]
