"""Sweeps and the list of all runs: a Hydra callback that writes down how each job ended, as it ends.

Everything is read from the run directory that a job left, so that jobs may run in other processes. Files that several processes
write are written under a lock on their folder.
"""

import csv
import fcntl
import io
import json
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import DEV, TEST
from zelo.reporting import claims, compared, index_page, sweep_page, sweep_plan
from zelo.store.store import Store
from zelo.store.table import MANIFEST
from zelo.tracking import redact, whole_file, workspace

SWEEP_CSV, SWEEP_HTML = "sweep.csv", "sweep.html"
INDEX_COLUMNS: tuple[str, ...] = (
    "time",
    "name",
    "overrides",
    "status",
    "system",
    "selected_by",  # full name of the dev figure: dev/nDCG@10/zelo, or judge_agreement/dev/nDCG@10/zelo without dev labels
    "value",  # of it
    "test",  # full name of the test figure beside it, which selects nothing
    "test_value",
    "usd",  # of the answers of all judges, whichever run paid for them
    "seconds",
    "folder",
)
TAIL_COLUMNS = ("seconds", "error", "folder")
OWN_COLUMNS = ("job", *INDEX_COLUMNS, *compared.FIGURES, *TAIL_COLUMNS)  # that no option may be called
LEFT_OUT = "left out"  # the status of a job that could not be composed
LONGEST_NAME = 100  # characters of a job's folder name
PAGE_AGE = 5.0  # seconds that a sweep.html stands at least while jobs end
PAGE_SHARE = 20  # times as long as it took
MOVE_AWAY = "Move the file away, or choose another hydra.sweep.dir; the folders of its jobs are kept."
JOBLIB_SCHEMA = (
    r"\s*'hydra/launcher/joblib' is validated"  # how Hydra's warning begins: conf/ has an option of that name, too
)


@dataclass
class Current:
    """What this process runs: Hydra gives a callback no other way to speak to the command."""

    command: str = ""  # as it was typed
    varied: list[str] = field(default_factory=list)
    folder: Path | None = None  # of the sweep
    failures: list[Exception] = field(default_factory=list)
    pid: int = 0
    stages: dict[str, tuple[Facts, Any]] = field(default_factory=dict)  # name -> config and object, of the last job
    said: set[str] = field(default_factory=set)  # lines about stages: the jobs do not repeat each other
    planned: list[sweep_plan.Planned] = field(default_factory=list)
    page_seconds: float = 0.0  # that the last sweep.html took


CURRENT = Current()


class Interrupted(Exception):
    """Ctrl-C during a job, for its end to be written down: Hydra tells a callback of Exceptions only."""


def prepare() -> None:
    """Makes `${job_name:number,overrides}` known, what the folder of a sweep's job is called, in this process."""
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)
    warnings.filterwarnings("ignore", JOBLIB_SCHEMA)


def group(folder: Path, sweeper: Mapping[str, object] | DictConfig) -> str:
    """What a logger calls a sweep: its folder, with the name above where the sweeper gives that of any sweep the same name."""
    return f"{folder.parent.name}-{folder.name}" if sweeper.get("folder") else folder.name


def elsewhere() -> bool:
    """Whether this process runs a job for a command that is another process."""
    return CURRENT.pid != os.getpid()


def job_name(number: int, overrides: Sequence[str]) -> str:
    """`<n>-<what was varied>`, at most 100 characters, of characters that no file system or shell minds."""
    named = [f"{key}={value.rstrip('/').rpartition('/')[2]}" for key, value in options(overrides).items()]
    return re.sub(r"[^\w.,=@+-]+", "_", f"{number}-{','.join(named)}")[:LONGEST_NAME].rstrip("-,._")


