"""A sweep over every combination of values, checked as a whole before its first job starts.

Hydra takes sweepers from the package `hydra_plugins` only.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.zelo_composing import SharedLoader

MOST = 1000  # jobs of a sweep that nobody has confirmed


class GridSweeper(BasicSweeper):
    """Hydra's own grid, for which nothing starts before every job has been composed and checked.

    With `sweep.keep_going` each job is checked when its turn comes, and one that cannot be composed is left out.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra says here what is run, and how."""
        loader = SharedLoader(hydra_context.config_loader)
        context = HydraContext(config_loader=loader, callbacks=hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> object:
        """Raises BadInput for a grid without a job, for one of more than MOST jobs that is not confirmed, and for a bad job."""
        from zelo.tracking import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        _refuse_size(parser.parse_overrides([*self._parse_config(), *arguments]), _flag(self.config, "confirm"))
        sweep.read(Path(self.config.hydra.sweep.dir))  # of an earlier one in this folder
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes and checks the jobs of all batches when the first one is due."""
        if self.batch_index > 1:
            return
        from zelo.errors import BadInput
        from zelo.tracking import sweep

        assert self.config is not None
        assert self.overrides is not None
        keep_going = _flag(self.config, "keep_going")
        refused: list[tuple[Sequence[str], Exception]] = []
        for jobs in self.overrides:
            wrong = [(job, error) for job in jobs if (error := self._fault(job, keep_going)) is not None]
            refused += wrong
            if keep_going:
                left_out = [job for job, _ in wrong]
                jobs[:] = [job for job in jobs if job not in left_out]  # type: ignore[index]
        number = sum(map(len, self.overrides))
        if refused and (not keep_going or not number):
            job, error = refused[0]
            some = f" {len(refused)} of {number} jobs cannot run." if len(refused) > 1 and not keep_going else ""
            advice = "; sweep.keep_going=true runs the others" if len(refused) < number else ""
            raise BadInput(f"job {sweep.said(job)}: {_words(error).rstrip('.')}.{some} Nothing was run{advice}.")
        for place, (job, error) in enumerate(refused):
            sweep.leave_out(self.config, number + place, job, BadInput(f"job {sweep.said(job)}: {_words(error)}"))

    def _fault(self, job: Sequence[str], keep_going: bool) -> Exception | None:
        """Why a job cannot be run; with `keep_going` only, why it cannot be composed."""
        from zelo import main
        from zelo.errors import ZeloError

        assert self.hydra_context is not None
        assert self.config is not None
        try:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
            if not keep_going:
                main.check(config)
        except (ZeloError, HydraException, OmegaConfBaseException) as error:
            return error
        return None


def _refuse_size(overrides: Sequence[Override], confirmed: bool) -> None:
    from zelo.errors import BadInput

    counts = {}
    for override in overrides:
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


def _flag(config: DictConfig, name: str) -> bool:
    from zelo import annotations
    from zelo.errors import BadInput

    for place, fault in annotations.faults(config.sweep[name], bool, f"sweep.{name}"):
        raise BadInput(f"{place}{fault}")
    return config.sweep[name]


def _words(error: Exception) -> str:
    from zelo import main

    return main.explain(error)[1]
