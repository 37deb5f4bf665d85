"""Composes the jobs of a sweep: conf/ is read once for all jobs that choose the same options."""

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

MOST = 32  # compositions that are kept


def sharing(context: HydraContext) -> HydraContext:
    """A sweep's context with a loader that shares compositions."""
    return HydraContext(config_loader=SharedLoader(context.config_loader), callbacks=context.callbacks)


class SharedLoader(ConfigLoaderImpl):
    """Hydra's loader, but that a job is a copy of what its choices compose to, with its values set as Hydra sets them.

    Hydra composes from the choices first and sets values then; so the config of a job is the one that Hydra makes.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        super().__init__(loader.get_search_path())
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __getstate__(self) -> dict[str, object]:
        """For the process of a job, which composes one."""
        return self.__dict__ | {"_composed": {}}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of a job, which the caller may change. Raises what Hydra raises for a job that cannot be composed."""
        parsed = OverridesParser.create(config_loader=self).parse_overrides(sweep_overrides)
        if master_config.hydra.searchpath or any(one.is_hydra_override() or one.is_sweep_override() for one in parsed):
            return super().load_sweep_config(master_config, sweep_overrides)  # Hydra composes from other places then
        choices = tuple(one.input_line or "" for one in parsed if self._chooses(one))
        if choices not in self._composed:
            if len(self._composed) == MOST:
                self._composed.clear()
            self._composed[choices] = super().load_sweep_config(master_config, list(choices))
        config = copy.deepcopy(self._composed[choices])
        self._apply_overrides_to_config([one for one in parsed if not self._chooses(one)], config)
        self._name(config, parsed)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _chooses(self, override: Override) -> bool:
        """Whether it is composed from, as Hydra tells it: it names a group, and no dict is merged into what that holds."""
        return not isinstance(override.value(), dict) and self.repository.group_exists(override.key_or_group)

    @staticmethod
    def _name(config: DictConfig, parsed: Sequence[Override]) -> None:
        config.hydra.overrides.task = [one.input_line for one in parsed]
        shown = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=list(parsed), kv_sep=shown.kv_sep, item_sep=shown.item_sep, exclude_keys=shown.exclude_keys
        )
