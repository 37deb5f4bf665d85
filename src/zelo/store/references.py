"""What keeps a table: run directories that name it (runs/), and tables whose making asked for it (uses/)."""

import json
from collections.abc import Iterable
from pathlib import Path

from zelo.errors import BadInput
from zelo.store.hashing import hash_json
from zelo.store.table import MANIFEST

# What the manifest of a run says until it has ended, when it has ended well, and when a search has ended it early.
RUNNING, FINISHED, PRUNED = "running", "finished", "pruned"


def register_run(root: Path, folder: Path, identities: Iterable[str]) -> None:
    """Remembers a run directory: what its manifest names is kept, and these tables until it has ended well or was pruned."""
    note = "\n".join([str(folder.resolve()), *identities])
    _note(root, folder).write_text(note, encoding="utf-8")


def forget_run(root: Path, folder: Path) -> None:
    """Undoes `register_run`."""
    _note(root, folder).unlink(missing_ok=True)


def _note(root: Path, folder: Path) -> Path:
    return root / "runs" / hash_json(str(folder.resolve()))


def note_use(root: Path, user: str, identity: str) -> None:
    """Notes that the making of the table `user` asks for another."""
    if identity not in uses(root, user):
        with (root / "uses" / user).open("a", encoding="utf-8") as file:
            file.write(f"{identity}\n")


def uses(root: Path, identity: str) -> list[str]:
    """Identities of the tables that the making of this one asked for."""
    try:
        return (root / "uses" / identity).read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []


def named_by_runs(root: Path) -> set[str]:
    """Identities that remembered run directories name, and what was used to make them; deleted run directories name nothing.

    Raises BadInput when the manifest of one cannot be read: what it names would be lost.
    """
    names: set[str] = set()
    for note in (root / "runs").iterdir():
        try:
            folder, *planned = note.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:  # forgotten since
            continue
        path = Path(folder) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path} cannot be read ({error}), so nothing is pruned. Delete that run directory."
            ) from error
        names.update(stage["identity"] for stage in manifest["stages"].values())
        names.update(() if manifest["status"] in (FINISHED, PRUNED) else planned)  # the same command goes on from them
    todo = list(names)
    while todo:
        used = set(uses(root, todo.pop())) - names
        names |= used
        todo += used
    return names
