"""Components as the command builds them, without a run."""

from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from zelo.pipeline import instantiate
from zelo.places import config_folder


def component(option: str, **changes: Any) -> Any:
    """`component("judge/lexical", tau=1.0)`: that option of that group, with some of its values changed."""
    group, _, name = option.partition("/")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        node = OmegaConf.to_container(compose(None, [f"+{group}={name}"])[group])
    assert isinstance(node, dict)
    return instantiate.build(node | changes, option)