def options(overrides: Sequence[str]) -> dict[str, str]:
    """What was varied in a job: the shortest end of each key that is no other's, and the value."""
    found = dict(redact.text(part).split("=", 1) for part in varied(overrides))
    names = short_names(list(found))
    return {names[key]: value for key, value in found.items()}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Key -> its shortest end, at a dot, that is neither an end of another key nor another column of sweep.csv."""
    ends = {key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys}
    found = {}
    for key, own in ends.items():
        others = {*OWN_COLUMNS, *(end for other in keys if other != key for end in ends[other])}
        found[key] = next((end for end in own if end not in others), key)
    return found


def varied(overrides: Sequence[str]) -> list[str]:
    """The overrides of a job that are not the same for all jobs; all of them where this process did not start the sweep."""
    plain = [str(override).lstrip("+~") for override in overrides]
    return [part for part in plain if not CURRENT.varied or part.partition("=")[0] in CURRENT.varied]


def said(overrides: Sequence[str]) -> str:
    """What was varied in a job, for a reader."""
    return " ".join(f"{key}={value}" for key, value in options(overrides).items())


class Sweep(Callback):
    """Keeps sweep.csv, sweep.html and the index up to date. index: a CSV file; runs in folders beneath its own are listed."""

    def __init__(self, index: str) -> None:
        self.index = Path(index).absolute()
        self.start = time.time()

    def __getstate__(self) -> Facts:
        """What a job in another process gets."""
        return {"index": self.index, "start": self.start, "command": CURRENT.command, "varied": CURRENT.varied}

    def __setstate__(self, state: Facts) -> None:
        """In the process of a job, the command and what its sweep varies are known, too."""
        self.index, self.start = state["index"], state["start"]
        if elsewhere():
            CURRENT.command, CURRENT.varied = state["command"], state["varied"]
            prepare()

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        """A single run begins."""
        self._begin(None)

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """A sweep begins: finds out what is varied."""
        self._begin(Path(config.hydra.sweep.dir).absolute())
        params = config.hydra.sweeper.get("params") or {}
        lines = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
        parsed = OverridesParser.create().parse_overrides(lines)
        CURRENT.varied = [
            str(part.input_line).partition("=")[0].lstrip("+~") for part in parsed if part.is_sweep_override()
        ]

    def _begin(self, folder: Path | None) -> None:
        CURRENT.pid, CURRENT.folder = os.getpid(), folder
        CURRENT.command = " ".join(["zelo", *sys.argv[1:]])
        CURRENT.failures.clear()
        CURRENT.varied.clear()
        CURRENT.stages.clear()
        CURRENT.planned.clear()
        CURRENT.said.clear()

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        """Announces a job of a sweep."""
        self.start = time.time()
        if config.hydra.mode == RunMode.MULTIRUN:
            # Hydra's own copy of the config: every job writes one that is resolved and free of secrets.
            (Path(config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)
            print("" if config.plan is True else "\n", end="")
            print(f"Job {config.hydra.job.num}: {said(config.hydra.overrides.task)}", flush=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: object) -> None:
        """Writes the rows of a job. The failure of a single run is kept for the command, which tells it; a sweeper keeps its own.

        Raises KeyboardInterrupt after an interrupted job: the other jobs do not begin.
        """
        error = error_of(job_return)
        folder = Path(config.hydra.runtime.output_dir)
        manifest = manifest_of(folder)
        if config.hydra.mode == RunMode.MULTIRUN and (manifest or error):  # else it was a plan
            row = _row(config, manifest, error) | {"seconds": f"{time.time() - self.start:.1f}"}
            record(Path(config.hydra.sweep.dir).absolute(), row)
        if manifest and self.index.parent in folder.parents:
            self._list(config, manifest, folder)
        if isinstance(error, Interrupted):
            write_page(folder.parent)
            raise KeyboardInterrupt from error
        if error is not None and config.hydra.mode == RunMode.RUN:
            CURRENT.failures.append(error)
            job_return.return_value = None
            job_return.status = JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Shows the whole sweep, or its plan."""
        if CURRENT.planned:
            sweep_plan.print_total(CURRENT.planned, Store.default())
        if CURRENT.folder and (CURRENT.folder / SWEEP_CSV).exists():
            write_page(CURRENT.folder)
            sweep_page.print_table(CURRENT.folder, read(CURRENT.folder))
            workspace.of_sweep(CURRENT.folder, group(CURRENT.folder, config.hydra.sweeper))
        if CURRENT.folder and (found := claims.rows(CURRENT.folder)):
            whole_file.replace(CURRENT.folder / claims.PAGE, claims.page(found))
        self._write_index()

    def on_run_end(self, config: DictConfig, **kwargs: object) -> None:
        """Shows the run among the others."""
        self._write_index()

    def _write_index(self) -> None:
        if self.index.exists():
            whole_file.replace(self.index.with_name(index_page.PAGE), index_page.page(self.index.parent))

    def _list(self, config: DictConfig, manifest: Facts, folder: Path) -> None:
        overrides = " ".join(redact.text(str(part)) for part in config.hydra.overrides.task)
        row = {"time": manifest["started"], "name": config.name, "overrides": overrides, "status": manifest["status"]}
        row |= _main_figures(manifest) | {"seconds": f"{time.time() - self.start:.1f}"}
        row["usd"] = str(manifest.get("compared", {}).get("judges_usd", ""))
        row["folder"] = str(folder.relative_to(self.index.parent))
        with _locked(self.index.parent):
            _set_aside(self.index)
            with self.index.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, INDEX_COLUMNS)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)


def leave_out(config: DictConfig, number: int, overrides: Sequence[str], error: Exception) -> None:
    """Writes down a job that is not run, since it cannot be composed. config: of the sweep."""
    row = {"job": str(number)} | options(overrides) | {"status": LEFT_OUT} | _main_figures({})
    record(
        Path(config.hydra.sweep.dir).absolute(), row | {"seconds": "", "error": redact.text(str(error)), "folder": ""}
    )
    CURRENT.failures.append(error)


def discard_unused() -> None:
    """Removes the folder of a sweep whose jobs were never started: one of them could not be composed."""
    folder = CURRENT.folder
    if folder and [path.name for path in folder.glob("*")] == ["multirun.yaml"]:
        shutil.rmtree(folder)


