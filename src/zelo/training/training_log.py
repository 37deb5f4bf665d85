"""What a training logs, a line per step: kept with its table, so that a run that reuses the training shows the same curves."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from zelo.store.shards import write_parquet
from zelo.store.table import Table

Report = Callable[[int, Mapping[str, float]], None]  # takes a step of the optimizer and what is logged of it

NAME = "training_log"
TRAINING_LOG = pa.schema(
    [("step", pa.int64()), ("name", pa.dictionary(pa.int32(), pa.string())), ("value", pa.float64())]
)


class Lines:
    """The log of a training that is not finished: JSON lines beside its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, step: int) -> None:
        """Drops what an earlier attempt has logged after this step, which the training does again."""
        kept = [line for line in self.read() if line["step"] <= step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line more."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "metrics": metrics}) + "\n")

    def read(self) -> list[dict]:
        """All whole lines; a process that was killed may have left half of one."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]


def write(lines: Lines, folder: Path) -> None:
    """Writes them as the table `training_log`: a row per step and name."""
    rows = [(line["step"], name, value) for line in lines.read() for name, value in line["metrics"].items()]
    steps, names, values = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table({"step": steps, "name": pa.array(names, pa.string()), "value": pa.array(values, pa.float64())})
    write_parquet(table, TRAINING_LOG, folder, NAME)


def read(table: Table) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, what was logged of it) in order; nothing of a stage that trains nothing."""
    if table.has(NAME):
        columns = table.read(NAME).to_pydict()
        rows = zip(columns["step"], columns["name"], columns["value"], strict=True)
        for step, of_step in groupby(rows, key=lambda row: row[0]):
            yield step, {name: value for _, name, value in of_step}
