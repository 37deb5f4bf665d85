"""Files that are read while they are written."""

import os
from pathlib import Path


def replace(path: Path, content: str) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)
