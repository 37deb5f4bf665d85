"""A Ray cluster: a task for each unit of the data stages, on a GPU an actor that keeps its model; and trainings."""

import contextlib
import importlib.util
import logging
import os
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zelo.backbones import device
from zelo.errors import BadInput, ZeloError
from zelo.executors import ray_train, worker
from zelo.executors.worker import SentWork
from zelo.facts import Facts
from zelo.progress import Advance
from zelo.protocols import Work
from zelo.units import UnitProgress

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.train import ScalingConfig

AFFECTS_RESULTS = False  # Where a unit runs changes no table.

SECONDS = 10.0  # that a cluster has to answer
TRIES = "RAY_gcs_server_port_wait_time_s"  # how often, once a second, ray.init asks a cluster that lets nobody in; else 20 times
STARTING = 60.0  # seconds that a machine has to start its first worker
LOOK = 0.5  # seconds between two looks at how far the workers are
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty frame of HTTP/2: length, type 4, flags, stream
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class Ray:
    """Units as Ray tasks, spread over the machines of a cluster (Moritz et al. 2018); machines may leave and join.

    Workers read and write the store, in a folder that all machines see. A training in several processes is one of Ray Train. Paid
    judges and the manifest stay with the command that was typed.
    """

    address: str  # auto, local or HOST:PORT
    retries: int
    _clusters: "list[Cluster]" = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.address not in ("auto", "local") and not ADDRESS.fullmatch(self.address):
            raise BadInput(
                f"executor.address={self.address}: auto, local or HOST:PORT, as `ray start --head` prints it."
            )
        if self.retries < 0:
            raise BadInput(f"executor.retries={self.retries}: at least 0.")

    @property
    def where(self) -> str:
        """In words."""
        if self.address == "local":
            return f"on a Ray cluster of this machine ({self.workers} CPUs)"
        if importlib.util.find_spec("ray") is None:
            return f"on the Ray cluster {self.address} (Ray is not installed here: pip install 'zelo[ray]')"
        cpus = self._cpus()
        there = f"{len(cpus)} machines, {sum(cpus)} CPUs" if cpus else "which does not answer now"
        return f"on the Ray cluster {self.address} ({there})"

    @property
    def workers(self) -> int:
        """A unit for each CPU."""
        return (os.cpu_count() or 1) if self.address == "local" else sum(self._cpus())

    def _cpus(self) -> list[int]:
        """Of each machine of the cluster; of none where it cannot be asked, as may be when a run is planned elsewhere."""
        try:
            return self._cluster.cpus()
        except (BadInput, ImportError):
            return []

    def check(self) -> None:
        """Raises BadInput where Ray is not installed, no cluster answers, or a machine of it cannot take part.

        A cluster of this machine starts with the first work: there is nothing that it could lack.
        """
        if importlib.util.find_spec("ray") is None:
            raise BadInput("executor=ray needs Ray, which is not installed: pip install 'zelo[ray]'.")
        if self.address != "local":
            with _with_probe(SentWork.of(None)) as job:
                self._cluster.check(job)

    @property
    def _cluster(self) -> "Cluster":
        if not self._clusters:
            self._clusters.append(Cluster(self.address, self.retries))
        return self._clusters[0]

    def run(self, work: Work, sizes: Mapping[int, int], advance: Advance, *, model: bool = False) -> dict[int, Facts]:
        """As of an Executor."""
        on_gpu = model and device.wanted() == device.CUDA
        with _with_probe(SentWork.of(work)) as job:
            return self._cluster.run(job, sizes, UnitProgress(sizes, advance), on_gpu)

    def check_room(self, machines: int, each: int, gpu: bool) -> None:
        """As of a ProcessesExecutor."""
        if self.address == "local":
            ray_train.scaling([ray_train.this_machine(gpu)], machines, each, gpu)
        else:
            self._cluster.scaling(machines, each, gpu)

    def together(self, work: Work, machines: int, each: int, gpu: bool, meanwhile: Callable[[], None]) -> None:
        """As of a ProcessesExecutor. The processes begin again where one is lost: work goes on from what it has kept."""
        try:
            with _with_probe(SentWork.of(work)) as job:
                self._cluster.together(job, (machines, each, gpu), meanwhile)
        except KeyboardInterrupt:
            self.close()  # which ends what it has started
            raise

    def close(self) -> None:
        """Leaves the cluster; a local one ends."""
        while self._clusters:
            self._clusters.pop().end()


