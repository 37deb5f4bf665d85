"""What the sweepers share: jobs that are checked before anything starts, and failures that stop no other job."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

MOST = 1000  # jobs of a sweep that nobody has confirmed


def fault(context: HydraContext, config: DictConfig, job: Sequence[str], compose_only: bool) -> Exception | None:
    """Why a job cannot be run, or only why it cannot be composed. config: of the sweep; job: its overrides."""
    from zelo import main
    from zelo.errors import ZeloError

    try:
        composed = context.config_loader.load_sweep_config(config, list(job))
        if not compose_only:
            main.check(composed)
    except (ZeloError, HydraException, OmegaConfBaseException) as error:
        return error
    return None


def launch(launcher: Launcher, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Runs jobs; how each ended. What a job raised is kept for the command, which tells it at its end.

    first: the number of the first job; the others follow.
    """
    from zelo.tracking import sweep

    ended = list(launcher.launch(jobs, initial_job_idx=first))
    sweep.CURRENT.failures += [error for one in ended if (error := sweep.error_of(one)) is not None]
    return ended


def failed(job: JobReturn) -> bool:
    """Whether a job raised something."""
    return job.status is not JobStatus.COMPLETED


def flag(config: DictConfig, name: str) -> bool:
    """The switch `sweep.NAME`. Raises BadInput where it is neither true nor false."""
    from zelo import annotations
    from zelo.errors import BadInput

    for place, wrong in annotations.faults(config.sweep[name], bool, f"sweep.{name}"):
        raise BadInput(f"{place}{wrong}")
    return config.sweep[name]


def words(error: Exception) -> str:
    """An error in one line."""
    from zelo.explanation import explain

    return explain(error)[1]
