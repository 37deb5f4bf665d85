"""A config as plain values."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from zelo.facts import Facts


def plain(config: DictConfig | ListConfig, resolve: bool = False) -> Facts:
    """Key -> value: dicts, lists and scalars. resolve: references are followed."""
    found: Any = OmegaConf.to_container(config, resolve=resolve)
    return found
