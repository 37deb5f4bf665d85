"""What providers ask for a token, as they stated it on a day, and how dollars are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as day

from zelo.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars per million tokens, by the exact name of a model: a dated name does not stand for an undated one."""

    date: str  # YYYY-MM-DD: when the table was put together
    source: str  # the pages that state the prices
    models: Mapping[str, Mapping[str, float]]  # model -> input, output

    def __post_init__(self) -> None:
        try:
            day.fromisoformat(self.date)
        except ValueError:
            raise BadInput(f"prices: date={self.date!r} is no day; write it as 2026-11-25.") from None
        for model, price in self.models.items():
            place = f"prices of {self.date}: {model}"
            if set(price) != {"input", "output"}:
                raise BadInput(f"{place} has {', '.join(price) or 'nothing'}; it needs input and output, nothing else.")
            for name, value in price.items():
                if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                    raise BadInput(
                        f"{place}: {name}={value} is no price; write US dollars per million tokens, 0 or more."
                    )

    def of(self, model: str) -> tuple[float, float] | tuple[None, None]:
        """(input, output); (None, None) for a model that the table does not name: unknown is not free."""
        price = self.models.get(model)
        return (None, None) if price is None else (price["input"], price["output"])


def money(price: str, usd: float | None) -> str:
    """US dollars, where there is a price: free, known or unknown. Nothing known is not nothing paid."""
    return {"free": "free", "unknown": "price unknown"}.get(price) or f"${usd:,.2f}"
