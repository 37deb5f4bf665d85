"""A training over several nodes: node 0 runs the pipeline, the others take their part as it comes to each training."""

import contextlib
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from zelo.errors import ZeloError
from zelo.store.hashing import hash_json
from zelo.store.store import Store
from zelo.store.table import Table
from zelo.training import heartbeat, ranks


class Training(Protocol):
    """A step whose stage trains; `node`, its config, is empty where one process does it alone."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def stage(self) -> Any: ...
    @property
    def node(self) -> dict[str, Any]: ...


def leading(steps: Sequence[Training], store: Store) -> AbstractContextManager[None]:
    """What node 0 works under, so that the others see that it does."""
    several = any(step.node and step.stage.hardware.nodes > 1 for step in steps)
    return heartbeat.beating(pulse(steps, store)) if several else contextlib.nullcontext()


def prepare(step: Training, tables: dict[str, Table], folder: Path) -> None:
    """Writes what the processes of a training are made from; nothing where one process does it alone."""
    if step.node:
        ranks.write(folder / ranks.FOLDER, step.name, step.node, tables, step.stage.hardware)


def follow(steps: Sequence[Training], store: Store) -> None:
    """What a node does that is not the first: takes its part in each training, as the first node comes to it.

    Both share the store. Raises ZeloError when the first node ends without having made a training, or gives no sign of life.
    """
    watch = heartbeat.Watch(pulse(steps, store))
    trainings = [step for step in steps if step.node and not store.find(step.kind, step.identity)]
    for step in trainings:
        step.stage.check()
    done: dict[str, str] = {}
    while left := [step for step in trainings if not store.find(step.kind, step.identity)]:
        for step in left:
            folder = store.unfinished(step.kind, step.identity) / ranks.FOLDER
            job = ranks.text(folder)
            if job and job != done.get(step.name):
                print(f"{step.name}: node {step.stage.hardware.here} takes part", file=sys.stderr, flush=True)
                _take_part(step, folder, watch)
                done[step.name] = job
        ended = watch.ended()
        if ended == heartbeat.FINISHED:  # of a part of the judgements, the table is never whole
            return
        if ended and not store.find(left[-1].kind, left[-1].identity):
            names = ", ".join(step.name for step in left)
            raise ZeloError(f"Node 0 ended before this was computed: {names}. Its own output says why.")
        time.sleep(ranks.POLL)


def _take_part(step: Training, folder: Path, watch: heartbeat.Watch) -> None:
    """This node's processes of a training. Raises ZeloError where they break off, as they do when those of node 0 are gone."""
    try:
        ranks.run(folder, step.stage.hardware, lambda line: None, watch.ended)
    except RuntimeError as error:
        raise ZeloError(f"{step.name}: this node's part failed ({error}). The output of node 0 says why.") from error


def pulse(steps: Sequence[Training], store: Store) -> Path:
    """The file by which other nodes see that node 0 works on these trainings."""
    return store.root / heartbeat.FOLDER / hash_json([step.identity for step in steps if step.node])
