"""Compares two runs: what was set, what was made, and how the systems of both do on the same queries."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from zelo.errors import BadInput
from zelo.evaluation.paired import ALPHA
from zelo.evaluation.verdict import BETTER, FEWEST, LESS, MORE, NO_DIFFERENCE, WORSE
from zelo.facts import Facts
from zelo.metrics.agreement import PREFIX
from zelo.metrics.significance import FlipTest, holm, holm_factor
from zelo.run_directory import RunDirectory
from zelo.store.hashing import hash_file
from zelo.store.table import MANIFEST, Table

FILE = "compare.json"
PLACE = "logger.folder"  # of the config: the run directory itself
READ = (MANIFEST, "config.yaml", "compared.json", "metrics.json", "per_query.parquet")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Writes compare.json: config keys and stages that differ, metrics of both, and a paired test for each system of both.

    Systems are tested where both runs measured them against the same labels or ratings, on the queries that both have; p-values
    are Holm-corrected over the systems of a split. Against judge ratings a system agrees more or less; it is never better.
    """

    inputs: dict[str, str]  # none
    runs: list[str]  # two run directories
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.runs) != 2:
            raise BadInput(f"runs={self.runs}: name two run directories, as in runs=[RUN_FOLDER,OTHER_RUN_FOLDER].")
        for path in self.runs:
            RunDirectory(path)

    def content(self) -> dict[str, str]:
        """Hash of the files that are read."""
        files = [Path(folder).expanduser() / name for folder in self.runs for name in READ]
        return {"runs": " ".join(hash_file(path) for path in files if path.is_file())}

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Raises BadInput for a run that did not end well."""
        first, second = (RunDirectory(path) for path in self.runs)
        found: Facts = {
            "runs": [str(run.folder) for run in (first, second)],
            "config": _config(first.config, second.config),
            "stages": _stages(first.manifest["stages"], second.manifest["stages"]),
            "metrics": _metrics(first, second),
            "tests": list(self._tests(first, second)),
            "notes": list(_untested(first.compared, second.compared)),
        }
        (out / FILE).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return {"rows": len(found["tests"])}

    def _tests(self, first: RunDirectory, second: RunDirectory) -> Iterator[Facts]:
        for split, key in first.compared["keys"].items():
            if _same_truth(first.compared, second.compared, split):
                values = _values(first, split, key), _values(second, split, key)
                yield from self._of_split(split, key, *values)

    def _of_split(
        self, split: str, key: str, first: dict[str, dict[str, float]], second: dict[str, dict[str, float]]
    ) -> Iterator[Facts]:
        """first, second: system -> query_id -> value."""
        both = [name for name in first if name in second and first[name].keys() & second[name].keys()]
        if not both:
            return
        queries = sorted(set.intersection(*(first[name].keys() & second[name].keys() for name in both)))
        before, after = (np.array([[run[name][one] for one in queries] for name in both]) for run in (first, second))
        up, down = (MORE, LESS) if key.startswith(f"{PREFIX}/") else (BETTER, WORSE)
        tests = FlipTest.of(after - before, self.resamples, self.seed)
        p = tests.p()
        low, high = np.clip(tests.interval(ALPHA / holm_factor(p)), -1.0, 1.0)
        for row, (name, corrected) in enumerate(zip(both, holm(p).tolist(), strict=True)):
            difference = float(tests.mean[row])
            yield {
                "split": split,
                "metric": key,
                "system": name,
                "first": float(before[row].mean()),
                "second": float(after[row].mean()),
                "difference": difference,
                "ci_low": float(low[row]),
                "ci_high": float(high[row]),
                "p_value": corrected,
                "queries": len(queries),
                "queries_of_one_run": len(first[name].keys() ^ second[name].keys()),
                "verdict": NO_DIFFERENCE
                if corrected >= ALPHA or len(queries) < FEWEST
                else up
                if difference > 0
                else down,
            }


def _values(run: RunDirectory, split: str, key: str) -> dict[str, dict[str, float]]:
    """System -> query_id -> value of the metric `key`, split/metric with what it is measured against before."""
    if not run.has("per_query.parquet"):  # not evaluated: the teacher alone
        own = run.compared["per_query"].get(split)
        return {run.compared["system"]: own} if own else {}
    rows = run.per_query
    metric = key.replace(f"{split}/", "", 1)
    rows = rows.filter(pc.and_(pc.equal(rows["split"], split), pc.equal(rows["metric"], metric)))
    found: dict[str, dict[str, float]] = {}
    for system, query, value in zip(*(rows[name].to_pylist() for name in ("system", "query_id", "value")), strict=True):
        found.setdefault(system, {})[query] = value
    return found


def _same_truth(first: Facts, second: Facts, split: str) -> bool:
    against = first["against"].get(split)
    return against is not None and against == second["against"].get(split) and first["keys"] == second["keys"]


def _untested(first: Facts, second: Facts) -> Iterator[str]:
    """Why a split has no tests."""
    for split in dict.fromkeys([*first["keys"], *second["keys"]]):
        if not _same_truth(first, second, split):
            keys = [run["keys"].get(split, "nothing") for run in (first, second)]
            what = (
                f"{keys[0]} in one run and {keys[1]} in the other" if keys[0] != keys[1] else "other labels or ratings"
            )
            yield f"{split} is not tested: the runs measured {what}."


def _config(first: Facts, second: Facts) -> list[Facts]:
    """Keys with two values. What a stage repeats of a value above it is left out."""
    one, other = (dict(_flat(config, "")) for config in (first, second))
    differ = [
        key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key) and not key.endswith(PLACE)
    ]

    def said(key: str) -> tuple[str, str | None, str | None]:
        return key.rpartition(".")[2], one.get(key), other.get(key)

    above = {said(key) for key in differ if not key.startswith("stages.")}
    shown = [key for key in differ if not key.startswith("stages.") or said(key) not in above]
    return [{"key": key, "first": one.get(key), "second": other.get(key)} for key in shown]


def _flat(node: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, item in node.items():
            yield from _flat(item, f"{place}.{key}" if place else str(key))
    else:
        yield place, json.dumps(node, ensure_ascii=False)


def _stages(first: Facts, second: Facts) -> list[Facts]:
    """Each stage of either run: whether both have the same table, and its rows."""
    return [
        {
            "stage": name,
            "same": name in first and name in second and first[name]["identity"] == second[name]["identity"],
            "first": first.get(name, {}).get("rows"),
            "second": second.get(name, {}).get("rows"),
        }
        for name in dict.fromkeys([*first, *second])
    ]


def _metrics(first: RunDirectory, second: RunDirectory) -> list[Facts]:
    """Metrics with two values."""
    one, other = (
        {row["key"]: row["value"] for row in run.metrics.to_pylist()} if run.has("metrics.json") else {}
        for run in (first, second)
    )
    return [
        {"key": key, "first": one.get(key), "second": other.get(key)}
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]