@contextlib.contextmanager
def _with_probe(job: SentWork) -> Iterator[SentWork]:
    """The job, with a file in the store that each machine has to see."""
    probe = job.root / f".seen-{uuid.uuid4().hex}"
    probe.write_text("", encoding="utf-8")
    try:
        yield replace(job, probe=probe.name)
    finally:
        probe.unlink(missing_ok=True)


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, address: str, retries: int) -> None:
        """Raises BadInput where it does not answer."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray: Any = ray
        self.retries, self.at = retries, NodeAffinitySchedulingStrategy
        self.connected = not ray.is_initialized()  # else by somebody else, who leaves it, too
        if self.connected:
            _connect(address)
        here = self.at(ray.get_runtime_context().get_node_id(), soft=True)
        self.reports = self.ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Reports).remote()
        self.taking = self.reports.take.remote()
        self.checked: set[str] = set()  # nodes
        self.machines, self.looked = self.nodes(), time.monotonic()

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Of each machine that is there and has CPUs, what Ray says of it."""
        nodes = self.ray.nodes()
        return {node["NodeID"]: node for node in nodes if node["Alive"] and node["Resources"].get("CPU")}

    def check(self, job: SentWork) -> None:
        """Raises BadInput for a machine with another Python or zelo, and for one that does not see the store."""
        nodes = set(self.nodes())
        asked = [
            self.ray.remote(num_cpus=0, max_retries=0)(_look_around())
            .options(scheduling_strategy=self.at(node, soft=False))
            .remote(str(job.root / (job.probe or "")))
            for node in nodes - self.checked
        ]
        answered, _ = self.ray.wait(asked, num_returns=len(asked), timeout=STARTING) if asked else ([], [])
        for one in answered:
            with contextlib.suppress(self.ray.exceptions.RayError):  # a machine that has gone meanwhile
                job.check(*self.ray.get(one))
        self.checked |= nodes

    def cpus(self) -> list[int]:
        """Of each machine that has any."""
        return [int(node["Resources"]["CPU"]) for node in self.nodes().values()]

    def run(self, job: SentWork, sizes: Mapping[int, int], shown: UnitProgress, on_gpu: bool) -> dict[int, Facts]:
        """{unit: facts}. Raises the first error of a unit; those that have not begun do not."""
        packed, facts = self.ray.put(job), dict[int, Facts]()
        todo, running = list(reversed(sizes)), dict["ObjectRef[Any]", tuple[int, Any]]()
        task = self.ray.remote(num_cpus=1, max_retries=self.retries, scheduling_strategy="SPREAD")(_perform)
        actors = self._actors(len(sizes)) if on_gpu else []
        idle = list(actors)
        try:
            while todo or running:
                while todo and (idle or not on_gpu):
                    unit, actor = todo.pop(), idle.pop() if on_gpu else None
                    begin = task if actor is None else actor.perform
                    running[begin.remote(packed, unit, self.reports)] = unit, actor
                done, _ = self.ray.wait(list(running), timeout=LOOK)
                self._show(job, shown)
                self._compare_machines()
                for made in done:
                    unit, actor = running.pop(made)
                    facts[unit] = self._facts(made, unit)
                    shown.whole(unit)
                    idle += [] if actor is None else [actor]
        finally:
            for actor in actors:
                self.ray.kill(actor)
            for made in running:
                self.ray.cancel(made)
        return {unit: facts[unit] for unit in sizes}

    def scaling(self, machines: int, each: int, gpu: bool) -> "ScalingConfig":
        """What processes of a training ask for. Raises BadInput where there is no room."""
        return ray_train.scaling(self.ray.nodes(), machines, each, gpu)

    def together(self, job: SentWork, wanted: tuple[int, int, bool], meanwhile: Callable[[], None]) -> None:
        """As of a ProcessesExecutor. wanted: machines, processes of each, whether on GPUs."""
        scaling, lost = self.scaling(*wanted), ""
        for _ in range(self.retries + 1):
            try:
                return ray_train.run(job, scaling, meanwhile)
            except ray_train.ProcessLost as error:
                lost = str(error)
        raise ZeloError(
            f"executor=ray: a process of a training was lost {self.retries + 1} times ({lost}). The same command goes on from"
            " the last checkpoint."
        )

    def end(self) -> None:
        """Leaves it."""
        if self.connected:
            self.ray.shutdown()

    def _actors(self, units: int) -> list[Any]:
        """One for each GPU that there is; its process keeps what the work loads."""
        gpus = int(self.ray.cluster_resources().get("GPU", 0))
        if not gpus:
            raise BadInput("executor=ray with a GPU as hardware: no machine of the cluster has one. Use hardware=cpu.")
        kind = self.ray.remote(num_gpus=1, max_restarts=self.retries, max_task_retries=self.retries)(Performer)
        return [kind.remote() for _ in range(min(gpus, units))]

    def _facts(self, made: "ObjectRef[Any]", unit: int) -> Facts:
        try:
            return self.ray.get(made)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, (ZeloError, OSError)):
                raise error.cause from None
            raise
        except self.ray.exceptions.RayError as error:
            raise ZeloError(
                f"executor=ray: unit {unit} was lost {self.retries + 1} times ({' '.join(str(error).split())[:300]}). What was"
                " finished is kept: the same command goes on from there."
            ) from error

    def _compare_machines(self) -> None:
        """Says which machines have gone or joined, above the line of progress."""
        if time.monotonic() - self.looked < LOOK:
            return
        there, before = self.nodes(), self.machines
        for gone in before.keys() - there.keys():
            address = before[gone]["NodeManagerAddress"]
            said = f"the machine {address} has gone, and its units begin again; {len(there)} left"
            print(f"executor=ray: {said}.", file=sys.stderr, flush=True)
        for new in there.keys() - before.keys():
            said = f"the machine {there[new]['NodeManagerAddress']} has joined; {len(there)} now"
            print(f"executor=ray: {said}.", file=sys.stderr, flush=True)
        self.machines, self.looked = there, time.monotonic()

    def _show(self, job: SentWork, shown: UnitProgress) -> None:
        """Asks how far the workers are, without waiting for the answer."""
        if self.ray.wait([self.taking], timeout=0)[0]:
            with contextlib.suppress(self.ray.exceptions.RayError):  # its machine has gone: what it knew is lost
                for key, unit, n in self.ray.get(self.taking):
                    if key == job.key:
                        shown.some(unit, n)
            self.taking = self.reports.take.remote()


