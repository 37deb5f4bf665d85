"""The files in which sentence-transformers says what a folder holds."""

import json
from pathlib import Path
from typing import Any

from zelo.errors import BadInput

CONFIG = "config_sentence_transformers.json"


def json_of(path: Path, setting: str) -> dict[str, Any]:
    """The object in a file of the folder that `setting` names. Raises BadInput where it cannot be read."""
    found = _json(path, setting)
    return found if isinstance(found, dict) else {}


def _json(path: Path, setting: str) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{setting}: {path.name} cannot be read ({error}); copy or export the folder whole.") from error


def modules_of(folder: Path, setting: str) -> list[dict[str, Any]]:
    """What modules.json lists; empty where there is none. Raises BadInput where it cannot be read."""
    path = folder / "modules.json"
    found = _json(path, setting) if path.exists() else []
    return [module for module in found if isinstance(module, dict)] if isinstance(found, list) else []
