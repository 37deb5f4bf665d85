"""A search in units: what an attempt has found is not searched for again, nor read."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_place import ByPlace, Reading

from zelo.backbones import nearest
from zelo.facts import Facts
from zelo.progress import Advance
from zelo.records import DOCUMENT, QUERY
from zelo.stages import searching
from zelo.stages.score import Score
from zelo.stages.searching import Searching
from zelo.store.shards import write_parquet
from zelo.store.table import Table
from zelo.training.student import Student
from zelo.units import HERE

QUERIES = pa.table([["a", "b", "c", "d", "e"], list("12345"), ["train"] * 5], schema=QUERY)
DOCUMENTS = pa.table([[f"d{n}" for n in range(9)], [""] * 9, ["text"] * 9], schema=DOCUMENT)


def test_what_is_found_is_not_searched_for_again(
    component: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever, ran = component("retriever/random"), list[int]()
    searched = searching.Searching.__call__

    def dies_once(self: Searching, unit: int, advance: Advance) -> Facts:
        ran.append(unit)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return searched(self, unit, advance)

    monkeypatch.setattr(Searching, "__call__", dies_once)
    with pytest.raises(KeyboardInterrupt):
        Searching.of(retriever, QUERIES, DOCUMENTS, tmp_path, 3, 2).candidates(HERE)
    first = (tmp_path / "found" / "00000.parquet").stat()
    found = Searching.of(retriever, QUERIES, DOCUMENTS, tmp_path, 3, 2).candidates(HERE)
    assert (tmp_path / "found" / "00000.parquet").stat().st_mtime_ns == first.st_mtime_ns
    assert found.equals(retriever.search(QUERIES, DOCUMENTS, 3))


def test_documents_that_are_read_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "CHUNK", 2)
    write_parquet(QUERIES, QUERY, tmp_path, "queries")
    write_parquet(DOCUMENTS, DOCUMENT, tmp_path, "documents")
    data = Table("load", "", tmp_path, {})
    parts: Any = dict.fromkeys(("loss", "optimizer", "scheduler", "loader", "trainer"))
    found = []
    Reading.read.clear()
    for model in (ByPlace(), Reading()):
        stage = Score(
            inputs={"data": ""},
            student=Student(model=cast(Any, model), backbone=cast(Any, SimpleNamespace(width=lambda: 1)), **parts),
            hardware=cast(Any, SimpleNamespace(device="cpu")),
            splits=["train"],
            top_k=3,
            keep_own_document=True,
            batch_queries=1,
            seed=0,
        )
        out = tmp_path / type(model).__name__
        out.mkdir()
        if stage.spreads:
            assert stage.units({"data": data}, {}) == 5
            with pytest.raises(KeyboardInterrupt):
                stage.run({"data": data}, out, HERE)
        stage.run({"data": data}, out, HERE)
        found.append(pq.read_table(out / "scored.parquet"))
    assert Reading.read == [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8]
    assert found[0].equals(found[1])
