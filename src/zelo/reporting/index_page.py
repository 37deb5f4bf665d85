"""multirun/index.html: every sweep and run of a folder, the newest first, with what it came to and cost."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from zelo.reporting.report import environment
from zelo.store.references import RUNNING
from zelo.store.table import MANIFEST

PAGE = "index.html"
INDEX = "index*.csv"  # index.csv, and those of earlier versions with other columns
LEAST = ("time", "name", "status", "folder")  # columns that a row has
SWEEP_CSV, SWEEP_HTML, REPORT = "sweep.csv", "sweep.html", "report.html"
HALF = "running or killed"  # the status of a run that has not said how it ended


@dataclass
class Listed:
    """A run, or a sweep with its jobs. link: from the folder of the page; empty where there is nothing to open."""

    time: str
    name: str
    words: str  # what was set
    status: str
    link: str = ""
    selected_by: str = ""
    dev: float | None = None
    test: float | None = None
    usd: float | None = None
    seconds: float | None = None
    jobs: "list[Listed]" = field(default_factory=list)


def page(root: Path) -> str:
    """The page of a folder of runs. What cannot be read is passed over, and named below the table."""
    passed_over: list[str] = []
    rows = [*_listed(root, passed_over)]
    rows += _unlisted(root, {row["folder"] for row in rows}, passed_over)
    sweeps: dict[str, list[dict[str, str]]] = {}
    entries = []
    for row in rows:
        folder = (root / row["folder"]).parent
        if folder != root and (folder / SWEEP_CSV).exists():
            sweeps.setdefault(str(folder.relative_to(root)), []).append(row)
        else:
            entries.append(_entry(root, row))
    entries += [_sweep(root, folder, jobs) for folder, jobs in sweeps.items()]
    entries.sort(key=lambda entry: entry.time, reverse=True)
    return environment().get_template("index.html.jinja").render(entries=entries, passed_over=passed_over)


def _listed(root: Path, passed_over: list[str]) -> Iterator[dict[str, str]]:
    """The rows of the index; of several of a folder, the last."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(root.glob(INDEX)):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(line.replace("\0", "") for line in file)
            for row in reader:
                if all(isinstance(row.get(name), str) for name in LEAST) and row["folder"]:
                    found[row["folder"]] = {name: value or "" for name, value in row.items() if name is not None}
                else:
                    passed_over.append(f"{path.name}, line {reader.line_num}: it is no row of this table")
    return iter(found.values())


def _unlisted(root: Path, known: set[str], passed_over: list[str]) -> Iterator[dict[str, str]]:
    """Rows of the runs that have not ended as a run does."""
    for path in sorted({*root.glob(f"*/*/{MANIFEST}"), *root.glob(f"*/*/*/{MANIFEST}")}):
        folder = path.parent.relative_to(root).as_posix()
        if folder in known:
            continue
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            status = HALF if manifest["status"] == RUNNING else str(manifest["status"])
            yield {
                "time": str(manifest["started"]),
                "name": folder.partition("/")[0],
                "overrides": str(manifest["command"]).partition(" ")[2],
                "status": status,
                "folder": folder,
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            passed_over.append(f"{folder}/{MANIFEST} cannot be read ({type(error).__name__})")


def _entry(root: Path, row: dict[str, str]) -> Listed:
    folder = row["folder"]
    link = (
        f"{folder}/{REPORT}" if (root / folder / REPORT).exists() else folder + "/" if (root / folder).is_dir() else ""
    )
    dev, test, usd, seconds = (_number(row.get(name, "")) for name in ("value", "test_value", "usd", "seconds"))
    return Listed(
        row["time"],
        row["name"],
        row.get("overrides", ""),
        row["status"],
        quote(link),
        row.get("selected_by", ""),
        dev,
        test,
        usd,
        seconds,
    )


def _sweep(root: Path, folder: str, rows: list[dict[str, str]]) -> Listed:
    """The best job on dev stands for the sweep, where all are measured alike; costs are those of all jobs."""
    jobs = [_entry(root, row) for row in rows]
    counts = {status: sum(job.status == status for job in jobs) for status in dict.fromkeys(job.status for job in jobs)}
    status = ", ".join(f"{count} {status}" for status, count in counts.items())
    link = f"{folder}/{SWEEP_HTML}" if (root / folder / SWEEP_HTML).exists() else f"{folder}/"
    entry = Listed(min(job.time for job in jobs), jobs[0].name, "", status, quote(link), jobs=jobs)
    measured = [job for job in jobs if job.dev is not None]
    if len({job.selected_by for job in measured}) == 1:
        best = max(measured, key=lambda job: job.dev or 0.0)
        entry.selected_by, entry.dev, entry.test = best.selected_by, best.dev, best.test
    entry.usd, entry.seconds = (_sum([job.usd for job in jobs]), _sum([job.seconds for job in jobs]))
    return entry


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
