"""How a student is trained: what a batch holds, and settings that cannot be."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from toy_training import ONE

from zelo.errors import BadInput
from zelo.training import world
from zelo.training.hardware import Hardware
from zelo.training.sampler import QueryBatches
from zelo.training.trainer import Trainer


@pytest.mark.parametrize("count", [1, 3, 5, 8, 12, 20])
def test_a_sample_holds_no_document_twice_and_padding_only_where_documents_end(count: int) -> None:
    loader = QueryBatches(queries=1, documents=8)
    mask = np.arange(20)[None] < count
    targets = np.where(mask, np.linspace(1, 0.1, 20)[None], 0).astype(np.float32)
    for seed in range(50):
        columns = loader.pick(targets, mask, np.random.default_rng(seed))
        assert columns is not None
        assert len(set(columns[0].tolist())) == columns.shape[1] == 8
        assert mask[0, columns[0]].sum() == min(count, 8)


def test_half_of_a_sample_is_of_the_best_ten() -> None:
    targets = np.random.default_rng(0).random((16, 100)).astype(np.float32)
    columns = QueryBatches(queries=16, documents=8).pick(targets, np.ones((16, 100), bool), np.random.default_rng(0))
    assert columns is not None
    rank = (-targets).argsort(1).argsort(1)
    assert (np.take_along_axis(rank, columns, 1)[:, :4] < 10).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("precision", "8-bit"),
        ("validations_per_epoch", 0),
        ("gradient_clip", -1.0),
        ("mixtures", [0.5, 1.0]),
        ("callbacks.stop", 3),
    ],
)
def test_bad_settings_of_the_trainer_are_refused(field: str, value: object) -> None:
    settings = {
        "epochs": 1,
        "precision": "32-true",
        "gradient_clip": 1.0,
        "validations_per_epoch": 2,
        "mixtures": [],
        "callbacks": {},
    }
    name, _, below = field.partition(".")
    with pytest.raises(BadInput, match=f"trainer.{field}="):
        Trainer(**(settings | {name: {below: value} if below else value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accelerator", "tpu"),
        ("devices", 0),
        ("num_nodes", 0),
        ("strategy", "deepspeed_stage_2"),
        ("strategy", "dp"),
        ("micro_batch", 0),
    ],
)
def test_bad_settings_of_the_hardware_are_refused(field: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"hardware.{field}="):
        Hardware(**{**ONE, field: value})  # type: ignore[arg-type]


TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "WORLD_SIZE": "4"}
STARTED: dict[str, tuple[dict[str, str], dict[str, Any], bool, bool, str | None]] = {
    "alone": ({}, {"devices": 4}, True, False, None),
    "for machines": (
        {},
        {"num_nodes": 2, "devices": 4},
        False,
        False,
        "torchrun --nnodes=2 --nproc-per-node=4 .*-m zelo",
    ),
    "by srun": ({"SLURM_STEP_NUM_TASKS": "4"}, {"devices": 4}, False, False, "write srun --ntasks-per-node=1 torchrun"),
    "by torchrun": (TORCHRUN, {"devices": 2, "num_nodes": 2}, False, False, None),
    "by torchrun, too many": (TORCHRUN, {"devices": 2}, False, False, "hardware.num_nodes=1 is 2: make them equal"),
    "by torchrun, a sweep": (TORCHRUN, {"devices": 4}, True, False, "write zelo -m"),
    "for Ray": ({"SLURM_STEP_NUM_TASKS": "4"}, {"devices": 2, "num_nodes": 4}, False, True, None),
    "for Ray, by torchrun": (TORCHRUN, {"devices": 4}, False, True, "start zelo once"),
}


@pytest.mark.parametrize("case", STARTED)
def test_a_command_is_served_or_told_how_to_be_started(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, hardware, sweeps, places, words = STARTED[case]
    for name in (*TORCHRUN, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=words) if words else nullcontext():
        world.check(Hardware(**ONE | hardware), sweeps=sweeps, places=places)
