"""What a recipe would cost at its full size, from a few questions about the queries that are here."""

from dataclasses import dataclass
from pathlib import Path

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.protocols import PredictsCost
from zelo.store.table import Table


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """Writes the cost of asking about `queries` queries, and the hours of the graphics card. Sends nothing.

    Dollars: what `asks` would cost for the queries that are here, at published prices and an assumed length of answers, times
    how many more there are. Hours: 6 operations a weight and token that is trained on, 2 for one that is read (Kaplan et al.,
    Scaling Laws for Neural Language Models, 2020, section 2.1).
    """

    inputs: dict[str, str]  # data: load; candidates: a retrieve stage
    asks: PredictsCost | None  # a judge stage; null: nothing is asked for money
    queries: int  # of the full size
    parameters: float  # weights of the model
    trained_tokens: float
    read_tokens: float
    operations: float  # a second that the card does in practice

    def __post_init__(self) -> None:
        if self.queries < 1 or not self.operations > 0:
            raise BadInput(f"full_size: queries={self.queries}, operations={self.operations}; both must be above 0.")

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """The facts are its result."""
        here = tables["candidates"].manifest["queries"]
        usd = None if self.asks is None else self.asks.expected_usd(tables)
        hours = self.parameters * (6 * self.trained_tokens + 2 * self.read_tokens) / self.operations / 3600
        cost = {
            "usd": None if usd is None else usd / here * self.queries,
            "hours": hours,
            "queries": self.queries,
        }
        return {"rows": 0, "cost": cost}
