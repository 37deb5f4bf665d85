"""What a run came out with, read from the table of its evaluate stage."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zelo.store import Table

if TYPE_CHECKING:
    from zelo.pipeline import Result

LABELS = "natural"  # the protocol of figures that are measured against labels


@dataclass(frozen=True)
class Figures:
    """All rows of the split that counts (test, where it has labels), and the verdicts on it."""

    table: Table
    metric: str  # the one that decides, as ir-measures writes it
    split: str
    protocol: str
    rows: list[dict[str, Any]]  # records.METRIC
    verdicts: list[dict[str, Any]]

    @staticmethod
    def of(result: "Result") -> "Figures | None":
        """The figures of the last evaluate stage that ran, or None where none did."""
        tables = [result.tables[name] for name in result.of_kind("evaluate") if name in result.tables]
        if not tables:
            return None
        table = tables[-1]
        metric, split = table.manifest["metric"], table.manifest["split"]
        rows = json.loads((table.path / "metrics.json").read_text(encoding="utf-8"))
        verdicts = json.loads((table.path / "verdicts.json").read_text(encoding="utf-8"))
        rows = [row for row in rows if row["split"] == split]
        return Figures(table, metric, split, table.manifest["protocol"], rows, verdicts)

    @property
    def title(self) -> str:
        """The deciding metric in words: agreement with the judge is not taken for quality."""
        words = self.metric if self.protocol == LABELS else f"{self.metric} of agreement with the judge"
        return f"{words} on {self.split}"

    @property
    def values(self) -> dict[str, float]:
        """System -> value of the metric that decides."""
        return {row["system"]: row["value"] for row in self.rows if row["metric"] == self.metric}
