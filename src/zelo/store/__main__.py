"""Housekeeping of the store: `python -m zelo.store` lists, verifies, prunes."""

import argparse
import sys
import time

from zelo.errors import BadInput
from zelo.store.prune import prune
from zelo.store.store import Store
from zelo.streams import escape_unprintable, read_names_as_utf8


def main(arguments: list[str] | None = None) -> int:
    """Housekeeping from the command line; returns the exit status (1 when verify finds a fault)."""
    parser = argparse.ArgumentParser(prog="python -m zelo.store", description=main.__doc__)
    parser.add_argument("verb", choices=["list", "verify", "prune"])
    verb = parser.parse_args(arguments).verb
    try:
        store = Store.default()
        tables = prune(store) if verb == "prune" else list(store.tables())
    except BadInput as error:
        print(error, file=sys.stderr)
        return error.exit_status
    faults = [fault for table in tables for fault in table.faults()] if verb == "verify" else []
    for table in tables:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(table.manifest["made"]))
        state = "partial" if table.partial else "whole"
        print(f"{table.kind:<10} {table.identity}  {state:<7}  {when}  {table.bytes / 1e6:10.1f} MB")
    size = sum(table.bytes for table in tables) / 1e6
    print(f"{len(tables)} tables, {size:.1f} MB{' deleted' if verb == 'prune' else ''} in {store.root}")
    for fault in faults:
        print(f"{fault}: delete its folder and run again", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    read_names_as_utf8()
    escape_unprintable()
    sys.exit(main())
