"""Documents with the same text, and with nearly the same."""

import numpy as np
import pyarrow as pa
import pytest

from zelo import duplicates
from zelo.duplicates import first_of_same, labels_of_kept, near_duplicates, without_same
from zelo.records import DOCUMENT, DROPPED, QREL


def test_equal_texts_are_found_across_chunks_and_columns():
    titles = pa.chunked_array([["", "a", "a", "ab", ""], pa.array(["x", "a", ""]).slice(1)])
    texts = pa.chunked_array([["one", "b", "", "", "two", "b"], ["one"]])
    assert first_of_same(titles, texts).tolist() == [0, 1, 2, 3, 4, 1, 0]
    assert first_of_same(titles.slice(0, 0)).tolist() == []


@pytest.fixture
def collection() -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """300 documents of 60 words; 20 of the last are like one of the first 20, with three words of their own."""
    random = np.random.default_rng(0)
    words = random.integers(0, 5000, (300, 60))
    words[280:] = words[:20]
    words[280:, random.integers(0, 60, 3)] += 10_000
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    return pa.chunked_array([["Title"] * 300]), pa.chunked_array([texts[:7], texts[7:]])


def test_near_duplicates_are_found_and_nothing_else(collection: tuple[pa.ChunkedArray, pa.ChunkedArray]):
    found = near_duplicates(*collection, np.arange(300))
    assert found.pairs == [(280 + row, row) for row in range(20)]
    assert (found.count, found.exact) == (20, True)
    assert near_duplicates(*collection, np.arange(20, 300)).count == 0


def test_many_near_duplicates_are_estimated(
    collection: tuple[pa.ChunkedArray, pa.ChunkedArray], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(duplicates, "CHECKED", 5)
    found = near_duplicates(*collection, np.arange(300))
    assert (found.count, found.exact, len(found.pairs)) == (20, False, 5)


def test_labels_follow_the_document_that_is_kept():
    documents = pa.table([["d0", "d1", "d2", "d3"], [""] * 4, ["x", "y", "x", "y"]], schema=DOCUMENT)
    kept, dropped = without_same(documents)
    assert kept["doc_id"].to_pylist() == ["d0", "d1"]
    assert dropped.to_pydict() == {"doc_id": ["d2", "d3"], "same_as": ["d0", "d1"]}
    qrels = pa.table([["q0", "q0", "q0", "q1"], ["d1", "d3", "d0", "d2"], [1, 2, 0, 1], ["test"] * 4], schema=QREL)
    moved, notes = labels_of_kept(qrels, dropped)
    assert {tuple(row.values()) for row in moved.to_pylist()} == {
        ("q0", "d1", 2, "test"),
        ("q0", "d0", 0, "test"),
        ("q1", "d0", 1, "test"),
    }
    assert notes == (
        "labels of dropped documents, now of the same document that is kept: 2; 1 of them had a label already, and the higher"
        " one counts",
    )
    assert labels_of_kept(qrels, DROPPED.empty_table()) == (qrels, ())
