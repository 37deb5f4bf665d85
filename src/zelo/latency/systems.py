"""What is measured on this machine: exported models, a run's hybrid and its search, baselines. One call is one query."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from zelo.backbones.exported import STUDENTS, Exported, loader_of
from zelo.errors import BadInput
from zelo.hybrid_score import FILE
from zelo.latency.payloads import Payload
from zelo.protocols import ModelScorer
from zelo.records import DOCUMENT, QUERY
from zelo.served import Served

SEARCH = "search"  # ends the name of a system that finds documents instead of ordering those it is given


@dataclass(frozen=True)
class Loaded:
    """A system in memory."""

    call: Callable[[Payload], object]
    tokens: Callable[[Payload], int | None]  # that it reads for a payload; None: as many as the documents found have
    searched: int | None = None  # documents that a call searches; None: it orders those of the payload


@dataclass(frozen=True)
class System:
    """A system by name, and how it is loaded."""

    name: str
    load: Callable[[], Loaded]
    shares: bool = False  # another system has loaded its models: what memory it takes cannot be told
    needs_store: bool = False  # it reads the run's documents, which may lie on another machine


def of_folder(folder: Path, setting: str, device: str, batch_size: int, search: bool) -> list[System]:
    """The systems of a run directory, or the one of an exported model. Raises BadInput for a folder that is neither.

    setting: what names the folder, for errors. search: with search of the run's documents, which lie in the store.
    """
    inside = [name for name in STUDENTS if (folder / name).is_dir()]
    if not inside:
        loader_of(folder, setting)
        return [System(folder.resolve().name, lambda: _model(folder, setting, device, batch_size))]
    found = []
    for name in inside:
        loader_of(folder / name, setting)
        found.append(System(name, lambda name=name: _model(folder / name, setting, device, batch_size)))
    if (folder / FILE).exists() and len(inside) == len(STUDENTS):
        served = functools.cache(lambda: Served(folder, device, setting))
        found.append(System("hybrid", lambda: _hybrid(served()), needs_store=True))
        if search:
            found.append(System(f"embedding, {SEARCH}", lambda: _search(served(), alone=True), True, True))
            found.append(System(f"hybrid, {SEARCH}", lambda: _search(served(), alone=False), True, True))
    return found


def of_scorer(name: str, scorer: object) -> System:
    """A baseline whose model is on this machine. Raises BadInput for one that loads it anew for every call."""
    if not isinstance(scorer, ModelScorer):
        raise BadInput(
            f"baselines.{name}: {type(scorer).__name__} cannot be measured, for it loads its model anew for every call. Use"
            " scorer=cross_encoder, scorer=multi_vector or a hosted reranker."
        )
    return System(name, lambda: _scorer(scorer))


def as_tables(payload: Payload) -> tuple[pa.Table, pa.Table]:
    """(QUERY, DOCUMENT) of a payload."""
    count = len(payload.documents)
    ids = [str(number) for number in range(count)]
    return (
        pa.table([["0"], [payload.query], ["test"]], schema=QUERY),
        pa.table([ids, [""] * count, payload.documents], schema=DOCUMENT),
    )


def _model(folder: Path, setting: str, device: str, batch_size: int) -> Loaded:
    model = Exported(folder, device, setting, batch_size)
    return Loaded(
        lambda payload: model.rank(payload.query, payload.documents),
        lambda payload: model.tokens(payload.query, payload.documents),
    )


def _hybrid(served: Served) -> Loaded:
    _ = served.documents  # whose words count for BM25: read once
    return Loaded(
        lambda payload: served.rank(payload.query, payload.documents),
        lambda payload: sum(model.tokens(payload.query, payload.documents) for model in served.models),
    )


def _search(served: Served, alone: bool) -> Loaded:
    find = served.nearest if alone else served.search
    return Loaded(lambda payload: find(payload.query), lambda payload: None, len(served.documents))


def _scorer(scorer: ModelScorer) -> Loaded:
    model = scorer.loaded()

    def call(payload: Payload) -> object:
        queries, documents = as_tables(payload)
        places = np.arange(len(documents))
        return scorer.scores(model, queries, documents, np.zeros_like(places), places)

    return Loaded(call, lambda payload: scorer.tokens(model, payload.query, payload.documents))
