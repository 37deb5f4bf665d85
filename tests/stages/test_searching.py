"""A search in units: what an attempt has found is not searched for again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from zelo.facts import Facts
from zelo.progress import Advance
from zelo.records import DOCUMENT, QUERY
from zelo.stages import searching
from zelo.stages.searching import Searching
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
        Searching.of(retriever, QUERIES, DOCUMENTS, tmp_path, 3, 2).run(HERE)
    first = (tmp_path / "found" / "00000.parquet").stat()
    found = Searching.of(retriever, QUERIES, DOCUMENTS, tmp_path, 3, 2).run(HERE)
    assert (tmp_path / "found" / "00000.parquet").stat().st_mtime_ns == first.st_mtime_ns
    assert found.equals(retriever.search(QUERIES, DOCUMENTS, 3))
