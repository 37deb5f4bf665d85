"""Completes the parts of dataset=mixture, before anything is made of the config."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from zelo.errors import BadInput
from zelo.pipeline.plain import plain
from zelo.places import config_folder

KEY = re.compile(r"dataset\.parts\.[\w-]+(\.\w+)*|dataset@dataset\.parts\.[\w-]+")


def complete(config: DictConfig, overrides: Sequence[str]) -> None:
    """Makes a dataset=auto of each part that is given fields alone, as by dataset.parts.law.path=PATH.

    overrides: of the command line. Raises BadInput for a key that is given twice, a part that is no dataset, and a field that a
    part does not have or lacks.
    """
    if "parts" not in config.dataset and "weights" not in config.dataset:
        return
    if "mixture" not in str(config.dataset.get("_target_")).lower():
        raise BadInput("dataset.parts and dataset.weights join several datasets: write dataset=mixture, too")
    _refuse_twice(overrides)
    for name, part in config.dataset.parts.items():
        if not isinstance(part, DictConfig):
            raise BadInput(
                f"dataset.parts.{name}={part}: a part has fields of its own; write dataset.parts.{name}.path=PATH"
            )
        given = plain(part)
        option = _option(given.get("_target_"))
        fields = plain(OmegaConf.load(config_folder() / "dataset" / f"{option}.yaml")) if option else given
        for key in given:
            if key not in fields:
                known = ", ".join(sorted(field for field in fields if field != "_target_")) or "none"
                raise BadInput(f"dataset.parts.{name}.{key}: dataset={option} has no such field; it has {known}")
        with open_dict(config):
            config.dataset.parts[name] = OmegaConf.merge(fields, part)
        if option == "auto" and not any(config.dataset.parts[name][place] for place in ("path", "documents")):
            raise BadInput(f"dataset.parts.{name}.path has no value yet; write dataset.parts.{name}.path=PATH")


def _refuse_twice(overrides: Sequence[str]) -> None:
    seen: set[str] = set()
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        if KEY.fullmatch(key) and key in seen:
            raise BadInput(f"{key} is given twice; a part is one dataset, so give the other one a name of its own")
        seen.add(key)


def _option(target: str | None) -> str | None:
    """The option of the group dataset that makes this class, auto where no class is named; None for a class of the user's."""
    if target is None:
        return "auto"
    files: list[Path] = sorted((config_folder() / "dataset").glob("*.yaml"))
    return next((path.stem for path in files if plain(OmegaConf.load(path)).get("_target_") == target), None)
