"""What a run came out with, read from the table of its evaluate stage."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zelo.records import DEV
from zelo.store import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step

FIRST_STAGES, UNTUNED, TEACHER, STUDENTS = GROUPS = ("first stages", "untuned models", "teacher", "students")
LABELS = "natural"  # the protocol of figures that are measured against labels
NO_LABELS = "against judge ratings, no human labels"  # what the other protocol is in words


@dataclass(frozen=True)
class Figures:
    """All rows of the split that is reported (test, where it has labels), the verdicts on it, and what dev says to select by."""

    table: Table
    metric: str  # the one that decides, as ir-measures writes it
    split: str
    protocol: str
    rows: list[dict[str, Any]]  # records.METRIC
    verdicts: list[dict[str, Any]]
    keys: dict[str, str]  # split -> name of its deciding metric: dev/nDCG@10, judge_agreement/dev/nDCG@10, test/nDCG@10
    keyed: dict[str, float]  # the deciding metric of every split and system, by its full name; dev first
    queries: dict[str, int]  # split -> queries that were evaluated
    groups: dict[str, str]  # system -> one of GROUPS, by what the pipeline makes of it

    @staticmethod
    def of(result: "Result") -> "Figures | None":
        """The figures of the last evaluate stage that ran, or None where none did."""
        steps = [step for step in result.steps if step.kind == "evaluate" and step.name in result.tables]
        if not steps:
            return None
        table = result.tables[steps[-1].name]
        metric, split, keys = (table.manifest[name] for name in ("metric", "split", "keys"))
        rows = json.loads((table.path / "metrics.json").read_text(encoding="utf-8"))
        verdicts = json.loads((table.path / "verdicts.json").read_text(encoding="utf-8"))
        found = {row["key"]: row["value"] for row in rows}
        systems = list(dict.fromkeys(row["system"] for row in rows))
        names = [f"{key}/{system}" for key in keys.values() for system in systems]
        return Figures(
            table,
            metric,
            split,
            table.manifest["protocol"],
            [row for row in rows if row["split"] == split],
            verdicts,
            keys,
            {name: found[name] for name in names if name in found},
            table.manifest["queries"],
            {system: _group(system, steps[-1], result) for system in systems},
        )

    @property
    def title(self) -> str:
        """The deciding metric in words: agreement with judge ratings is not taken for quality."""
        return self.metric + (f" on {self.split}" if self.protocol == LABELS else f" on {self.split} ({NO_LABELS})")

    @property
    def values(self) -> dict[str, float]:
        """System -> value of the metric that decides, on the split that is reported."""
        return {row["system"]: row["value"] for row in self.rows if row["metric"] == self.metric}

    @property
    def dev(self) -> dict[str, float]:
        """System -> value of the deciding metric on dev, all that a choice may look at; empty where dev is not measured."""
        start = f"{self.keys[DEV]}/" if DEV in self.keys else None
        return {key.removeprefix(start): value for key, value in self.keyed.items() if start and key.startswith(start)}


def _group(system: str, evaluate: "Step", result: "Result") -> str:
    """A student is what the evaluate stage tests as one; an untuned model is scored without a checkpoint."""
    role = "candidates" if system == evaluate.stage.candidates_as else system
    source = next((step for step in result.steps if step.name == evaluate.inputs.get(role)), None)
    if system in evaluate.stage.students:
        return STUDENTS
    if role == "teacher":
        return TEACHER
    return UNTUNED if source and source.kind == "score" and "checkpoint" not in source.inputs else FIRST_STAGES
