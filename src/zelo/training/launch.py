"""Starts the processes of a training by torchrun's agent and waits for them.

They begin from a folder, not from the command line: what they are made from lies there as JSON (job.json), and what came of
them is put there. So a sweep can start them as well as a single run, and no process repeats what the command did before.
A process ends with the one that started it, whatever ends that one.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
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
JOB, LOG, TRAINED, ENDED = "job.json", "log.jsonl", "trained.json", "ended.json"
POLL = 0.1  # seconds
PATIENCE = 2.0  # seconds that the others have to say what became of them
KINDS = {kind.__name__: kind for kind in (ZeloError, BadInput, LimitReached)}


class RankTraceback(Exception):
    """Where an unforeseen error arose, in another process."""


def write(folder: Path, name: str, node: dict[str, Any], tables: dict[str, Table]) -> None:
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


def run(folder: Path, hardware: Hardware, on_line: Callable[[Facts], None]) -> None:
    """Starts the processes of this machine and returns when they have ended well.

    on_line: called with what the first process logs, line by line. Raises what one of them raised; then none is left running.
    """
    if not (folder / JOB).is_file():
        raise BadInput(
            f"hardware: {hardware.processes} processes train together only where the command `zelo` starts them; set"
            " hardware.devices=1."
        )
    with _agent(folder, hardware) as agent, lines(folder, on_line) as pass_on:
        while agent.poll() is None:
            pass_on()
            time.sleep(POLL)
        pass_on()
        if agent.returncode:
            raise _fault(folder, agent.returncode, hardware)


@contextmanager
def _agent(folder: Path, hardware: Hardware) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun's agent, in a process of its own; closing its standard input ends the workers, which have the same."""
    agent = subprocess.Popen(
        [sys.executable, "-m", "zelo.training.agent", str(folder), str(hardware.devices)],
        env=os.environ | _environment(hardware),
        stdin=subprocess.PIPE,
        stdout=sys.stderr.fileno(),
        start_new_session=True,  # Ctrl-C is for this process, which ends them
    )
    assert agent.stdin is not None
    try:
        yield agent
    finally:
        agent.stdin.close()
        agent.kill()
        agent.wait()


def end_with_command() -> None:
    """From now on the agent, or a worker, ends with the command that started the agent: until then nothing comes from it."""

    def read() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()


def _environment(hardware: Hardware) -> dict[str, str]:
    variables = {}
    if "OMP_NUM_THREADS" not in os.environ and hardware.accelerator == "cpu":
        variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // hardware.devices))
    if "GLOO_SOCKET_IFNAME" not in os.environ:  # nobody else is to reach them
        loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
        variables |= {"GLOO_SOCKET_IFNAME": loopback[0]} if loopback else {}
    return variables


@contextmanager
def lines(folder: Path, on_line: Callable[[Facts], None]) -> Iterator[Callable[[], None]]:
    """Yields what is to be called from time to time: it passes on the whole lines that were added to a job's log.

    It opens the file each time: only then a network file system shows what another machine has written.
    """
    (folder / LOG).touch()
    at = 0

    def pass_on() -> None:
        nonlocal at
        with (folder / LOG).open("rb") as file:
            file.seek(at)
            added, newline, _ = file.read().rpartition(b"\n")
        at += len(added + newline)
        for line in added.splitlines():
            on_line(json.loads(line))

    yield pass_on
    pass_on()


def _fault(folder: Path, status: int, hardware: Hardware) -> Exception:
    """What ended a training: a process that was killed, else the error that came first; the others follow from it."""
    ended: dict[str, int] = {}
    if (folder / ENDED).is_file():
        ended = json.loads((folder / ENDED).read_text(encoding="utf-8"))
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error-*.json")]
    # The agent ends the others of a failed process by SIGTERM: beside an error this signal is what followed.
    killed = [(rank, code) for rank, code in ended.items() if code < 0 and not (errors and code == -signal.SIGTERM)]
    if killed or status < 0:
        rank, code = killed[0] if killed else ("(torchrun's agent)", status)
        return ZeloError(
            f"Process {rank} of {hardware.processes} was ended by signal {-code}"
            f"{' (9: memory ran out, perhaps)' if code == -9 else ''}, so the others were ended too. The same command goes"
            " on from the last checkpoint."
        )
    if not errors:
        return ZeloError(
            f"The {hardware.processes} processes ended with status {status} and said nothing: {_tail(folder)}"
        )
    error = min(errors, key=lambda error: error["time"])
    if error["kind"] in KINDS:
        return KINDS[error["kind"]](error["message"])
    found = RuntimeError(f"in process {error['rank']} of {hardware.processes}: {error['message']}")
    found.__cause__ = RankTraceback(error["traceback"])
    return found


def _tail(folder: Path) -> str:
    lines = [
        line for path in sorted(folder.rglob("stderr.log")) for line in path.read_text("utf-8", "replace").splitlines()
    ]
    return lines[-1] if lines else "see above."
