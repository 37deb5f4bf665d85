"""The processes that torchrun has started: the first runs the command, the others take their part in each training."""

import os
from datetime import timedelta
from pathlib import Path

from zelo.errors import BadInput
from zelo.training.hardware import Hardware

LONG = timedelta(days=30)  # the others wait while the first judges, and rates


def rank() -> int:
    """The number of this process; 0 where the command was started alone."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def count() -> int:
    """How many processes torchrun has started, on all machines; 1 where the command was started alone."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def check(hardware: Hardware, *, sweeps: bool, places: bool) -> None:
    """Raises BadInput where a command was started otherwise than its hardware asks for.

    places: the executor starts the processes of a training itself.
    """
    torchrun = (
        f"torchrun --nnodes={hardware.num_nodes} --nproc-per-node={hardware.devices} --rdzv-backend=c10d"
        " --rdzv-endpoint=FIRST_HOST:29400 -m zelo ..."
    )
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if places:
        if count() > 1:
            raise BadInput(
                f"torchrun has started {count()} processes of zelo, and executor=ray starts those of a training itself: start"
                " zelo once."
            )
        return  # even inside srun, by which Ray has started on each machine
    if count() == 1 and tasks > 1:
        raise BadInput(f"srun has started {tasks} tasks of zelo: write srun --ntasks-per-node=1 {torchrun}")
    if count() == 1 and hardware.num_nodes > 1:
        raise BadInput(f"hardware.num_nodes={hardware.num_nodes}: start this on each machine: {torchrun}")
    if count() > 1 and sweeps:
        raise BadInput("torchrun starts a single run; the jobs of a sweep start their own processes: write zelo -m ...")
    if count() > 1 and count() != hardware.processes:
        raise BadInput(
            f"torchrun has started {count()} processes, and hardware.devices={hardware.devices} with"
            f" hardware.num_nodes={hardware.num_nodes} is {hardware.processes}: make them equal."
        )


def join(hardware: Hardware) -> None:
    """Meets the other processes, once; Lightning finds them met."""
    import torch
    import torch.distributed as processes

    if processes.is_initialized():
        return
    if hardware.accelerator == "gpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    processes.init_process_group("cpu:gloo,cuda:nccl" if hardware.accelerator == "gpu" else "gloo", timeout=LONG)


def announce(hardware: Hardware, job: Path | None) -> None:
    """By the first process: the folder of a training that all begin now; None: the run has ended."""
    if count() > 1:
        join(hardware)
        _broadcast(str(job) if job else None)


def next_job() -> Path | None:
    """By the others: what the first announces next."""
    folder = _broadcast(None)
    return Path(folder) if folder else None


def _broadcast(text: str | None) -> str | None:
    import torch.distributed as processes

    found = [text]
    processes.broadcast_object_list(found, 0)
    return found[0]
