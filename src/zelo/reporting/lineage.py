"""Which tables of a run belong together: by what a table holds and by what its stage reads, whatever the stages are called."""

import json
from typing import TYPE_CHECKING

from zelo.facts import Facts

if TYPE_CHECKING:
    from zelo.pipeline.run import Result, Step
    from zelo.store.table import Table

WEIGHTS = "weights"  # the role of a stage that weighs judges


def step_of(result: "Result", name: str) -> "Step":
    """The stage of that name."""
    return next(step for step in result.steps if step.name == name)


def holding(result: "Result", table: str) -> list[str]:
    """Finished stages that hold a table of that name, in the order of the run: each after what it reads."""
    return [step.name for step in result.steps if step.name in result.tables and result.tables[step.name].has(table)]


def written(result: "Result", file: str) -> Facts | None:
    """What the first stage with a JSON file of that name has written there; None where none has."""
    for table in result.tables.values():
        if (path := table.path / file).is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def deepest(result: "Result", table: str) -> str | None:
    """The finished stage that holds a table of that name and has most stages above it; None where none does."""
    return max(holding(result, table), key=lambda name: len(above(result, name)), default=None)


def ratings_of(result: "Result", rated: str) -> "Table":
    """The ratings of a rate stage, calibrated where the stage that reads them first has calibrated them."""
    reader = result.tables.get(result.downstream(rated, "ratings") or "")
    return reader if reader is not None and reader.has("ratings") else result.tables[rated]


def above(result: "Result", start: str) -> list[str]:
    """The stages that one reads, directly or not; the nearest first."""
    inputs = {step.name: list(step.inputs.values()) for step in result.steps}
    found: dict[str, None] = {}
    level = inputs.get(start, [])
    while level:
        found |= dict.fromkeys(level)
        level = [name for one in level for name in inputs.get(one, []) if name not in found]
    return list(found)


def nearest(result: "Result", start: str, table: str) -> str | None:
    """The finished stage nearest above one, itself included, that holds a table of that name; None where none does."""
    holders = holding(result, table)
    return next((name for name in [start, *above(result, start)] if name in holders), None)


def judged(result: "Result", rated: str) -> list[str]:
    """The judge stages whose answers a rate stage reads, in the order of its inputs: that about all candidates is the first."""
    answered = holding(result, "outcomes")
    return [name for role, name in step_of(result, rated).inputs.items() if role != WEIGHTS and name in answered]


def weighing(result: "Result", judging: str) -> str | None:
    """The finished stage that says what the judges of a judge stage count for in the last ratings of their answers; None: none.

    Before there are ratings, the one that the judge stage itself reads.
    """
    users = [step for step in result.steps if step.name == judging or judging in step.inputs.values()]
    found = [step.inputs[WEIGHTS] for step in users if step.inputs.get(WEIGHTS) in result.tables]
    return found[-1] if found else None


def checkpoint_readers(result: "Result", trained: str) -> list[str]:
    """Finished stages that read what this one has trained."""
    return [step.name for step in result.steps if trained in step.inputs.values() and step.name in result.tables]


def students(result: "Result") -> list[str]:
    """Finished stages that trained a model: they keep the curve of the training."""
    return [name for name, table in result.tables.items() if (table.path / "curve.json").is_file()]
