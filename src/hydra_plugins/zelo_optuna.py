"""A search: Optuna chooses each trial by what the earlier ones came to.

Hydra takes sweepers from the package `hydra_plugins` only. The trials are in a journal in the sweep's folder, so that the same
command goes on where it stopped. The values of trial n follow from the seed, n and the trials that had finished before it.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.zelo_composing import sharing
from hydra_plugins.zelo_jobs import MOST, failed, fault, flag, launch, words
from hydra_plugins.zelo_journal import alone, opened
from hydra_plugins.zelo_space import Space, searched
from hydra_plugins.zelo_upstream import Upstream, upstream

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import StudyDirection

    from zelo.facts import Facts

IMPORTANCE = "importance.json"
MEASURED_BY = "measured_by"  # what the journal notes of the study
DEV = "dev"
COLUMNS = {
    "dollars": "judges_usd",
    "seconds": "compute_seconds",
}  # objective -> figure of a job, where that has another name
DIRECTIONS = ("maximize", "minimize")
ANY_TIME = ("budget", "debug", "hardware", "logger", "sweep")  # what may change while a search goes on
FEWEST = 4  # finished trials from which on the importance of parameters is written


class OptunaSweeper(Sweeper):
    """Asks Optuna's TPE sampler for trials and tells it how they ended. One that fails counts as failed, and the others go on."""

    def __init__(
        self,
        *,
        n_trials: int,
        n_jobs: int | None,
        n_startup_trials: int,
        trials_per_upstream: int,
        seed: int,
        objectives: Mapping[str, str] | None,
        pruner: DictConfig | None,
        folder: str,
        params: Mapping[str, object] | None,
    ) -> None:
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.n_startup_trials, self.seed = n_startup_trials, seed
        self.objectives = {DEV: DIRECTIONS[0]} if objectives is None else objectives
        self.trials_per_upstream, self.pruner = trials_per_upstream, pruner
        self.folder, self.params = folder, params or {}
        self.upstream: Upstream | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra says here what is run, and how."""
        from hydra.core.plugins import Plugins

        self.context, self.chosen = sharing(hydra_context), config
        self.launching: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the trials that are missing.

        Raises BadInput, before any of them, for a setting that is none, an empty space, a range without values, a first trial
        that cannot run, and a journal of another search.
        """
        self._check_settings()
        _check_optuna()
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        params = [f"{key}={value}" for key, value in self.params.items()]
        space = searched(parser.parse_overrides([*params, *arguments]))
        self._check_pruner()
        first = self._first(space)
        if self.chosen.plan:
            launch(self.launching, [first], 0)
            return
        folder = Path(self.chosen.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")  # of what is experimental there
            study = opened(folder, self._described(space), self._directions())
            study.pruner = self._check_pruner() or study.pruner
            self._run_missing(study, space)
            self._conclude(folder, study)

    def _check_settings(self) -> None:
        from zelo import annotations
        from zelo.errors import BadInput
        from zelo.reporting.compared import FIGURES

        least_of = {"n_trials": 1, "n_jobs": 1, "n_startup_trials": 0, "trials_per_upstream": 1, "seed": 0}
        for name, least in least_of.items():
            value, place = self.chosen.hydra.sweeper[name], f"hydra.sweeper.{name}"
            for where, wrong in annotations.faults(value, int | None if name == "n_jobs" else int, place):
                raise BadInput(f"{where}{wrong}")
            if value is not None and value < least:
                raise BadInput(f"{place}={value}: at least {least}.")
        if self.n_trials > MOST and not flag(self.chosen, "confirm"):
            raise BadInput(
                f"hydra.sweeper.n_trials={self.n_trials:,} are more than {MOST:,}. Set sweep.confirm=true if it is meant."
            )
        if not isinstance(self.objectives, Mapping | DictConfig) or not self.objectives:
            raise BadInput(f"hydra.sweeper.objectives={self.objectives}: write {{dev: maximize, dollars: minimize}}.")
        known = (DEV, *COLUMNS, *FIGURES)
        for name, direction in self.objectives.items():
            if name not in known:
                raise BadInput(f"hydra.sweeper.objectives.{name}: no such figure. There are: {', '.join(known)}.")
            if direction not in DIRECTIONS:
                raise BadInput(
                    f"hydra.sweeper.objectives.{name}={direction}: a direction is {' or '.join(DIRECTIONS)}."
                )

    def _check_pruner(self) -> "BasePruner | None":
        """The pruner. Raises BadInput for what is none, and for objectives that a training's dev figure says nothing about."""
        from zelo.errors import BadInput
        from zelo.tracking import trial

        if self.pruner is None:
            return None
        if dict(self.objectives) != {DEV: DIRECTIONS[0]}:
            named = ", ".join(f"{name}: {direction}" for name, direction in self.objectives.items())
            raise BadInput(
                f"hydra.sweeper.objectives={{{named}}}: Optuna prunes by one objective, and a training tells dev alone. Leave"
                " hydra.sweeper.objectives or hydra.sweeper.pruner out."
            )
        return trial.pruner_of(self.pruner)

    def _directions(self) -> "list[StudyDirection]":
        from optuna.study import StudyDirection

        return [StudyDirection[direction.upper()] for direction in self.objectives.values()]

    def _first(self, space: Space) -> list[str]:
        """The overrides of the first trial of all, which has been composed and checked."""
        import optuna

        from zelo.errors import BadInput, ZeloError
        from zelo.tracking import sweep

        study = optuna.create_study(directions=self._directions(), sampler=self._sampler(0))
        values = study.ask(space.distributions).params
        job = space.job(values)
        keep_going = flag(self.chosen, "keep_going")
        if error := fault(self.context, self.chosen, job, compose_only=keep_going):
            others = isinstance(error, ZeloError) and not keep_going  # which can be composed
            advice = "; sweep.keep_going=true runs the other trials" if others else ""
            raise BadInput(f"first trial, {sweep.said(job)}: {words(error).rstrip('.')}. Nothing was run{advice}.")
        if self.trials_per_upstream > 1:
            place = f"hydra.sweeper.trials_per_upstream={self.trials_per_upstream}"
            self.upstream = upstream(self.context, self.chosen, space, values, place)
            print(self.upstream.said(self.trials_per_upstream))
        return job

    def _sampler(self, number: int, kept: "dict[str, Any] | None" = None) -> "BaseSampler":
        """Of one trial: a search that stopped and went on draws what an unbroken one would have drawn. kept: is not drawn."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import PartialFixedSampler, TPESampler

        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            drawn = TPESampler(n_startup_trials=self.n_startup_trials, constant_liar=True, seed=seed)
            return PartialFixedSampler(kept, drawn) if kept else drawn

    def _described(self, space: Space) -> "Facts":
        """What has to be the same when a search goes on."""
        fixed = [line for line in space.fixed if line.lstrip("+~").partition("=")[0].partition(".")[0] not in ANY_TIME]
        return {"space": space.said(), "objectives": dict(self.objectives), "fixed": sorted(fixed)}

    def _run_missing(self, study: "Study", space: Space) -> None:
        """The trials that an earlier command has begun and not ended, then new ones."""
        from optuna.trial import TrialState

        begun = []
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            if trial.params.keys() == space.distributions.keys():
                begun.append((trial.number, trial.params))
            else:  # the command ended while it was drawn
                study.tell(trial.number, state=TrialState.FAIL)
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        missing = self.n_trials - len(begun) - len(study.get_trials(states=ended, deepcopy=False))
        for batch in _consecutive(begun):
            self._run(study, space, batch)
        while missing > 0:
            batch = [self._ask(study, space) for _ in range(min(self._at_once(), missing))]
            self._run(study, space, batch)
            missing -= len(batch)

    def _at_once(self) -> int:
        """Trials that are chosen together."""
        if self.n_jobs is not None:
            return self.n_jobs
        given = self.chosen.hydra.launcher.get("n_jobs", 1)
        return given if given > 0 else os.cpu_count() or 1  # joblib's -1

    def _ask(self, study: "Study", space: Space) -> "tuple[int, dict[str, Any]]":
        """Number and values of a new trial."""
        study.sampler = self._sampler(len(study.trials), self._kept(study))
        trial = study.ask(space.distributions)
        return trial.number, trial.params

    def _kept(self, study: "Study") -> "dict[str, Any]":
        """The values upstream that the next trial keeps of the one before it: not at a turn, nor of one that failed."""
        from optuna.trial import TrialState

        if self.upstream is None or len(study.trials) % self.trials_per_upstream == 0:
            return {}
        before = study.trials[-1]
        return {} if before.state == TrialState.FAIL else {name: before.params[name] for name in self.upstream.kept}

    def _run(self, study: "Study", space: Space, batch: "Sequence[tuple[int, dict[str, Any]]]") -> None:
        """Runs trials whose numbers follow each other, and tells the study how they ended."""
        from optuna.trial import TrialState

        from zelo.errors import BadInput
        from zelo.store.references import PRUNED
        from zelo.tracking import sweep

        ended = launch(self.launching, [space.job(values) for _, values in batch], batch[0][0])
        unmeasured: list[BadInput] = []
        for (number, _), job in zip(batch, ended, strict=True):
            if not failed(job) and _manifest(job).get("status") == PRUNED:
                study.tell(number, state=TrialState.PRUNED)
                continue
            try:
                values = None if failed(job) else self._figures(study, number, job)
            except BadInput as error:
                unmeasured.append(error)
                values = None
            study.tell(number, values, state=TrialState.FAIL if values is None else None)
        if unmeasured and not any(one.state == TrialState.COMPLETE for one in study.trials):
            raise unmeasured[0]  # nor would the next trials be measured
        sweep.CURRENT.failures += unmeasured

    def _figures(self, study: "Study", number: int, job: JobReturn) -> list[float]:
        """The objectives of a job that has finished. Raises BadInput where one is not known, or dev is measured differently."""
        from zelo.errors import BadInput
        from zelo.tracking import sweep

        manifest = _manifest(job)
        known = manifest.get("compared", {}) | {DEV: sweep.selecting(manifest)}
        found = {name: known.get(COLUMNS.get(name, name)) for name in self.objectives}
        for name, value in found.items():
            if value is None:
                reason = (
                    "it stops before anything is measured on dev, or dev has no labels"
                    if name == DEV
                    else "it is not known"
                )
                raise BadInput(f"job {number} finished without the objective {name}: {reason}.")
        if DEV in found:
            by = sweep.selected_by(manifest)
            if study.user_attrs.setdefault(MEASURED_BY, by) != by:
                earlier = study.user_attrs[MEASURED_BY]
                raise BadInput(f"job {number} is measured by {by}, and the trials before it by {earlier}.")
            study.set_user_attr(MEASURED_BY, by)
        return [float(value) for value in found.values()]

    def _conclude(self, folder: Path, study: "Study") -> None:
        """Says what the trials came to, and leaves the importance of the parameters beside them."""
        from optuna.trial import TrialState

        from zelo.tracking import sweep, whole_file

        states = [trial.state for trial in study.trials]
        complete, pruned, wrong = map(states.count, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        said = f", {pruned} were pruned" * bool(pruned) + f", {wrong} failed" * bool(wrong)
        print(f"\n{complete} of {self.n_trials} trials have finished{said}")
        if self.upstream:
            print(self.upstream.reused([sweep.manifest_of(folder / row["folder"]) for row in sweep.read(folder)]))
        if len(self.objectives) > 1 and complete:
            front = ", ".join(str(trial.number) for trial in study.best_trials)
            print(f"Jobs that no other beats in all of {', '.join(self.objectives)} (Pareto front): {front}")
        if found := self._importance(study):
            whole_file.replace(folder / IMPORTANCE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
            for name, shares in found.items():
                said = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
                print(f"Share of the differences in {name} that comes from each parameter (fANOVA): {said}")
        sweep.write_page(folder)

    def _importance(self, study: "Study") -> dict[str, dict[str, float]]:
        """Objective -> parameter, as sweep.csv names it -> its share of the variance (fANOVA: Hutter et al. 2014)."""
        import optuna
        from optuna.importance import FanovaImportanceEvaluator
        from optuna.trial import TrialState

        from zelo.tracking import sweep

        complete = study.get_trials(states=[TrialState.COMPLETE])
        if len(complete) < FEWEST or len(complete[0].params) < 2:
            return {}
        names, found = sweep.short_names(sweep.CURRENT.varied), {}
        for place, name in enumerate(self.objectives):
            if len({trial.values[place] for trial in complete}) == 1:
                continue
            shares = optuna.importance.get_param_importances(
                study,
                evaluator=FanovaImportanceEvaluator(seed=0),
                target=lambda trial, place=place: trial.values[place],
            )
            found[name] = {names[key]: float(share) for key, share in shares.items()}
        return found


def _manifest(job: JobReturn) -> "Facts":
    """What a job that has raised nothing left in its run directory."""
    from zelo.tracking import sweep

    assert job.hydra_cfg is not None
    return sweep.manifest_of(Path(job.hydra_cfg.hydra.runtime.output_dir))


def _check_optuna() -> None:
    """Raises BadInput where there is no Optuna, or one that is too old; keeps its notices to itself."""
    from zelo.errors import BadInput

    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"hydra/sweeper=optuna needs optuna 4.9 or newer ({error}): pip install 'zelo[sweeps]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _consecutive(trials: "Sequence[tuple[int, dict[str, Any]]]") -> "list[list[tuple[int, dict[str, Any]]]]":
    """The trials in batches whose numbers follow each other: a launcher counts its jobs up."""
    batches: list[list[tuple[int, dict[str, Any]]]] = []
    for trial in trials:
        if batches and batches[-1][-1][0] == trial[0] - 1:
            batches[-1].append(trial)
        else:
            batches.append([trial])
    return batches
