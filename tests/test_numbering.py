"""Rows and documents by number, against numpy and scipy, which sort and search."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zelo.numbering import numbered
from zelo.outcomes import Graphs
from zelo.stages.rate import largest_part


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize("rows", [0, 1, 400])
def test_pairs_are_numbered_as_numpy_sorts_them(rows: int, stages: int, ordered: bool) -> None:
    random = np.random.default_rng(rows)
    queries = min(rows, 5)
    query = np.concatenate([np.arange(queries), random.integers(0, max(queries, 1), rows - queries)])
    query = np.sort(query) if ordered else query
    low = random.integers(0, 40, rows)
    high, stage = low + random.integers(1, 10, rows), random.integers(0, stages, rows)
    sizes, documents, pair, edges = numbered(query, low, high, stage)
    ends = np.unique(np.stack([np.tile(query, 2), np.concatenate([low, high])], 1), axis=0)
    np.testing.assert_array_equal(sizes, np.bincount(ends[:, 0], minlength=queries))
    np.testing.assert_array_equal(documents, ends[:, 1])
    unique, inverse = np.unique(np.stack([query, low, high, stage], 1), axis=0, return_inverse=True)
    np.testing.assert_array_equal(pair, inverse.ravel())
    np.testing.assert_array_equal(documents[edges], unique[:, 1:3])
    np.testing.assert_array_equal(ends[edges, 0], unique[:, [0, 0]])


def test_graphs_are_the_same_of_texts_and_of_dictionaries_in_several_chunks() -> None:
    random = np.random.default_rng(0)
    a = random.integers(0, 8, 300)
    b = (a + random.integers(1, 8, 300)) % 8
    columns = {"query_id": random.integers(7, 11, 300), "doc_a": a, "doc_b": b}
    texts = pa.table({name: pa.array([f"{value:02}" for value in values]) for name, values in columns.items()})
    parts = [texts.slice(low, 100) for low in (0, 100, 200)]
    encoded = [
        pa.table([column.dictionary_encode() for column in one.columns], names=one.column_names) for one in parts
    ]
    chunked = pa.concat_tables([encoded[2], *encoded]).slice(100)  # whose first dictionary names what no row has
    for one, other in zip(*(vars(Graphs.of(table)).values() for table in (texts, chunked)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    found = Graphs.of(texts)
    low, high = np.minimum(a, b), np.maximum(a, b)
    keys = (columns["query_id"] * 8 + low) * 8 + high
    np.testing.assert_array_equal(found.pair, np.unique(keys, return_inverse=True)[1])
    np.testing.assert_array_equal(found.flipped, a > b)
    assert found.query_id.to_pylist() == ["07", "08", "09", "10"]


@pytest.mark.parametrize("pairs", [0, 10, 25, 60])
def test_the_largest_part_is_that_of_scipy(pairs: int) -> None:
    random = np.random.default_rng(pairs)
    sizes = np.array([30, 1, 20])
    first = random.integers(0, 30, pairs)
    edges = np.concatenate([np.stack([first, (first + random.integers(1, 30, pairs)) % 30], 1), [[31, 32], [49, 50]]])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(51, 51))
    label = connected_components(graph, directed=False)[1]
    wanted = []
    for low, high in ((0, 30), (30, 31), (31, 51)):
        names, place, count = np.unique(label[low:high], return_index=True, return_counts=True)
        best = min(range(len(names)), key=lambda n: (-count[n], place[n]))
        wanted.append(label[low:high] == names[best])
    np.testing.assert_array_equal(largest_part(sizes, edges), np.concatenate(wanted))
