"""Texts of about one length together."""

from collections.abc import Iterator


def token_batches(ids: list[list[int]], budget: int) -> Iterator[list[int]]:
    """Rows of `ids` by length, in batches of at most `budget` tokens after padding; a row that is longer is one by itself.

    They are made from content, whatever the order of rows.
    """
    batch: list[int] = []
    for row in sorted(range(len(ids)), key=lambda row: (len(ids[row]), ids[row])):
        if batch and (len(batch) + 1) * len(ids[row]) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
