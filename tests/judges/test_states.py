"""States hold each pair once, no more documents and pairs than fit, and follow from the pairs alone."""

import numpy as np
import pytest

from zelo.judges.states import states


def random_pairs(seed: int) -> tuple[list[int], list[int], list[int]]:
    """Rows, some of them in both directions and some twice, and sizes of the documents."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 30))
    a = rng.integers(0, count, 80)
    b = (a + rng.integers(1, count, 80)) % count
    return a.tolist(), b.tolist(), rng.integers(1, 11, count).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_each_row_is_in_one_state_that_fits(seed: int) -> None:
    first, second, sizes = random_pairs(seed)
    most_pairs, most_size = (1, 20) if seed == 0 else (2 + 3 * seed, 20 + 10 * seed)
    found = list(states(first, second, sizes, most_pairs, most_size))
    rows = [row for _, pairs in found for of in pairs.values() for row in of]
    assert sorted(rows) == list(range(len(first)))
    for shown, pairs in found:
        assert 1 <= len(pairs) <= most_pairs
        assert len(set(shown)) == len(shown)
        assert sum(sizes[document] for document in shown) <= most_size
        assert {*shown} == {document for pair in pairs for document in pair}
        assert all((first[row], second[row]) == pair for pair, of in pairs.items() for row in of)
        assert not any(pair[::-1] in pairs for pair in pairs), "a pair and its reverse are in two states"
        assert shown in (sorted(shown), sorted(shown)[::-1])


def test_the_order_of_rows_changes_nothing() -> None:
    first, second, sizes = random_pairs(9)
    order = np.random.default_rng(0).permutation(len(first))
    one, other = (
        [(shown, list(pairs)) for shown, pairs in states(a, b, sizes, 7, 40)]
        for a, b in ((first, second), ([first[n] for n in order], [second[n] for n in order]))
    )
    assert one == other


def test_documents_are_shared_by_many_pairs() -> None:
    ring = [(n, (n + step) % 20) for n in range(20) for step in (1, 2)]
    found = list(states([a for a, _ in ring], [b for _, b in ring], [1] * 20, 128, 20))
    assert [(len(shown), len(pairs)) for shown, pairs in found] == [(20, 40)]
    halves = list(states([a for a, _ in ring], [b for _, b in ring], [1] * 20, 128, 11))
    assert sum(len(shown) for shown, _ in halves) <= 33, "20 documents in states of at most 11"


def test_a_pair_alone_stands_as_it_is_shown_and_in_both_orders_backwards() -> None:
    assert list(states([3], [1], [1] * 4, 8, 8)) == [([3, 1], {(3, 1): [0]})]
    assert list(states([1, 3], [3, 1], [1] * 4, 8, 8)) == [([1, 3], {(1, 3): [0]}), ([3, 1], {(3, 1): [1]})]
    both = list(states([0, 2, 1, 2], [1, 1, 0, 0], [1] * 3, 8, 8))
    assert both == [([0, 1, 2], {(0, 1): [0], (2, 0): [3], (2, 1): [1]}), ([1, 0], {(1, 0): [2]})]
