"""What happens in a worker: it becomes like the process that sent it work, and keeps what the work has loaded."""

import contextlib
import os
import pickle
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from zelo import progress
from zelo.backbones import device
from zelo.errors import BadInput, JobFailed, ZeloError
from zelo.facts import Facts
from zelo.protocols import Work
from zelo.store import store
from zelo.store.store import Store

AFFECTS_RESULTS = False  # Where a unit runs changes no table.

SECONDS_BETWEEN_REPORTS = 1.0
KEPT: "dict[str, Work]" = {}  # of this worker: the work that it has unpacked last, with whatever that has loaded

Report = Callable[[int, int], None]  # gets a unit, and how much more of it is done


@dataclass(frozen=True)
class SentWork:
    """The work of one stage, as it is sent to workers; only facts come back."""

    key: str
    work: bytes  # nothing but this process's own objects, and gone when the stage ends
    root: Path  # of the store
    folder: Path  # that relative paths start from
    making: tuple[str, ...]  # tables that are being made
    device: str
    python: str
    zelo: str

    probe: str | None = None  # a file in `root` that this worker must see

    @staticmethod
    def of(work: Work | None) -> "SentWork":
        """Of this process: its store, its device, its versions."""
        making, python = tuple(store.MAKING), platform.python_version()
        key, packed = uuid.uuid4().hex, pickle.dumps(work)
        return SentWork(
            key, packed, Store.current().root.resolve(), Path.cwd(), making, device.wanted(), python, version("zelo")
        )

    def check(self, machine: str, python: str, zelo: str, sees_store: bool) -> None:
        """Raises BadInput for a machine that cannot take part: what it says of itself."""
        for name, wanted, there in (("Python", self.python, python), ("zelo", self.zelo, zelo)):
            if wanted != there:
                raise BadInput(
                    f"executor: {name} on {machine} is {there}, and {wanted} here. Install the same on all machines."
                )
        if not sees_store:
            raise BadInput(
                f"executor: {machine} does not see the store {self.root}. Set ZELO_HOME to a folder that all machines share."
            )

    def check_here(self) -> None:
        """The same for this machine."""
        sees = self.probe is None or (self.root / self.probe).exists()
        self.check(platform.node(), platform.python_version(), version("zelo"), sees)


def perform(job: SentWork, unit: int, report: Report) -> Facts:
    """Does one unit of a job. Raises what the work raises: an error of a library in words, as it may not survive the way."""
    last, unreported = time.monotonic(), 0

    def advance(n: int, note: str = "") -> None:
        nonlocal last, unreported
        unreported += n
        if time.monotonic() - last >= SECONDS_BETWEEN_REPORTS:
            report(unit, unreported)
            last, unreported = time.monotonic(), 0

    try:
        if job.key not in KEPT:
            job.check_here()
            KEPT.clear()
            with contextlib.suppress(OSError):
                os.chdir(job.folder)
            device.choose(job.device)
            store.MAKING[:] = job.making
            store.ACTIVE[:] = [Store(job.root)]
            KEPT[job.key] = pickle.loads(job.work)
        return KEPT[job.key](unit, advance)
    except (ZeloError, OSError):
        raise
    except Exception as error:
        raise JobFailed(f"a bug in a worker, {type(error).__name__}: {error}", ZeloError.exit_status) from error


def prepare(threads: int | None) -> None:
    """Before any work: this process is one of several, and shows no progress of its own. threads: None: as they are set."""
    progress.hush()
    if threads is not None:
        from threadpoolctl import threadpool_limits

        os.environ["OMP_NUM_THREADS"] = str(threads)  # of what is loaded later
        threadpool_limits(threads)
