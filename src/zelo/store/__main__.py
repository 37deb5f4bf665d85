"""Housekeeping of the store: `python -m zelo.store` lists, verifies, prunes, and copies tables to another place and back."""

import argparse
import sys
import time

from zelo.errors import ZeloError
from zelo.store.mirror import pull, push
from zelo.store.prune import prune
from zelo.store.store import Store
from zelo.store.table import Table
from zelo.streams import escape_unprintable, read_names_as_utf8

VERBS = {
    "list": "names all tables",
    "verify": "reads all tables and names files that are not what was written",
    "prune": "deletes the tables that no run directory needs",
    "push": "copies the finished tables to a URL that do not lie there",
    "pull": "copies the tables from a URL that the store lacks",
}


def main(arguments: list[str] | None = None) -> int:
    """Housekeeping from the command line; returns the exit status (1 when verify finds a fault)."""
    parser = argparse.ArgumentParser(prog="python -m zelo.store", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in VERBS.items():
        one = verbs.add_parser(verb, help=what, description=what)
        if verb in ("push", "pull"):
            one.add_argument(
                "url", help="a folder, or any URL that fsspec knows: s3://BUCKET/PATH, gs://BUCKET/PATH ..."
            )
    given = parser.parse_args(arguments)
    try:
        store = Store.default()
        if given.verb in ("push", "pull"):
            return _copy(store, given.verb, given.url)
        tables = prune(store) if given.verb == "prune" else list(store.tables())
    except ZeloError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return _list(store, given.verb, tables)


def _list(store: Store, verb: str, tables: list[Table]) -> int:
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


def _copy(store: Store, verb: str, url: str) -> int:
    done = []
    for one in push(store, url) if verb == "push" else pull(store, url):
        done.append(one)
        if not one.known:
            print(f"{one.kind:<10} {one.identity}  {one.files:4} files  {one.bytes / 1e6:10.1f} MB", flush=True)
    new = [one for one in done if not one.known]
    files, size = sum(one.files for one in new), sum(one.bytes for one in new) / 1e6
    partial = sum(table.partial for table in store.tables()) if verb == "push" else 0
    print(
        f"{len(new)} tables {'sent' if verb == 'push' else 'fetched'} ({files} files, {size:.1f} MB),"
        f" {len(done) - len(new)} were there already" + f"; {partial} partial ones stay here" * bool(partial)
    )
    return 0


if __name__ == "__main__":
    read_names_as_utf8()
    escape_unprintable()
    sys.exit(main())
