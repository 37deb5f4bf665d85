"""A training that a pruner of Optuna ends: what the trial's journal, the store and the sweep know of it."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import toy_training
from commands import command
from torch import Tensor

from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.losses.listwise_kl import ListwiseKL
from zelo.store.store import Store
from zelo.tracking import trial

optuna = pytest.importorskip("optuna")

STOPPING = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 1.1, n_warmup_steps: 1}"


@dataclass
class Kept:
    """A logger that keeps what it gets."""

    lines: list[tuple[str, int]] = field(default_factory=list)

    def check(self) -> None:
        """Nothing is needed."""

    def log(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """One line."""
        self.lines.append((name, step))


def trials(journal: Path, number: int) -> list[Any]:
    """The trials of the journal, of which so many are begun now."""
    study = optuna.create_study(
        study_name=trial.STUDY, storage=trial.storage_of(journal), direction="maximize", load_if_exists=True
    )
    for _ in range(number):
        study.ask()
    return study.trials


def test_a_training_that_falls_behind_ends_and_leaves_no_table(tmp_path: Path) -> None:
    """Two good trainings are the median; a third that learns the opposite ends in its second epoch."""
    journal, logger, made = tmp_path / trial.JOURNAL, Kept(), Store(tmp_path / "home")
    trials(journal, 3)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=3)
    for number, lr in enumerate((0.05, 0.05, -0.05)):
        watch = trial.Watched(logger, "toy", pruner, journal, number)

        def make(folder: Path, earlier: object, watch: trial.Watched = watch, lr: float = lr) -> Facts:
            def report(step: int, metrics: Mapping[str, float]) -> None:
                watch.log("toy", step, metrics)
                watch.log("another", step, metrics)

            toy_training.train(folder, lr=abs(lr), report=report, loss=None if lr > 0 else Backwards())
            return {}

        if lr > 0:
            made.obtain("train", str(number), make)
            study = optuna.load_study(study_name=trial.STUDY, storage=trial.storage_of(journal))
            study.tell(number, trials(journal, 0)[number].intermediate_values[6])
        else:
            with pytest.raises(trial.Pruned, match="toy at validation 3, epoch 1: judge_agreement/dev/nDCG@10 0"):
                made.obtain("train", str(number), make)
    assert [table.identity for table in made.tables()] == ["0", "1"]
    last = trials(journal, 0)[-1]
    assert list(last.intermediate_values) == [0, 1, 2, 3]
    assert last.user_attrs[trial.STEPS] == [0, 2, 4, 7]
    assert logger.lines[-1] == ("toy", 7)
    again = trial.Watched(logger, "toy", pruner, journal, 2)
    with pytest.raises(trial.Pruned):  # the trial was interrupted, and its training begins again
        again.log("toy", 0, {"epoch": 0, f"{trial.FIGURE}nDCG@10": 0.5})
    assert trials(journal, 0)[-1].intermediate_values == last.intermediate_values


class Backwards(ListwiseKL):
    """A loss that teaches the opposite."""

    def __init__(self) -> None:
        super().__init__(sharpness=2.0, temperature=None)

    def forward(self, scores: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        return -super().forward(scores, targets, weights, mask)


def test_jobs_without_a_student_cannot_be_pruned() -> None:
    with pytest.raises(BadInput, match="these jobs train no student, so there is nothing to prune"):
        trial.student_of([], "zelo")


@pytest.mark.long
@pytest.mark.usefixtures("own_processes")
def test_the_command_prunes_in_this_process_and_in_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trial by the basic launcher, and one more of the same search by joblib."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZELO_HOME", str(tmp_path / "home"))
    assert command("-m", "hydra/sweeper/pruner=median", "seed=1,2") == 2
    assert capsys.readouterr().err.endswith("write hydra/sweeper=optuna, too.\n")
    given = ["-m", "experiment=smoke", "top_k=4", "hydra/sweeper=optuna", STOPPING]
    given += ["embedding.optimizer.lr=tag(log,interval(1e-5,1e-3))"]
    assert command(*given, "until=rate") == 2
    assert "these jobs train no student" in capsys.readouterr().err
    assert command(*given, "optimize=bm25") == 2
    assert "no student is trained for optimize=bm25" in capsys.readouterr().err
    assert not (tmp_path / "multirun").exists()
    given += ["until=train_embedding"]
    assert command(*given, "hydra.sweeper.n_trials=1") == 0
    assert command(*given, "hydra.sweeper.n_trials=2", "hydra/launcher=joblib") == 0
    capsys.readouterr()
    assert command(*given, "hydra.sweeper.n_trials=2") == 0
    said = capsys.readouterr().out
    assert "Job 0:" not in said, "it is not run again"
    assert "0 of 2 trials have finished, 2 were pruned" in said
    folder = tmp_path / "multirun/smoke/search"
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    assert [row["status"] for row in rows] == ["pruned", "pruned"]
    assert all("embedding at validation 1, epoch 0" in row["error"] and not row["value"] for row in rows)
    assert "2 of 2 jobs pruned" in (folder / "sweep.html").read_text()
    for path in folder.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        assert manifest["pruned"]["validation"] == 1
        assert "train_embedding" not in manifest["stages"]
    assert not list((tmp_path / "home").glob("train/*")), "nothing half-made is left"
