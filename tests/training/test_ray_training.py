"""Two nodes of a Ray cluster train as one process; one that is lost begins again from the last checkpoint."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_training as toys
from safetensors.torch import load_file
from toy_processes import TWO, Toys, part

from zelo.errors import BadInput, JobFailed
from zelo.executors import ray_train
from zelo.executors.ray import Ray
from zelo.store.store import Store
from zelo.training import launch
from zelo.training.hardware import Hardware

pytestmark = pytest.mark.long
SMALL: dict[str, Any] = {"object_store_memory": 80_000_000}
NODES = TWO | {"devices": 1, "num_nodes": 2}


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ray]:
    """Of a head without CPUs and two nodes of one each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    fakes = str(Path(__file__).parents[1] / "fakes")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([fakes, os.environ.get("PYTHONPATH", "")]))
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **SMALL)
    made = Ray(address=cluster.address, retries=1)
    with Store(tmp_path / "store").active():
        yield made
    made.close()
    cluster.shutdown()


def train(executor: Ray, made: Path, hardware: dict[str, Any], deed: str | None) -> list[Any]:
    """What was logged."""
    lines = list[Any]()
    made.mkdir(parents=True)
    stage = Toys(inputs={}, hardware=Hardware(**hardware), dropout=0.0, deed=deed, at=1)
    with launch.lines(made, lines.append) as pass_on:
        executor.together(partial(part, stage, made), 2, 1, False, pass_on)
    return lines


def test_two_nodes_train_as_one_process_and_go_on_when_one_is_lost(executor: Ray, tmp_path: Path) -> None:
    """With copies of the weights, and one process killed at the ninth step; with weights spread over both."""
    with pytest.raises(BadInput, match="room for 2 of 3 processes"):
        executor.check_room(3, 1, False)
    model, trained = toys.train(tmp_path / "one", dropout=0.0)
    for hardware, deed, resumed_at in [
        (NODES | {"strategy": "ddp"}, "kill", 8),
        (NODES | {"strategy": "fsdp2"}, None, None),
    ]:
        made = tmp_path / hardware["strategy"] / launch.FOLDER
        lines = train(executor, made, hardware, deed)
        for key, weight in load_file(made / "weights.safetensors").items():
            torch.testing.assert_close(weight, model.state_dict()[key], rtol=1e-5, atol=1e-6)
        assert {line["step"] for line in lines} == set(range(16))
        found = json.loads((made / launch.TRAINED).read_text())
        assert found["resumed_at"] == resumed_at
        for ours, theirs in zip(found["curve"], trained.curve, strict=True):
            assert ours["step"] == theirs["step"]
            assert ours["dev"] == pytest.approx(theirs["dev"], abs=1e-6)
            assert ours["train_loss"] == (theirs["train_loss"] and pytest.approx(theirs["train_loss"], rel=1e-5))


def test_what_one_process_refuses_is_told_and_not_what_followed() -> None:
    train = pytest.importorskip("ray.train", reason="Ray is not installed: pip install 'zelo[ray]'")
    bug, refused, gone = JobFailed("a bug in a worker", 1), BadInput("loss=toy: not this one."), OSError("no room")
    for failures, cause in [({0: bug, 1: refused}, refused), ({0: gone, 1: bug}, gone)]:
        assert ray_train.cause(train.WorkerGroupError("", failures)) is cause
    for error in (
        train.WorkerGroupError("", {0: refused, 1: ray_train.ProcessLost()}),
        train.ControllerError(ValueError()),
    ):
        assert isinstance(ray_train.cause(error), ray_train.ProcessLost)
