"""Any logger of Lightning: CSV files, TensorBoard, MLflow, Comet, Neptune."""

import importlib.util
import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.pipeline import instantiate
from zelo.reporting.evaluation import Evaluation
from zelo.tracking import outage, summary
from zelo.tracking.job import InRunDirectory, Job

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from zelo.pipeline.run import Result

OPEN: "dict[tuple[str, str], Logger]" = {}  # (run directory, class) -> the logger that all students of this process share
NEEDS = {
    "TensorBoardLogger": "tensorboard",
    "MLFlowLogger": "mlflow",
}  # class -> its package, which has an extra of its name
ENVIRONMENT = {  # what MLflow goes by, unless it is set
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder, where no server is named: mlflow-skinny has no database
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, kw_only=True)
class LightningLogger(InRunDirectory):
    """One run of a Lightning logger per zelo run: choices and values, curves as `<student>/...`, figures at the end.

    `lightning` names the logger's class, with arguments of its own; the class is imported when the run begins. Of what it takes
    and they do not name, the run adds `save_dir`, the run directory, `run_name`, its name, `tags`, the choices, and
    `tracking_uri`, MLFLOW_TRACKING_URI.
    """

    lightning: Any  # of the yaml as it is: _target_, _partial_: true, and arguments

    def __post_init__(self) -> None:
        if not isinstance(self.lightning, dict):
            raise BadInput("logger.lightning: the logger is made when the run begins; add logger._recursive_=false.")
        if self.lightning.get("_partial_") is not True:
            raise BadInput(
                "logger.lightning: the run adds arguments to those of the logger; add logger.lightning._partial_=true."
            )

    @property
    def _name(self) -> str:
        return str(self.lightning["_target_"]).rpartition(".")[2]

    def check(self) -> None:
        """Raises BadInput where the package is not installed."""
        package = NEEDS.get(self._name)
        if package and importlib.util.find_spec(package) is None:
            raise BadInput(f"logger={package}, but {package} is not installed: pip install 'zelo[{package}]'.")

    def start(self, job: Job) -> None:
        """Opens the run. Raises BadInput where the logger cannot be made, or its server does not answer."""
        try:
            with _quiet():
                self._logger(job).log_hyperparams(job.config)
        except Exception as error:
            raise BadInput(f"logger: {self._name} cannot start a run ({outage.reason(error)}).") from error

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Of a student or a stage, as `<name>/<metric>`."""
        with outage.tolerated(self._name, self._folder), _quiet():
            self._logger().log_metrics({f"{name}/{key}": value for key, value in metrics.items()}, step)

    def finish(self, result: "Result", manifest: Facts) -> None:
        """Logs the figures and closes the run."""
        found = summary.of_run(Evaluation.of(result), manifest)
        with outage.tolerated(self._name, self._folder), _quiet():
            self._logger().log_metrics(
                {key: float(value) for key, value in found.items() if not isinstance(value, str)}
            )
        self._close("success")

    def fail(self) -> None:
        """Closes the run as failed."""
        self._close("failed")

    def _logger(self, job: Job | None = None) -> "Logger":
        key = (self._folder, self._name)
        if key not in OPEN:
            for variable, value in ENVIRONMENT.items():
                os.environ.setdefault(variable, value)
            tags = job.choices | ({"sweep": job.sweep} if job.sweep else {}) if job else {}
            known = {"save_dir": self._folder, "run_name": Path(self._folder).name, "tags": tags}
            known |= {
                "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI")
            }  # which Lightning reads when it is imported
            make = instantiate.build(self.lightning, "logger.lightning")
            taken, given = inspect.signature(make.func).parameters, make.keywords
            missing = [name for name in known if name in taken and given.get(name) is None]
            OPEN[key] = make(**{name: known[name] for name in missing})
        return OPEN[key]

    def _close(self, status: str) -> None:
        if logger := OPEN.pop((self._folder, self._name), None):
            with outage.tolerated(self._name, self._folder), _quiet():
                logger.finalize(status)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice for who calls Lightning himself, as that MLflow has no @ in names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
        yield