def _connect(address: str) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    setting = f"executor.address={address}"
    if found := ADDRESS.fullmatch(address):
        _refuse_others(found, setting)
    ours, patience = signal.getsignal(signal.SIGTERM), address != "local" and TRIES not in os.environ
    if patience:
        os.environ[TRIES] = str(int(SECONDS) - 2)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except AuthenticationError as error:
        raise BadInput(
            f"{setting}: the Ray cluster wants its token: RAY_AUTH_MODE=token, and its ~/.ray/auth_token on this machine."
        ) from error
    except ConnectionError as error:
        raise BadInput(
            f"{setting}: no Ray cluster answers. Start one with `ray start --head`, or use executor.address=local. One that runs"
            " may want its token: RAY_AUTH_MODE=token, and its ~/.ray/auth_token on this machine."
        ) from error
    except RuntimeError as error:  # another version of Ray or Python
        raise BadInput(f"{setting}: {' '.join(str(error).split())}") from error
    finally:
        signal.signal(signal.SIGTERM, ours)  # Ray's own would end the command without a word
        if patience:
            del os.environ[TRIES]


def _refuse_others(found: re.Match[str], setting: str) -> None:
    """Raises BadInput where nobody answers at an address, or somebody who is not Ray."""
    try:
        is_ray = _speaks_grpc(found[1].strip("[]"), int(found[2]))
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"{setting}: nobody answers there ({error}). Start Ray on that machine with `ray start --head`, or write the"
            " address that it printed."
        ) from error
    if not is_ray:
        raise BadInput(f"{setting}: what answers there is not Ray. Write the address that `ray start --head` printed.")


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether gRPC answers there, as Ray's head does: Ray itself would wait for another server without end.

    It greets with a SETTINGS frame (RFC 9113, sections 3.4 and 6.5). Raises OSError where nobody is, or nobody says that much in
    SECONDS.
    """
    if os.environ.get("RAY_USE_TLS") == "1":
        socket.create_connection((host, port), SECONDS).close()
        return True
    end, said = time.monotonic() + SECONDS, b""
    with socket.create_connection((host, port), SECONDS) as line:
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
        while len(said) < len(SETTINGS):
            line.settimeout(max(end - time.monotonic(), 0.01))
            part = line.recv(len(SETTINGS) - len(said))
            if not part:
                return False
            said += part
    return said[3] == SETTINGS[3]


class Reports:
    """An actor: how much more is done of which units, until somebody takes it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, int]] = []

    def add(self, key: str, unit: int, n: int) -> None:
        """Of a worker."""
        self.said.append((key, unit, n))

    def take(self) -> list[tuple[str, int, int]]:
        """(job, unit, how much more) since it was asked last."""
        said, self.said = self.said, []
        return said


class Performer:
    """An actor that does one unit after the other."""

    def perform(self, job: SentWork, unit: int, reports: Any) -> Facts:
        """As of a task."""
        return _perform(job, unit, reports)


def _perform(job: SentWork, unit: int, reports: Any) -> Facts:
    """A task. Ray has set the number of threads by the CPUs that it counts for."""
    worker.prepare(None)
    return worker.perform(job, unit, lambda unit, n: reports.add.remote(job.key, unit, n))


def _look_around() -> Any:
    """A function that is sent as it is, to a machine that may lack zelo."""

    def look(probe: str) -> tuple[str, str, str, bool]:
        import importlib.metadata
        import os
        import platform

        try:
            zelo = importlib.metadata.version("zelo")
        except importlib.metadata.PackageNotFoundError:
            zelo = "not installed"
        return platform.node(), platform.python_version(), zelo, os.path.exists(probe)

    return look
