"""Starts the processes of a training and waits for them.

They begin from a folder, not from the command line: what they are made from lies there as JSON (job.json), and what came of
them is put there. So a sweep can start them as well as a single run, and no process repeats what the command did before.
A process ends with the one that started it, whatever ends that one.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zelo.errors import BadInput, LimitReached, ZeloError
from zelo.facts import Facts
from zelo.store.table import Table
from zelo.training.hardware import Hardware

FOLDER = "processes"  # of a table that several processes make
JOB, LOG, TRAINED = "job.json", "log.jsonl", "trained.json"
POLL = 0.1  # seconds
PATIENCE = 2.0  # seconds that the others have to say what became of them
KINDS = {kind.__name__: kind for kind in (ZeloError, BadInput, LimitReached)}


class RankTraceback(Exception):
    """Where an unforeseen error arose, in another process."""


def write(folder: Path, name: str, node: dict[str, Any], tables: dict[str, Table], hardware: Hardware) -> None:
    """Makes the folder of a job. node: the stage's config, references to the environment kept; its file is for its owner only."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    job = {
        "name": name,
        "stage": node,
        "tables": {
            role: {"kind": table.kind, "identity": table.identity, "path": str(table.path.resolve())}
            for role, table in tables.items()
        },
        "meeting": _meeting(folder, hardware),
        "processes": hardware.processes,
    }
    half = folder / "half"
    half.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
    half.rename(folder / JOB)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Table]]:
    """What `write` wrote: the job, and its tables."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    tables = {}
    for role, facts in job["tables"].items():
        path = Path(facts["path"])
        tables[role] = Table(
            facts["kind"], facts["identity"], path, json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        )
    return job, tables


def text(folder: Path) -> str | None:
    """The job as it is written, which differs between two attempts; None where there is none."""
    try:
        return (folder / JOB).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _meeting(folder: Path, hardware: Hardware) -> str:
    """Where the processes find each other: a file, or with several nodes an address of the first."""
    if hardware.nodes == 1:
        return f"file://{(folder / 'meeting').resolve()}"
    host, _, port = (hardware.address or socket.gethostname()).partition(":")
    if not port:
        with socket.socket() as free:
            free.bind(("", 0))
            port = str(free.getsockname()[1])
    return f"tcp://{host}:{port}"


def run(
    folder: Path, hardware: Hardware, on_line: Callable[[Facts], None], watch: Callable[[], object] = lambda: None
) -> None:
    """Starts this node's processes and returns when they have ended well.

    on_line: called with what the first process logs, line by line. watch: called again and again. Raises what one of them
    raised, or `watch`; then none is left running. On another node than the first it returns as well when the first has taken the
    job away or begun it again.
    """
    if not (folder / JOB).is_file():
        raise BadInput(
            f"hardware: {hardware.processes} processes train together only where the command `zelo` starts them; set"
            " hardware.devices=1 and hardware.nodes=1."
        )
    first, job = hardware.here * hardware.devices, text(folder)
    with (
        _started(folder, hardware, range(first, first + hardware.devices)) as processes,
        _lines(folder, on_line) as pass_on,
    ):
        while True:
            states = {rank: process.poll() for rank, process in processes.items()}
            pass_on()
            watch()
            if all(state == 0 for state in states.values()):
                return
            if hardware.here and text(folder) != job:
                return
            if any(states.values()):
                _wait(processes)
                raise _fault(folder, {rank: process.poll() for rank, process in processes.items()}, hardware)
            time.sleep(POLL)


@contextmanager
def _started(folder: Path, hardware: Hardware, ranks: range) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    processes: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for local, rank in enumerate(ranks):
            log = None if rank == 0 else (folder / f"rank-{rank}.log").open("wb")  # the first shows its progress
            processes[rank] = subprocess.Popen(
                [sys.executable, "-m", "zelo.rank", str(folder)],
                env=os.environ | _environment(hardware, rank, local),
                stdin=subprocess.PIPE,  # closed when this process ends, which ends the other
                stdout=log or sys.stderr.fileno(),
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which ends them
            )
            if log:
                log.close()
        yield processes
    finally:
        for process in processes.values():
            process.kill()  # what it keeps, it keeps whole
        for process in processes.values():
            process.wait()
            if process.stdin:
                process.stdin.close()


def _environment(hardware: Hardware, rank: int, local: int) -> dict[str, str]:
    found = {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": hardware.processes, "LOCAL_WORLD_SIZE": hardware.devices}
    variables = {name: str(value) for name, value in found.items()}
    if "OMP_NUM_THREADS" not in os.environ and hardware.accelerator == "cpu":
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // hardware.devices))
    if hardware.nodes == 1 and "GLOO_SOCKET_IFNAME" not in os.environ:  # nobody else is to reach them
        loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
        variables |= {"GLOO_SOCKET_IFNAME": loopback[0]} if loopback else {}
    return variables


@contextmanager
def _lines(folder: Path, on_line: Callable[[Facts], None]) -> Iterator[Callable[[], None]]:
    """Yields what is to be called from time to time: it passes on the whole lines that were added to the log."""
    (folder / LOG).touch()
    with (folder / LOG).open(encoding="utf-8") as file:
        rest = ""

        def pass_on() -> None:
            nonlocal rest
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                on_line(json.loads(line))

        yield pass_on


def _wait(processes: dict[int, subprocess.Popen[bytes]]) -> None:
    """An error of one breaks the exchange of the others, and one of them may have the reason."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(process.poll() is None for process in processes.values()):
        time.sleep(POLL)


def _fault(folder: Path, states: dict[int, int | None], hardware: Hardware) -> Exception:
    """What ended a training: a process that was killed, else the error that came first; the others follow from it."""
    for rank, state in states.items():
        if state is not None and state < 0:
            return ZeloError(
                f"Process {rank} of {hardware.processes} was ended by signal {-state}"
                f"{' (9: memory ran out, perhaps)' if state == -9 else ''}, so the others were ended too. The same command goes"
                " on from the last checkpoint."
            )
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error-*.json")]
    if not errors:
        rank, state = next((rank, state) for rank, state in states.items() if state)
        return ZeloError(
            f"Process {rank} of {hardware.processes} ended with status {state} and said nothing: {_tail(folder)}"
        )
    error = min(errors, key=lambda error: error["time"])
    if error["kind"] in KINDS:
        return KINDS[error["kind"]](error["message"])
    found = RuntimeError(f"in process {error['rank']} of {hardware.processes}: {error['message']}")
    found.__cause__ = RankTraceback(error["traceback"])
    return found


def _tail(folder: Path) -> str:
    lines = [
        line for path in sorted(folder.glob("rank-*.log")) for line in path.read_text("utf-8", "replace").splitlines()
    ]
    return lines[-1] if lines else "see above."