def record(folder: Path, row: dict[str, str]) -> None:
    """Adds a job's row to sweep.csv, and writes sweep.html again where it has not been for a while."""
    folder.mkdir(parents=True, exist_ok=True)  # a job that failed early has left nothing
    with _locked(folder):
        rows = [*(old for old in read(folder) if old["job"] != row["job"]), row]
        rows.sort(key=lambda row: int(row["job"]))
        names = list(dict.fromkeys(name for row in rows for name in row if name not in TAIL_COLUMNS))
        text = io.StringIO()
        writer = csv.DictWriter(text, [*names, *TAIL_COLUMNS], restval="")
        writer.writeheader()
        writer.writerows(rows)
        whole_file.replace(folder / SWEEP_CSV, text.getvalue())
    page = folder / SWEEP_HTML
    if not page.exists() or time.time() - page.stat().st_mtime > max(PAGE_AGE, PAGE_SHARE * CURRENT.page_seconds):
        write_page(folder)


def write_page(folder: Path) -> None:
    """Writes sweep.html again, where there is anything to show."""
    start = time.time()
    if rows := read(folder):
        with _locked(folder):
            whole_file.replace(folder / SWEEP_HTML, sweep_page.page(folder, rows))
        CURRENT.page_seconds = time.time() - start


def read(folder: Path) -> list[dict[str, str]]:
    """The rows of sweep.csv, in the order of the jobs; none where there is no such file yet.

    Raises BadInput where it is no such table.
    """
    path = folder / SWEEP_CSV
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is no table of a sweep ({error}). {MOVE_AWAY}") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or not row.get("job", "").isdigit():
            raise BadInput(f"{path}, line {number}: this is no job of a sweep. {MOVE_AWAY}")
    return rows


def _row(config: DictConfig, manifest: Facts, error: Exception | None) -> dict[str, str]:
    """One job: what was varied, how it ended, the dev figure that selects, and the deciding metric of each split and system."""
    from zelo.tracking.run_folder import FAILED, INTERRUPTED

    row = {"job": str(config.hydra.job.num)} | options(config.hydra.overrides.task)
    row["status"] = manifest["status"] if error is None else INTERRUPTED if isinstance(error, Interrupted) else FAILED
    row |= _main_figures(manifest)
    values = manifest.get("compared", {}) | manifest.get("figures", {}).get("values", {})
    row |= {key: str(value) for key, value in values.items()}
    row |= _domain_figures(manifest, row.get("test", ""))
    folder = Path(config.hydra.runtime.output_dir).name if manifest else ""
    words = manifest.get("pruned", {}).get("words", "") if error is None else " ".join(str(error).split())
    return row | {"error": redact.text(words), "folder": folder}


def selecting(manifest: Facts) -> float | None:
    """The dev figure of a finished job that selects, if it has one."""
    value = _main_figures(manifest)["value"]
    return float(value) if value else None


def selected_by(manifest: Facts) -> str:
    """The full name of that figure; empty where there is none."""
    return _main_figures(manifest)["selected_by"]


def _main_figures(manifest: Facts) -> dict[str, str]:
    """System, the full name and value of its dev figure, which selects, and of the test figure beside it."""
    figures = manifest.get("figures", {})
    keys, values = figures.get("keys", {}), figures.get("values", {})
    system = figures.get("system") or ""
    found: dict[str, str] = {"system": system}
    for split, column, number in ((DEV, "selected_by", "value"), (TEST, "test", "test_value")):
        key = f"{keys[split]}/{system}" if split in keys else ""
        found |= {column: key, number: str(values[key])} if key in values else {column: "", number: ""}
    return found


def _domain_figures(manifest: Facts, test: str) -> dict[str, str]:
    """The test figure of the optimized system in each domain, and the domains that nothing was learned from.

    test: the full name of that figure over all queries.
    """
    domains = manifest.get("figures", {}).get("domains", {})
    found = {
        f"{test}/{name}": str(facts["value"]) for name, facts in domains.items() if facts["split"] == TEST and test
    }
    outside = ",".join(name for name, facts in domains.items() if facts["out_of_domain"])
    return found | {sweep_page.OUTSIDE: outside} if found else {}


def _set_aside(index: Path) -> None:
    """Renames an index whose columns are those of an earlier version, so that its rows stay under their own header."""
    if not index.exists() or not index.stat().st_size:
        return
    with index.open(newline="", encoding="utf-8", errors="replace") as file:
        header = tuple(next(csv.reader(file), ()))
    if header != INDEX_COLUMNS:
        taken = len(list(index.parent.glob(f"{index.stem}-earlier*{index.suffix}")))
        index.rename(index.with_name(f"{index.stem}-earlier{taken or ''}{index.suffix}"))


def error_of(job_return: JobReturn) -> Exception | None:
    """What a job raised."""
    try:
        with redirect_stderr(io.StringIO()):  # reading the value of a failed job prints, and raises what the job raised
            _ = job_return.return_value
    except Exception as error:
        return error
    return None


def manifest_of(folder: Path) -> Facts:
    """How far the job of a run directory came; empty where it has left nothing."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or a broken one of an earlier sweep in this folder
        return {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock is on the folder itself and ends with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
