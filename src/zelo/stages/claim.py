"""Says whether a claim of a paper holds, from figures of every query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.evaluation.claim import Contrast, Found, verdict
from zelo.facts import Facts
from zelo.records import TEST
from zelo.store.table import Table

FILE = "claim.json"
ORDER = "order"  # in place of a system: whether judges and labels put systems in one order, and its metric
TAU = "tau"
COST = "cost"  # the role of a stage that says what the recipe costs


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Writes claim.json: the claim, what was run, figures with intervals, and whether it holds, does not, or cannot be told.

    What is compared are means over test queries, by the paired permutation test. A claim without contrasts is not run and says
    why. The words are the config's, the numbers are not.
    """

    inputs: dict[str, str]  # stages with figures of each query: evaluate, rating_errors ...; cost: a full_size stage
    id: str  # C1
    says: str  # the claim
    source: str  # where it is made, and the figure there
    ran: str  # what was run instead: size, data, judges
    contrasts: list[dict[str, str | float]]  # {metric: nDCG@10, of: SYSTEM, above (or below): SYSTEM or number}
    not_run: str | None  # why
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        if bool(self.contrasts) == bool(self.not_run):
            raise BadInput(f"claim {self.id}: it has either contrasts, or not_run with the reason.")
        for node in self.contrasts:
            Contrast.read(node)

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a figure that no input has."""
        found = [self._found(Contrast.read(node), tables) for node in self.contrasts]
        row: Facts = {
            "id": self.id,
            "says": self.says,
            "source": self.source,
            "ran": self.ran,
            "figures": [one.text for one in found],
            "verdict": verdict(found) if found else f"not run: {self.not_run}",
            "cost": tables[COST].manifest[COST] if COST in tables else None,
        }
        (out / FILE).write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return {"rows": 1, "notes": [f"{self.id}: {row['verdict']}", *row["figures"]]}

    def _found(self, contrast: Contrast, tables: Mapping[str, Table]) -> Found:
        if contrast.of == ORDER and contrast.metric == TAU:
            return self._order(contrast, tables)
        values = self._values(contrast.metric, contrast.of, tables)
        if not isinstance(contrast.than, str):
            other = dict.fromkeys(values, float(contrast.than))
        else:
            other = self._values(contrast.metric, contrast.than, tables)
        queries = sorted(values.keys() & other.keys())
        first, second = (np.array([side[query] for query in queries]) for side in (values, other))
        return Found.of(contrast, first, second, self.resamples, self.seed)

    def _values(self, metric: str, system: str, tables: Mapping[str, Table]) -> dict[str, float]:
        """Query -> value on test."""
        for table in tables.values():
            name = "per_query" if table.has("per_query") else "figures"
            if table.has(name):
                rows = table.read(name)
                wanted = (("system", system), ("metric", metric), ("split", TEST))
                for column, value in wanted:
                    rows = rows.filter(pc.equal(rows[column].cast(pa.string()), value))
                if len(rows):
                    return dict(zip(rows["query_id"].to_pylist(), rows["value"].to_pylist(), strict=True))
        raise BadInput(
            f"claim {self.id}: no input has {metric} of {system!r} on test; its inputs are"
            f" {', '.join(self.inputs.values())}. Name a metric and a system as they stand there."
        )

    def _order(self, contrast: Contrast, tables: Mapping[str, Table]) -> Found:
        """How judges and labels order the systems: the evaluation has the interval."""
        for table in tables.values():
            if (order := table.manifest.get(ORDER)) and order[TAU] is not None:
                than = float(contrast.than)
                low, high = order["ci_low"] - than, order["ci_high"] - than
                return Found(
                    contrast, order[TAU], order[TAU] - than, low, high, max(table.manifest["queries"].values())
                )
        raise BadInput(
            f"claim {self.id}: no input says how judges and labels order systems; that is of pipeline=benchmark."
        )
