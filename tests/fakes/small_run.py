"""A small run of the data stages without models, in a process or spread."""

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from zelo.pipeline.plan import units
from zelo.pipeline.run import assemble, run_stages
from zelo.places import config_folder
from zelo.protocols import Executor
from zelo.store.store import Store


def contents(home: Path, executor: Executor, *overrides: str) -> dict[str, str]:
    """Stage -> hash of the bytes of its table."""
    *_, (result, _) = run_stages(assemble(_composed(*overrides)), Store(home), executor=executor)
    return {name: table.content for name, table in result.tables.items() if name != "data_card"}


def units_of(store: Store) -> dict[str, int]:
    """Stage -> how many units the whole run has, as far as that is known."""
    return units(assemble(_composed()), store)


@cache
def _composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        small = ["dataset=synthetic", "dataset.queries=40", "dataset.documents=60", "top_k=12", "until=target"]
        return compose("config", ["pipeline=annotate", "retriever=random", "judge=simulated", *small, *overrides])
