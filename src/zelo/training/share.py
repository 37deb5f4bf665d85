"""Which part of a batch a process reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """This process among `count` that train together."""

    rank: int = 0
    count: int = 1

    def of(self, rows: int, rank: int | None = None) -> slice:
        """The consecutive rows of a batch that are this process's, or another's; none perhaps."""
        rank = self.rank if rank is None else rank
        return slice(rows * rank // self.count, rows * (rank + 1) // self.count)

    def most(self, rows: int) -> int:
        """Rows of the largest share."""
        return -(-rows // self.count)
