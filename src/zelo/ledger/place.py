"""Where the ledger lies: `$ZELO_LEDGER`, else ledger.sqlite in the store."""

import os
from pathlib import Path

from zelo.errors import BadInput
from zelo.store.disk import network_file_system
from zelo.store.store import Store

FILE = "ledger.sqlite"  # its name in the store


def ledger_path() -> Path:
    """The file that this process's requests are looked up in and written to. Raises BadInput for a folder."""
    named = os.environ.get("ZELO_LEDGER")
    path = Path(named).expanduser() if named else Store.current().root / FILE
    if path.is_dir():
        raise BadInput(f"ZELO_LEDGER={named} is a folder. Set it to a file, such as {path / FILE}.")
    return path


def refuse_network(path: Path) -> None:
    """Raises BadInput for a ledger on a network file system."""
    if kind := network_file_system(path):
        raise BadInput(
            f"The ledger {path} is on a network file system ({kind}), where SQLite's locks and journal do not work between hosts:"
            " it gets corrupted, and answers that were paid for are lost. Nothing was opened. Set ZELO_LEDGER to a file on a disk"
            f" of this host, such as ZELO_LEDGER=/var/tmp/{FILE}. To keep the answers of a ledger that is there, copy it."
        )
