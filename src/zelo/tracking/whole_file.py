"""Files that others read: written whole, or shared with the store."""

import os
import shutil
from pathlib import Path

READ_ONLY = 0o444


def replace(path: Path, content: str) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)


def link(source: str | Path, target: str | Path) -> None:
    """Makes `target` the same file as `source`, which nobody can write from then on; a copy where the disks differ."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    else:
        os.chmod(source, READ_ONLY)  # who changes the one would change the other
