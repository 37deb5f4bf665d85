"""What a place names: a path, a dataset of the Hugging Face hub (hf:), or one of ir_datasets (irds:)."""

import os
import re
from pathlib import Path

from zelo.datasets import hub, irds
from zelo.datasets.columns import Kind
from zelo.datasets.sources import Sources, find
from zelo.errors import BadInput

_PREFIX = re.compile(r"[A-Za-z][\w-]*:")


def located(field: str, place: str, kind: Kind | None) -> Sources:
    """The files of a place, fetched where they are not here; a path that exists wins. Raises BadInput.

    field: of the dataset, for errors. kind: what the place holds, where the user says so.
    """
    path = expanded(field, place)
    if not os.path.exists(path):
        if place.startswith(hub.PREFIX):
            return hub.find_in_hub(place, kind)
        if place.startswith(irds.PREFIX):
            return irds.find_in_irds(place, kind)
        if prefix := _PREFIX.match(place):
            raise BadInput(
                f"dataset.{field}={place}: there is no such path, and no prefix {prefix[0]}; hf:OWNER/NAME is a dataset of the"
                " Hugging Face hub, irds:ID one of ir_datasets"
            )
    return find(path, kind)


def expanded(field: str, place: str) -> Path:
    """The path, ~ written out. Raises BadInput."""
    try:
        return Path(place).expanduser()
    except RuntimeError as error:  # ~name of a user who is not there
        raise BadInput(f"dataset.{field}={place}: {error}; write the whole path") from None
