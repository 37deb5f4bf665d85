"""Windows of documents that are shown at once, so that every pair asked about is answered in one of them."""

from collections.abc import Iterator, Sequence
from itertools import combinations


def windows(
    first: Sequence[int], second: Sequence[int], most: int
) -> Iterator[tuple[list[int], dict[int, tuple[int, int]]]]:
    """Windows of at most `most` documents that cover pairs of documents; each pair is answered by one of them.

    first, second: per pair the two documents, numbered in the order in which they are to be shown. Yields the documents of a
    window as shown and, per pair that it answers, the labels (from 1) of the pair's first and second document. A pair that
    comes in both directions is covered twice, the second time in windows that are shown backwards.
    """
    asked: dict[tuple[int, int], tuple[list[int], list[int]]] = {}  # the pairs (numbers) in either direction
    for n, (a, b) in enumerate(zip(first, second, strict=True)):
        asked.setdefault((min(a, b), max(a, b)), ([], []))[int(a > b)].append(n)
    layers = (
        {pair: ahead or back for pair, (ahead, back) in asked.items()},
        {pair: back for pair, (ahead, back) in asked.items() if ahead and back},
    )
    for layer, step in zip(layers, (1, -1), strict=True):
        for members, new in _cover(sorted(layer), most):
            shown = members[::step]
            label = {document: n for n, document in enumerate(shown, 1)}
            numbers = [n for pair in new for n in layer[pair]]
            yield shown, {n: (label[first[n]], label[second[n]]) for n in numbers}


def _cover(edges: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """Groups of at most `most` numbers that are all joined to each other, each with the edges that no group before it had.

    Greedy: from each number in turn, that one joins next which brings most new edges, and among equals the one that leaves
    most to come. Every number of a group has a new edge to one that joined before it. Neighbours are bits of an integer.
    """
    joined: dict[int, int] = {}
    for a, b in edges:
        joined[a] = joined.get(a, 0) | 1 << b
        joined[b] = joined.get(b, 0) | 1 << a
    fresh = dict(joined)
    for start in sorted(joined):
        while fresh[start]:
            members, inside, common = [start], 1 << start, joined[start]
            while len(members) < most:
                gains = {
                    n: ((fresh[n] & inside).bit_count(), (fresh[n] & common).bit_count(), -n) for n in _bits(common)
                }
                best = max(gains, key=gains.__getitem__, default=start)
                if best == start or not gains[best][0]:
                    break
                members.append(best)
                inside |= 1 << best
                common &= joined[best]
            members.sort()
            new = [(a, b) for a, b in combinations(members, 2) if fresh[a] >> b & 1]
            for n in members:
                fresh[n] &= ~inside
            yield members, new


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low
