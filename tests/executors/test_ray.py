"""Units on a Ray cluster of several nodes on this machine: nodes die and join, and the tables are the same bytes."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_run import contents
from unit_work import unit

from zelo.errors import BadInput, JobFailed, ModelNotFound
from zelo.executors import ray as executor_ray
from zelo.executors.ray import Ray
from zelo.executors.worker import SentWork
from zelo.stages import retrieve
from zelo.store.store import Store
from zelo.units import HERE

QUICK = {  # a death is found in some seconds, and a busy machine is not taken for dead
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 6,
}
SMALL: dict[str, Any] = {"object_store_memory": 80_000_000}


def still(n: int, note: str = "") -> None:
    """Shows nothing."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_what_cannot_be_an_address_is_refused() -> None:
    for address in ("here", "host:", "auto:1"):
        if address == "auto:1":
            Ray(address=address, retries=0)
            continue
        with pytest.raises(BadInput, match=f"executor.address={address}: auto, local or HOST:PORT"):
            Ray(address=address, retries=0)


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_ray.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"not installed: pip install 'zelo\[ray\]'"):
        Ray(address="auto", retries=0).check()


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_where_something_else_answers_is_refused(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    monkeypatch.setattr(executor_ray, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as line:
                line.sendall(greeting)
                line.recv(1000)
                time.sleep(0 if greeting else 0.5)

        answering = threading.Thread(target=greet)
        answering.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        words = "what answers there is not Ray" if greeting else "nobody answers there"
        with pytest.raises(BadInput, match=f"executor.address={address}: {words}"):
            executor_ray._connect(address)
        answering.join()


@pytest.mark.parametrize(
    ("error", "words"), [("ConnectionError", "no Ray cluster answers"), ("AuthenticationError", "wants its token")]
)
def test_a_cluster_that_lets_nobody_in_is_asked_for_some_seconds(
    error: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    tries: list[str | None] = []

    def refuse(**_: object) -> None:
        tries.append(os.environ.get(executor_ray.TRIES))
        raise getattr(ray.exceptions, error, ConnectionError)("no")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(BadInput, match=f"executor.address=auto: .*{words}"):
        executor_ray._connect("auto")
    assert tries == ["8"]
    assert executor_ray.TRIES not in os.environ


def test_a_cluster_of_this_machine_starts_with_its_first_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    monkeypatch.delattr(executor_ray, "Cluster")
    executor = Ray(address="local", retries=0)
    executor.check()
    executor.check_room(1, 1, False)
    with pytest.raises(BadInput, match=r"room for \d+ of 100000 processes"):
        executor.check_room(1, 100_000, False)


def test_machines_that_cannot_take_part_are_named(tmp_path: Path) -> None:
    with Store(tmp_path).active():
        work = SentWork.of(None)
    with pytest.raises(BadInput, match=r"executor: zelo on there is not installed, and .* here"):
        work.check("there", work.python, "not installed", True)
    with pytest.raises(BadInput, match=r"executor: Python on there is 3\.9\.1, and "):
        work.check("there", "3.9.1", work.zelo, True)
    with pytest.raises(
        BadInput, match=r"there does not see the store .*Set ZELO_HOME to a folder that all machines share"
    ):
        work.check("there", work.python, work.zelo, False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs and three nodes of one each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    fakes = str(Path(__file__).parents[1] / "fakes")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([fakes, os.environ.get("PYTHONPATH", "")]))
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK, **SMALL}
    made: Any = Cluster(initialize_head=True, head_node_args=head)
    made.nodes = [made.add_node(num_cpus=1, **SMALL) for _ in range(3)]
    yield made
    made.shutdown()


@pytest.mark.long
def test_nodes_die_and_join_and_nothing_that_was_finished_is_computed_twice(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executor, done, done_of = Ray(address=cluster.address, retries=4), list[int](), tmp_path / "units"
    done_of.mkdir()

    def change(n: int, note: str = "") -> None:
        done.append(n)
        if len(done) == 10:
            cluster.remove_node(cluster.nodes[0], allow_graceful=False)
            cluster.add_node(num_cpus=1, **SMALL)

    try:
        with Store(tmp_path / "toy").active():
            executor.check()
            facts = executor.run(partial(unit, done_of, 0.3), dict.fromkeys(range(30), 1), change)
            assert facts == {number: {"square": number**2} for number in range(30)}
            assert sum(done) == 30
            said = capsys.readouterr().err
            assert re.search(r"executor=ray: the machine [\d.]+ has gone, and its units begin again; \d left\.", said)
            assert re.search(r"executor=ray: the machine [\d.]+ has joined; \d now\.", said)
            ran = [(done_of / f"{number}.txt").read_text().split() for number in range(30)]
            assert all(len(lines) == 1 for lines in ran)
            assert len({line for lines in ran for line in lines}) >= 3
            with pytest.raises(ModelNotFound, match="there is none") as caught:
                executor.run(partial(unit, done_of, 0), {90: 1, 4: 1}, still)
            assert caught.value.model == "m"
            with pytest.raises(JobFailed, match="KeyError: 'broken'"):
                executor.run(partial(unit, done_of, 0), {91: 1, 4: 1}, still)
        monkeypatch.setattr(retrieve, "SHARD", 8)
        assert contents(tmp_path / "ray", executor) == contents(tmp_path / "here", HERE)
    finally:
        executor.close()


@pytest.mark.long
def test_an_address_where_nobody_answers_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zelo[ray]'")
    port = free_port()
    with Store(tmp_path).active():
        with pytest.raises(BadInput, match=rf"executor.address=127.0.0.1:{port}: nobody answers there"):
            Ray(address=f"127.0.0.1:{port}", retries=0).check()
        with pytest.raises(BadInput, match="no Ray cluster answers"):
            Ray(address="auto", retries=0).check()
