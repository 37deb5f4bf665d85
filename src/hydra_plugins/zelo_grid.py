"""A sweep over every combination of values, checked as a whole before its first job starts.

Hydra takes sweepers from the package `hydra_plugins` only.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.zelo_composing import sharing
from hydra_plugins.zelo_jobs import MOST, fault, flag, launch, words


class GridSweeper(BasicSweeper):
    """Hydra's own grid, for which nothing starts before every job has been composed and checked.

    With `sweep.keep_going` each job is checked when its turn comes, and one that cannot be composed is left out.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra says here what is run, and how."""
        super().setup(hydra_context=sharing(hydra_context), task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Raises BadInput for a grid without a job, for one of more than MOST jobs that is not confirmed, and for a bad job."""
        from zelo.tracking import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        _refuse_size(overrides, flag(self.config, "confirm"))
        sweep.read(Path(self.config.hydra.sweep.dir))  # of an earlier one in this folder
        batches = self._checked(self.split_arguments(overrides, self.max_batch_size))
        first = 0
        for jobs in batches:
            launch(self.launcher, jobs, first)
            first += len(jobs)

    def _checked(self, batches: list[list[list[str]]]) -> list[list[list[str]]]:
        """The batches, without the jobs that cannot be composed where `sweep.keep_going` leaves these out."""
        from zelo.errors import BadInput
        from zelo.tracking import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        keep_going = flag(self.config, "keep_going")
        refused: list[tuple[Sequence[str], Exception]] = []
        for jobs in batches:
            found = [(job, fault(self.hydra_context, self.config, job, compose_only=keep_going)) for job in jobs]
            refused += [(job, error) for job, error in found if error is not None]
            if keep_going:
                jobs[:] = [job for job, error in found if error is None]
        number = sum(map(len, batches))
        if refused and (not keep_going or not number):
            job, error = refused[0]
            some = f" {len(refused)} of {number} jobs cannot run." if len(refused) > 1 and not keep_going else ""
            advice = "; sweep.keep_going=true runs the others" if len(refused) < number else ""
            raise BadInput(f"job {sweep.said(job)}: {words(error).rstrip('.')}.{some} Nothing was run{advice}.")
        for place, (job, error) in enumerate(refused):
            sweep.leave_out(self.config, number + place, job, BadInput(f"job {sweep.said(job)}: {words(error)}"))
        return [jobs for jobs in batches if jobs]


def _refuse_size(overrides: Sequence[Override], confirmed: bool) -> None:
    from zelo.errors import BadInput

    counts = {}
    for override in overrides:
        if override.is_interval_sweep():
            raise BadInput(
                f"{override.input_line}: a grid needs values, 2,4,8. hydra/sweeper=optuna searches an interval."
            )
        if override.is_discrete_sweep():
            try:
                counts[override.input_line] = sum(1 for _ in override.sweep_iterator())
            except ValueError as error:
                raise BadInput(
                    f"{override.input_line}: {error}. Write the values one after the other: 2,4,8."
                ) from error
    for line, count in counts.items():
        if not count:
            raise BadInput(f"{line}: an empty grid, it has no value. Write the values one after the other: 2,4,8.")
    jobs = math.prod(counts.values())
    if jobs > MOST and not confirmed:
        product = " x ".join(map(str, counts.values()))
        raise BadInput(
            f"{jobs:,} jobs ({product}) are more than {MOST:,}. Leave some values out, or set sweep.confirm=true if it is meant."
        )
