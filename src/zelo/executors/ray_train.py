"""The processes of a training on a Ray cluster, by Ray Train; each trains with Lightning."""

import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from zelo.errors import BadInput, JobFailed, ZeloError
from zelo.executors import worker
from zelo.executors.worker import SentWork

if TYPE_CHECKING:
    from ray.train import ScalingConfig

AFFECTS_RESULTS = False  # Where a process trains changes no table.

LOOK = 0.5  # seconds between two looks at how far the processes are
LONG = timedelta(days=30)  # that one process may wait for another
PLACED: list[bool] = []  # of a process that Ray Train has started


class ProcessLost(Exception):
    """A process or its machine has gone."""


def scaling(nodes: list[dict[str, Any]], machines: int, each: int, gpu: bool) -> "ScalingConfig":
    """What Ray Train is asked for. nodes: those of a cluster, as ray.nodes() has them.

    On CPUs a process gets its share of the cores of a machine. Raises BadInput where the cluster has no room.
    """
    from ray.train import ScalingConfig

    kind = "GPU" if gpu else "CPU"
    there = [int(node["Resources"].get(kind, 0)) for node in nodes if node["Alive"]]
    share = 1 if gpu else max(min((count for count in there if count), default=1) // each, 1)
    room = sum(count // share for count in there)
    if room < machines * each:
        raise BadInput(
            f"hardware.devices={each} hardware.num_nodes={machines}: the Ray cluster has {sum(there)} {kind}s, room for {room}"
            f" of {machines * each} processes. Start Ray on more machines, or ask for fewer."
        )
    return ScalingConfig(num_workers=machines * each, use_gpu=gpu, resources_per_worker={kind: share})


def this_machine(gpu: bool) -> dict[str, Any]:
    """What a cluster of this machine alone would have, as of a node of ray.nodes()."""
    if not gpu:
        return {"Alive": True, "Resources": {"CPU": os.cpu_count() or 1}}
    import torch

    return {"Alive": True, "Resources": {"GPU": torch.cuda.device_count()}}


def run(job: SentWork, scaling: "ScalingConfig", meanwhile: Callable[[], None]) -> None:
    """Runs the job in all processes; returns when they have ended well. Raises ProcessLost, or what one of them raised.

    meanwhile: called from time to time.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(LOOK))
    os.environ.setdefault(
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"
    )  # a machine that is taken away is one that is lost
    from ray.train import FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    backend = "cpu:gloo,cuda:nccl" if scaling.use_gpu else "gloo"
    ended: list[Exception | None] = []
    with TemporaryDirectory() as notes:  # of Ray Train, which keeps no checkpoint here
        once = FailureConfig(max_failures=0, max_preemption_failures=0, controller_failure_limit=0)
        trainer = TorchTrainer(
            partial(_part, job),
            scaling_config=scaling,
            torch_config=TorchConfig(backend=backend, timeout_s=int(LONG.total_seconds())),
            run_config=RunConfig(name="zelo", storage_path=notes, failure_config=once),
        )
        thread = threading.Thread(target=_fit, args=(trainer, ended), daemon=True)  # an interruption is for this one
        thread.start()
        while thread.is_alive():
            thread.join(LOOK)
            meanwhile()
    if error := ended[0]:
        raise cause(error) from error


def _fit(trainer: Any, ended: list[Exception | None]) -> None:
    try:
        trainer.fit()
        ended.append(None)
    except Exception as error:
        ended.append(error)


def cause(error: Exception) -> Exception:
    """What ended a training: a process that has gone, else the error of one; the others follow from it."""
    from ray.train import WorkerGroupError

    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else []
    raised = [one for one in failures if isinstance(one, (ZeloError, OSError))]
    if not failures or len(raised) < len(failures):
        return ProcessLost(" ".join(str(error).split())[:300])
    return min(raised, key=lambda one: isinstance(one, JobFailed))


def _part(job: SentWork) -> None:
    """One process: Ray Train has placed it among the others, by the variables of torchrun."""
    worker.prepare(None)
    PLACED[:] = [True]
    try:
        worker.perform(job, int(os.environ["RANK"]), lambda rank, n: None)
    except JobFailed as error:
        from torch.distributed import DistError

        if isinstance(error.__cause__, DistError) or "gloo/transport" in str(error):  # another has gone
            raise ProcessLost(str(error)) from None
        raise


def lightning() -> Any:
    """The module ray.train.lightning, with pytorch_lightning: it would take `lightning` where that is installed, too."""
    other = sys.modules.get("lightning")
    sys.modules["lightning"] = None  # type: ignore[assignment]
    try:
        import ray.train.lightning

        return ray.train.lightning
    finally:
        del sys.modules["lightning"]
        sys.modules |= {"lightning": other} if other is not None else {}
