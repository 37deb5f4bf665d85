"""States that hold many pairs of one query's documents, each document once."""

from collections.abc import Iterator, Sequence

Pair = tuple[int, int]


def states(
    first: Sequence[int], second: Sequence[int], sizes: Sequence[int], most_pairs: int, most_size: int
) -> Iterator[tuple[list[int], dict[Pair, list[int]]]]:
    """States of at most `most_pairs` pairs, whose documents together have at most `most_size`; each pair is in one of them.

    first, second: per row the two documents, numbered in the order in which they stand in a state; sizes: of the documents,
    of which any two fit. Yields the documents of a state as they stand there and, per pair (the option shown first, the other),
    its rows. A pair that comes in both directions is in two states, the second one backwards; a pair that has a state of its own
    stands there as it is shown.
    """
    rows: dict[Pair, list[int]] = {}
    for row, pair in enumerate(zip(first, second, strict=True)):
        rows.setdefault(pair, []).append(row)
    again = {pair for pair in rows if pair[0] > pair[1] and pair[::-1] in rows}
    for layer, step in ((rows.keys() - again, 1), (again, -1)):
        shown_as = {(min(pair), max(pair)): pair for pair in layer}
        for members, pairs in _filled(sorted(shown_as), sizes, most_pairs, most_size):
            asked = [shown_as[pair] for pair in pairs]
            yield list(asked[0]) if len(asked) == 1 else members[::step], {pair: rows[pair] for pair in asked}


def _filled(
    pairs: Sequence[Pair], sizes: Sequence[int], most_pairs: int, most_size: int
) -> Iterator[tuple[list[int], list[Pair]]]:
    """Documents and pairs of one state after the other, until each pair is in one.

    Greedy: that document joins next which brings most pairs with those that are there, the smallest number among equals; where
    none brings any, the first one that fits together with the other document of a pair.
    """
    left: dict[int, set[int]] = {}
    for a, b in pairs:
        left.setdefault(a, set()).add(b)
        left.setdefault(b, set()).add(a)
    while any(left.values()):
        members: set[int] = set()
        taken: list[Pair] = []
        room = most_size
        while len(taken) < most_pairs and (joining := _next(left, members, sizes, room)) is not None:
            new = sorted(left[joining] & members)[: most_pairs - len(taken)]
            for other in new:
                left[joining].discard(other)
                left[other].discard(joining)
            taken += [(min(joining, other), max(joining, other)) for other in new]
            members.add(joining)
            room -= sizes[joining]
        yield sorted({document for pair in taken for document in pair}), sorted(taken)


def _next(left: dict[int, set[int]], members: set[int], sizes: Sequence[int], room: int) -> int | None:
    gains = {n: len(left[n] & members) for n in left if n not in members and sizes[n] <= room}
    best = min(gains, key=lambda n: (-gains[n], n), default=None)
    if best is None or gains[best]:
        return best
    # A new start: it is of use only where its partner fits, too. Its partner is no member, or it would bring a pair.
    starts = (n for n in sorted(gains) if left[n] and sizes[n] + min(sizes[other] for other in left[n]) <= room)
    return next(starts, None)
