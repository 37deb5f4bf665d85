"""Deleting what no run needs."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from zelo.store.liveness import new_owner
from zelo.store.mirror import PULLED
from zelo.store.references import named_by_runs
from zelo.store.shards import UNFINISHED
from zelo.store.store import Store
from zelo.store.table import Table

HIDDEN = re.compile(r"\.\w+\..+\.gone")  # a table that is being deleted


def prune(store: Store) -> list[Table]:
    """Deletes every table that no remembered run directory names, and returns them; also what killed runs have left.

    A table being made is left alone, and so is what a run names that begins meanwhile.
    """
    found, gone = list(store.tables()), []
    runs = _changed(store.root / "runs")
    keep = named_by_runs(store.root)  # after looking: a run that has begun since may have made a table
    for table in found:
        if (changed := _changed(store.root / "runs")) != runs:
            runs, keep = changed, named_by_runs(store.root)
        if table.identity in keep:
            continue
        gone.append(table)
        (store.root / "uses" / table.identity).unlink(missing_ok=True)
        with store.lock(table.kind, table.identity):
            hidden = table.path.with_name(f".{table.identity}.{new_owner()}.gone")
            with suppress(FileNotFoundError):  # another prune was faster
                table.path.rename(hidden)  # at once, so that a kill leaves no half of a table
                shutil.rmtree(hidden)
    for left in store.root.glob("*/.*"):
        if HIDDEN.fullmatch(left.name):  # a prune that was killed
            shutil.rmtree(left, ignore_errors=True)
    for left in [left for end in (UNFINISHED, PULLED) for left in store.root.glob(f"*/.*{end}")]:
        identity = left.name[1:].rpartition(".")[0]
        if identity in keep:  # the next attempt goes on from there
            continue
        with suppress(BlockingIOError):  # somebody is at it
            with store.lock(left.parent.name, identity, wait=False):
                shutil.rmtree(left, ignore_errors=True)
    return gone


def _changed(folder: Path) -> int:
    """When something came to a folder or went: opened first, since a network file system asks its server then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return os.fstat(handle).st_mtime_ns
    finally:
        os.close(handle)
