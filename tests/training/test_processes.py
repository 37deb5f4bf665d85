"""Several processes train as one: the same gradient, each example once, and none is left behind whatever happens.

A process is started as the command starts it, from a job in a folder; what it makes is the toy.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_training as toys
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_processes import TWO, losses, train_with_each

from zelo.errors import BadInput, ZeloError
from zelo.fingerprint.modules import ALLOW_VARIABLE
from zelo.pipeline.instantiate import rebuild
from zelo.training import launch
from zelo.training.hardware import Hardware

FAKES = str(Path(__file__).parents[1] / "fakes")  # of modules that a test's own process imports

pytestmark = pytest.mark.long
NODE: dict[str, Any] = {
    "_target_": "toy_processes.Toys",
    "inputs": {},
    "hardware": {"_target_": "zelo.training.hardware.Hardware"},
}
THREE_SHARDED = toys.ONE | {"devices": 3, "strategy": "fsdp2", "micro_batch": 1}


@pytest.fixture(autouse=True)
def own_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_VARIABLE, "toy_processes")
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join([FAKES, os.environ.get("PYTHONPATH", "")]),
    )


def job(folder: Path, hardware: dict[str, Any], dropout: float = 0.0, deed: str | None = None, at: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    node = NODE | {"hardware": NODE["hardware"] | hardware, "dropout": dropout, "deed": deed, "at": at}
    launch.write(folder / launch.FOLDER, "toy", node, {})
    return folder / launch.FOLDER


def together(folder: Path, hardware: dict[str, Any], **options: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    made = job(folder, hardware, **options)
    launch.run(made, Hardware(**hardware), lambda line: None)
    return load_file(made / "weights.safetensors"), json.loads((made / launch.TRAINED).read_text())


def compare(found: tuple[dict[str, Tensor], dict[str, Any]], model: nn.Module, curve: list[dict[str, Any]]) -> None:
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found[0][name], weight, rtol=1e-5, atol=1e-6)
    assert [point["step"] for point in found[1]["curve"]] == [point["step"] for point in curve]
    assert [p["dev"] for p in found[1]["curve"]] == pytest.approx([p["dev"] for p in curve], abs=1e-6)
    for ours, theirs in zip(found[1]["curve"], curve, strict=True):
        assert ours["train_loss"] == (theirs["train_loss"] and pytest.approx(theirs["train_loss"], rel=1e-5))


def gone(folder: Path) -> bool:
    """Whether no process of a job is left."""
    return not any(Path(f"/proc/{path.read_text()}").exists() for path in folder.glob("pid-*"))


def soon(true: Any) -> bool:
    end = time.monotonic() + 180
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def test_two_processes_train_as_one_and_read_each_example_once(tmp_path: Path) -> None:
    found = together(tmp_path / "two", TWO)
    model, trained = toys.train(tmp_path / "one", dropout=0.0)
    compare(found, model, trained.curve)
    read = [json.loads(path.read_text()) for path in sorted((tmp_path / "two").rglob("read-*.json"))]
    epochs = [sorted(part[epoch * 9 + n] for part in read for n in range(9)) for epoch in range(3)]
    assert epochs == [list(range(toys.QUERIES))] * 3


def test_with_every_loss_two_processes_train_as_one(tmp_path: Path) -> None:
    """52 steps in float32; batches of five queries and three are shared unequally."""
    (tmp_path / "one").mkdir()
    train_with_each(tmp_path / "one", toys.ONE, True)
    made = tmp_path / launch.FOLDER
    node = {"_target_": "toy_processes.EachLoss", "inputs": {}, "hardware": NODE["hardware"] | TWO}
    launch.write(made, "toy", node, {})
    launch.run(made, Hardware(**TWO), lambda line: None)
    for name in losses():
        ours, theirs = (json.loads((folder / f"{name}.json").read_text()) for folder in (made, tmp_path / "one"))
        assert [point["step"] for point in ours] == [point["step"] for point in theirs]
        assert ours[-1]["step"] == 52
        for value in ("train_loss", "dev"):
            pairs = [(p[value], q[value]) for p, q in zip(ours[1:], theirs[1:], strict=True)]
            assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairs), (name, value, pairs)
        weights, others = (load_file(folder / f"{name}.safetensors") for folder in (made, tmp_path / "one"))
        for key, weight in weights.items():
            torch.testing.assert_close(weight, others[key], rtol=1e-5, atol=1e-6, msg=name)


def test_sharded_weights_read_in_pieces_learn_the_same(tmp_path: Path) -> None:
    """Three processes for batches of four queries and a last one of two: shares are unequal, one is empty."""
    found = together(tmp_path / "three", THREE_SHARDED)
    model, trained = toys.train(tmp_path / "one", dropout=0.0)
    compare(found, model, trained.curve)


def test_one_process_may_part_what_does_not_fit(tmp_path: Path) -> None:
    found = together(tmp_path / "two", TWO, deed="no room")
    model, trained = toys.train(tmp_path / "one", dropout=0.0)
    compare(found, model, trained.curve)


@pytest.mark.parametrize("hardware", [TWO, toys.ONE | {"devices": 2, "strategy": "fsdp2"}])
def test_a_killed_training_of_two_goes_on_with_the_same_weights(hardware: dict[str, Any], tmp_path: Path) -> None:
    """Dropout differs from process to process, so the random state of each is kept."""
    with pytest.raises(ZeloError, match="Process 1 of 2 was ended by signal 9"):
        together(tmp_path / "broken", hardware, dropout=0.3, deed="kill")
    assert soon(lambda: gone(tmp_path / "broken" / launch.FOLDER))
    weights, trained = together(tmp_path / "broken", hardware, dropout=0.3)
    whole, unbroken = together(tmp_path / "whole", hardware, dropout=0.3)
    assert trained["resumed_at"] == 8
    assert trained["curve"] == unbroken["curve"]
    assert all(np.array_equal(weights[name], whole[name]) for name in whole)


@pytest.mark.parametrize("at", [0, 1])
def test_an_error_in_one_process_is_raised_and_ends_all(at: int, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^loss=toy: not this one\.$"):
        together(tmp_path / "refused", TWO, deed="refuse", at=at)
    assert soon(lambda: gone(tmp_path / "refused" / launch.FOLDER))


def test_an_unforeseen_error_says_in_which_process_and_where(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in process 1 of 2: ValueError: a shape is wrong") as caught:
        together(tmp_path / "broken", TWO, deed="break")
    assert "in _break" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("ended", "match"),
    [
        ({"1": 1, "0": -15}, "in process 1 of 2: ValueError: a shape"),  # the agent ended process 0
        ({"1": 1, "0": -9}, "Process 0 of 2 was ended by signal 9"),  # process 1 lost its peer
    ],
)
def test_the_first_fault_is_told_and_not_what_followed(
    ended: dict[str, int], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job(tmp_path, TWO)
    error = {"rank": 1, "kind": "ValueError", "message": "ValueError: a shape", "time": 1.0, "traceback": ""}
    (folder / launch.ENDED).write_text(json.dumps(ended))
    (folder / "error-1.json").write_text(json.dumps(error))
    monkeypatch.setattr(sys, "executable", "false")  # an agent that fails at once
    with pytest.raises((RuntimeError, ZeloError), match=match):
        launch.run(folder, Hardware(**TWO), lambda line: None)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 1), (signal.SIGKILL, -9)])
def test_processes_end_with_the_one_that_started_them(number: int, status: int, tmp_path: Path) -> None:
    folder = job(tmp_path / "hanging", TWO, deed="hang")
    code = (
        "import sys, pathlib, toy_processes as t; "
        "t.launch.run(pathlib.Path(sys.argv[1]), t.Hardware(**t.TWO), lambda line: None)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.PIPE, text=True)
    assert soon(lambda: len(list(folder.glob("pid-*"))) == 2)
    assert not gone(folder)
    parent.send_signal(number)
    _, said = parent.communicate(timeout=20)
    assert parent.returncode in (status, -number)
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    assert soon(lambda: gone(folder))


@pytest.mark.parametrize("whom", ["agent", "all"])
def test_when_the_agent_or_all_are_killed_none_is_left_and_it_is_said(whom: str, tmp_path: Path) -> None:
    folder = job(tmp_path / "hanging", TWO, deed="hang")

    def kill() -> None:
        assert soon(lambda: len(list(folder.glob("pid-*"))) == 2)
        workers = [int(path.read_text()) for path in folder.glob("pid-*")]
        agent = int(Path(f"/proc/{workers[0]}/stat").read_text().rpartition(")")[2].split()[1])
        for process in [agent] if whom == "agent" else [*workers, agent]:
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ZeloError, match="was ended by signal 9"):
        launch.run(folder, Hardware(**TWO), lambda line: None)
    killer.join()
    assert soon(lambda: gone(folder))


def command(home: Path, *overrides: str, start: Sequence[str] = ("-m", "zelo")) -> subprocess.Popen[str]:
    fixed = ["dataset=beir", "dataset.path=FOLDER", "top_k=10", "until=train_embedding", "embedding.trainer.epochs=1"]
    arguments = [sys.executable, *start, *fixed, "embedding.loader.queries=3", *overrides]
    return subprocess.Popen(
        arguments,
        env=os.environ | {"ZELO_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def curves(home: Path) -> dict[str, list[tuple[int, float]]]:
    """By the table's name: steps and what dev says of them."""
    return {
        path.parent.name: [(point["step"], round(point["dev"], 5)) for point in json.loads(path.read_text())]
        for path in home.glob("train/*/curve.json")
    }


