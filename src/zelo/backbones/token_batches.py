"""Texts of about one length together."""

from collections.abc import Iterator

from zelo.backbones import device

# Read at a time; small batches stay in a CPU's cache: 65 texts/s against 36 at 16,384.
TOKENS = {device.CPU: 1024, device.CUDA: 65536}


def token_batches(ids: list[list[int]], budget: int, before: int = 0) -> Iterator[list[int]]:
    """Rows of `ids` by length, in batches of at most `budget` tokens after padding; a row that is longer is one by itself.

    They are made from content, whatever the order of rows. before: tokens that stand before each row and count, too.
    """
    batch: list[int] = []
    for row in sorted(range(len(ids)), key=lambda row: (len(ids[row]), ids[row])):
        if batch and (len(batch) + 1) * (before + len(ids[row])) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
