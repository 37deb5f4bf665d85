"""Weights & Biases: offline unless WANDB_MODE says otherwise, or W&B's own agent has started the run."""

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.records import METRIC
from zelo.reporting.evaluation import Evaluation
from zelo.tracking import artifacts, logged_tables, outage, redact, summary
from zelo.tracking.job import InRunDirectory, Job
from zelo.tracking.logged_tables import LoggedTable

if TYPE_CHECKING:
    from wandb import Run

    from zelo.pipeline.run import Result

LARGEST = 30 << 20  # bytes of a report that is shown as a panel
MOST_ROWS = 10_000  # of a table, wandb.Table.MAX_ROWS
DATA = "WANDB_DATA_DIR"


@dataclass
class Opened:
    """A W&B run that is open."""

    run: "Run"
    choices: dict[str, str]  # of the job
    axes: set[str] = field(default_factory=set)  # students and stages whose curves have an axis


RUNS: dict[str, Opened] = {}  # run directory -> the W&B run that all students of this process share


@dataclass(frozen=True, kw_only=True)
class Wandb(InRunDirectory):
    """One W&B run per zelo run, its files in the run directory: choices and values, curves, figures, and artifacts.

    No key is sent, no text of a document unless `texts` says so, nor what W&B would collect by itself about code and command
    line, and about the machine only where `system_metrics` says so. WANDB_MODE, WANDB_DIR and WANDB_PROJECT count as W&B has it.
    """

    project: str | None  # None: WANDB_PROJECT, else zelo
    entity: str | None
    group: str | None  # None: the sweep that the run is a job of
    tags: list[str]  # beside those of the choices, judge=embedded ...
    notes: str | None
    id: str | None  # of the W&B run; None: a new one, or the one that W&B's agent gives
    resume: str | None  # allow, must, never: what becomes of a run of this id
    system_metrics: bool  # processor, memory and GPU
    artifacts: bool  # exported models, ratings and the figures of the evaluation
    texts: bool  # the report, and queries and documents in tables
    workspace: bool  # a dashboard of the run, or of the sweep that it is a job of; `tracking.workspace` saves it
    table_rows: int  # of each table at most; 0: no tables but that of the metrics

    def __post_init__(self) -> None:
        if not 0 <= self.table_rows <= MOST_ROWS:
            raise BadInput(f"logger.table_rows={self.table_rows}: from 0 to {MOST_ROWS:,}, more W&B does not show.")

    def check(self) -> None:
        """Raises BadInput where wandb is not installed, or what a workspace needs."""
        needed = ["wandb", *["wandb_workspaces"] * self.workspace]
        for package in (one for one in needed if importlib.util.find_spec(one) is None):
            raise BadInput(
                f"logger={'wandb' if package == 'wandb' else 'wandb, logger.workspace=true'}, but"
                f" {package.replace('_', '-')} is not installed: pip install 'zelo[wandb]'."
            )

    def start(self, job: Job) -> None:
        """Opens the run. Raises BadInput where W&B cannot start one."""
        # W&B filters and groups by no key with a dot in it. A run that is resumed has values already.
        config = {key.replace(".", "/"): value for key, value in job.config.items()}
        self._opened(job).run.config.update(config, allow_val_change=True)

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """A point of `<name>/<metric>` over `<name>/step`."""
        with outage.tolerated("W&B", self._folder):
            opened = self._opened()
            if name not in opened.axes:
                opened.axes.add(name)
                opened.run.define_metric(f"{name}/*", step_metric=f"{name}/step")
            opened.run.log({f"{name}/step": step} | {f"{name}/{key}": value for key, value in metrics.items()})

    def finish(self, result: "Result", manifest: Facts) -> None:
        """Logs table, verdicts, figures and artifacts, and closes the run. What W&B raises is told: the run is done."""
        figures, cut = Evaluation.of(result), dict[str, int]()
        try:
            opened = self._opened()
            run = opened.run
            with _staged_in(Path(run.settings.sync_dir).parent):
                if figures:
                    self._log_evaluation(run, figures)
                if self.table_rows:
                    cut = self._log_tables(run, logged_tables.of_run(result, figures, self.table_rows, self.texts))
                run.summary.update(summary.of_run(figures, manifest))
                if self.artifacts:
                    self._log_artifacts(opened, manifest)
                if self.texts:
                    self._log_report(run)
                offline, place = run.settings._offline, run.settings.sync_dir
                self._close(0)
        except Exception as error:
            RUNS.pop(self._folder, None)
            print(f"W&B did not take the results ({outage.reason(error)}); the run is whole.", file=sys.stderr)
            return
        if cut:
            said = ", ".join(f"{name} ({count:,} more)" for name, count in cut.items())
            print(f"W&B: tables with the first {self.table_rows:,} rows only (logger.table_rows): {said}")
        if offline:
            print(f"W&B: the run is offline; wandb sync {place}")

    def fail(self) -> None:
        """Closes the run as failed."""
        if self._folder in RUNS:
            with outage.tolerated("W&B", self._folder):
                self._close(1)

    def _log_evaluation(self, run: "Run", figures: Evaluation) -> None:
        import wandb

        names = METRIC.names
        rows = wandb.Table(columns=list(names), data=[[row[name] for name in names] for row in figures.rows])
        run.log({"metrics": rows})
        run.summary["verdicts"] = [verdict["text"] for verdict in figures.verdicts]

    def _log_tables(self, run: "Run", tables: Iterable[LoggedTable]) -> dict[str, int]:
        """Name -> rows that are left out, of each table with such."""
        import wandb

        cut = {}
        for one in (one for one in tables if len(one.rows)):
            rows: Any = [list(row.values()) for row in one.rows.to_pylist()]
            run.log({one.name: wandb.Table(columns=one.rows.column_names, data=rows)})
            run.summary[f"left_out/{one.name}"] = one.left_out
            if one.left_out and len(one.rows) == self.table_rows:
                cut[one.name] = one.left_out
        return cut

    def _log_artifacts(self, opened: Opened, manifest: Facts) -> None:
        """Files are taken from where they lie: nothing is copied, as the run directory does not change any more."""
        import wandb

        for one in artifacts.of_run(Path(self._folder), manifest, opened.choices):
            made = wandb.Artifact(one.name, one.kind, metadata=redact.tree(one.metadata))
            for name, path in one.files():
                made.add_file(str(path), name, policy="immutable")
            opened.run.log_artifact(made)

    def _log_report(self, run: "Run") -> None:
        import wandb

        report = Path(self._folder) / "report.html"
        if report.is_file():
            if report.stat().st_size <= LARGEST:
                run.log({"report": wandb.Html(report.read_text(encoding="utf-8"), inject=False)})
            made = wandb.Artifact("report", "report")
            made.add_file(str(report), policy="immutable")
            run.log_artifact(made)

    def _opened(self, job: Job | None = None) -> Opened:
        """The run, opened where it is not. job: None where nobody has begun one, as in a notebook."""
        folder = self._folder
        if folder not in RUNS:
            import wandb

            quiet = wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=not self.system_metrics,
                x_save_requirements=False,
            )
            mode = _mode()
            try:
                run = wandb.init(
                    project=self._project,
                    entity=self.entity,
                    group=self.group or (job and job.sweep),
                    job_type=job and job.pipeline,
                    tags=[*map(redact.text, self.tags), *(job.tags if job else [])],
                    notes=self.notes and redact.text(self.notes),
                    id=self.id,
                    resume=self.resume,  # type: ignore[arg-type]
                    name=Path(folder).name,
                    dir=os.environ.get("WANDB_DIR") or folder,
                    mode=mode,  # type: ignore[arg-type]
                    reinit="create_new",  # nothing global: wandb.run stays as it was
                    settings=quiet,
                )
            except wandb.Error as error:  # no login, no network, no access to the entity or the project
                owner = f" for logger.entity={self.entity}" if self.entity else ""
                raise BadInput(
                    f"logger=wandb, WANDB_MODE={mode}: W&B cannot start a run in the project {self._project}{owner}"
                    f" ({outage.reason(error)}). Log in with `wandb login` or set WANDB_API_KEY, name an entity that this login"
                    " may write to, or unset WANDB_MODE: the run is then kept offline, for wandb sync."
                ) from error
            RUNS[folder] = Opened(run, job.choices if job else {})
        return RUNS[folder]

    @property
    def _project(self) -> str:
        return self.project or os.environ.get("WANDB_PROJECT") or "zelo"

    def _close(self, status: int) -> None:
        RUNS.pop(self._folder).run.finish(exit_code=status)


def _mode() -> str:
    """Offline unless WANDB_MODE is set; an agent of a W&B sweep waits for the runs that it starts."""
    return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_SWEEP_ID") else "offline")


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """W&B keeps what waits for its upload beside the run, not in the user's home, so that `wandb sync` finds it there."""
    before = os.environ.get(DATA)
    os.environ.setdefault(DATA, str(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA]
