"""Writes the documentation of the Python that runs this, one JSON document a line, sorted by id.

Three sources, and the first to claim an id keeps it: imported modules, modules read from source, language topics. Only the
standard library is used, so any CPython from 3.11 on can run it. It belongs in a child process: imports have side effects.
"""

import gc
import json
import os
import sysconfig
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from .entry import MAX_TITLE, Entry
from .imported import imported_entries
from .source import Library
from .topics import topic_entries


def main() -> None:
    """Writes to standard output what nothing but this function may print there."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a module that prints when imported
    gc.disable()  # syntax trees are kept until the end: looking through them for garbage takes half of the time
    library = Library(Path(sysconfig.get_path("stdlib")))
    for id_, entry in sorted(distinct(chain(imported_entries(), library.entries(), topic_entries())).items()):
        title = entry.title if len(entry.title) <= MAX_TITLE else entry.title[: MAX_TITLE - 3] + "..."
        out.write(json.dumps({"_id": id_, "title": title, "text": entry.text}, ensure_ascii=False) + "\n")
    out.flush()


def distinct(entries: Iterable[tuple[str, Entry]]) -> dict[str, Entry]:
    """One entry per subject and per text of a name: the one whose id is plainest."""
    first: dict[str, Entry] = {}
    for id_, entry in entries:
        if entry.text:
            first.setdefault(id_, entry)
    kept, subjects, texts = {}, set(), set()
    for id_ in sorted(first, key=lambda id_: (id_.startswith("topic:"), id_.count("."), len(id_), id_)):
        entry = first[id_]
        name = "topic:" if id_.startswith("topic:") else id_.rsplit(".", 1)[-1]
        text = (name, " ".join(entry.text.split()))
        if entry.subject not in subjects and text not in texts:
            kept[id_] = entry
            subjects.add(entry.subject)
            texts.add(text)
    return kept


if __name__ == "__main__":
    main()
