"""One process of a training that has several."""

import contextlib
from pathlib import Path

from zelo.pipeline import instantiate
from zelo.store.store import Store
from zelo.training import launch, world
from zelo.training.hardware import Hardware


def work(folder: Path) -> None:
    """Does its part of the job in a folder."""
    job, tables = launch.read(folder)
    stage = instantiate.rebuild(job["stage"], f"stages.{job['name']}")
    stage.hardware.apply()
    world.join(stage.hardware)
    roots = {table.path.parents[1] for table in tables.values()}
    with Store(roots.pop()).active() if roots else contextlib.nullcontext():
        stage.train_part(tables, folder, world.rank())


def follow(hardware: Hardware) -> None:
    """Takes part in each training of the run that the first process does, to the end of the run."""
    world.join(hardware)
    while folder := world.next_job():
        work(folder)