def test_a_sweep_of_two_jobs_with_two_processes_makes_what_one_process_makes(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables have the same names, too; and no job is begun again by a process of another."""
    monkeypatch.chdir(tmp_path)
    said, _ = command(tmp_path / "two", "-m", "seed=0,1", "hardware.devices=2").communicate(timeout=600)
    assert said.count("train_embedding      computed") == 2, said
    assert said.count("\nJob ") == 2
    assert not list(tmp_path.glob(f"two/train/*/{launch.FOLDER}"))
    command(tmp_path / "one", "-m", "seed=0,1").communicate(timeout=600)
    assert curves(tmp_path / "two") == curves(tmp_path / "one")
    assert len(curves(tmp_path / "two")) == 2
    logs = [path.read_text().splitlines() for path in tmp_path.glob("multirun/zelo/*/0-seed=0/log.jsonl")]
    unlike = {"name": 0, "time": 0, "train/pairs_per_second": 0}
    read = [[json.loads(line) for line in lines] for lines in logs]
    two, one = ([line | unlike for line in lines if line["name"] == "embedding"] for lines in read)
    assert one
    for line, other in zip(two, one, strict=True):
        assert line == pytest.approx(other, rel=1e-4)


def test_torchrun_on_two_machines_trains_as_one_process(
    tiny_beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        meeting = f"--rdzv-endpoint=localhost:{free.getsockname()[1]}"
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        "--rdzv-backend=c10d",
        "--local-addr=localhost",
    ]
    start = [*torchrun, meeting, "-m", "zelo"]
    machines = [command(tmp_path / "two", "hardware.num_nodes=2", start=start) for _ in range(2)]
    said = [machine.communicate(timeout=600)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sum(text.count("train_embedding      computed") for text in said) == 1, said
    command(tmp_path / "one").communicate(timeout=600)
    assert curves(tmp_path / "two") == curves(tmp_path / "one")


def test_a_job_makes_components_only(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"_target_ 'os\.system' is not allowed"):
        rebuild({"_target_": "os.system"}, "stages.train")


def test_what_a_process_starts_from_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-of-mine-1234567")
    launch.write(tmp_path / "job", "a", {"key": "${oc.env:MY_API_KEY}"}, {})
    assert "sk-of-mine" not in (tmp_path / "job" / launch.JOB).read_text()
    assert (tmp_path / "job").stat().st_mode & 0o077 == 0
