"""A second node goes with the first: it waits while node 0 works, and no longer."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zelo.errors import ZeloError
from zelo.pipeline.run import Step, run_stages
from zelo.store.store import Store
from zelo.training import heartbeat, nodes, ranks

SECOND = SimpleNamespace(nodes=2, here=1, devices=1, processes=2)


def training(name: str, run: Callable[[dict[str, Any], Path], dict[str, Any]] = lambda tables, out: {}) -> Step:
    stage = SimpleNamespace(run=run, hardware=SECOND, check=lambda: None)
    return Step(name, stage, f"identity-of-{name}", {}, {"a": "stage"})


@dataclass
class Clock:
    """A follower's own; each sleep moves it and lets node 0 do the next of its deeds."""

    deeds: Iterator[object]
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += heartbeat.SILENCE / 2
        next(self.deeds)


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[object]], Clock]:
    """Follows the trainings one and two of a store while node 0 does this."""

    def run(deeds: Iterator[object]) -> Clock:
        clock = Clock(deeds)
        monkeypatch.setattr(nodes, "time", clock)
        monkeypatch.setattr(heartbeat.Watch.__init__, "__defaults__", (clock.monotonic,))
        nodes.follow([training("one"), training("two")], Store(tmp_path))
        return clock

    return run


def pulse(root: Path) -> Path:
    path = nodes.pulse([training("one"), training("two")], Store(root))
    path.parent.mkdir(exist_ok=True)
    return path


def test_it_ends_when_node_0_never_begins(tmp_path: Path, follow: Any) -> None:
    pulse(tmp_path).write_text("of an earlier run finished")
    with pytest.raises(
        ZeloError, match=r"Node 0 has not begun for 300 s .* Start the same command on all nodes"
    ) as caught:
        follow(iter(range(100)))
    assert caught.value.exit_status == 1


def test_it_ends_when_node_0_gives_no_sign_of_life_any_more(tmp_path: Path, follow: Any) -> None:
    beats = iter(range(5))

    def node_0() -> Iterator[None]:
        for number in beats:
            pulse(tmp_path).write_text(f"a {number}")
            yield
        for _ in range(100):
            yield

    with pytest.raises(ZeloError, match="Node 0 has given no sign of life for 300 s"):
        follow(node_0())
    assert list(beats) == []


def test_it_waits_for_a_day_while_node_0_works(tmp_path: Path, follow: Any) -> None:
    store = Store(tmp_path)

    def node_0() -> Iterator[None]:
        for number in range(600):
            pulse(tmp_path).write_text(f"a {number}")
            yield
        for name in ("one", "two"):
            store.obtain("simplenamespace", f"identity-of-{name}", lambda out, earlier: {})
            yield

    assert follow(node_0()).now > 24 * 3600


@pytest.mark.parametrize(("state", "error"), [("finished", None), ("failed", "Node 0 ended before .*: one, two")])
def test_it_ends_with_node_0(state: str, error: str | None, tmp_path: Path, follow: Any) -> None:
    """Finished without a whole table: what is made of a part of the judgements never is."""

    def node_0() -> Iterator[None]:
        pulse(tmp_path).write_text("a 0")
        yield
        pulse(tmp_path).write_text(f"a {state}")
        yield

    if error is None:
        follow(node_0())
    else:
        with pytest.raises(ZeloError, match=error):
            follow(node_0())


def test_a_training_whose_table_is_partial_does_not_keep_it_from_the_next(
    tmp_path: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[str] = []
    monkeypatch.setattr(ranks, "run", lambda folder, *rest: took.append((folder / ranks.JOB).read_text()))

    def node_0() -> Iterator[None]:
        for name in ("one", "two"):
            pulse(tmp_path).write_text(f"a {name}")
            folder = Store(tmp_path).unfinished("simplenamespace", f"identity-of-{name}") / ranks.FOLDER
            folder.mkdir(parents=True)
            (folder / ranks.JOB).write_text(name)
            yield
        pulse(tmp_path).write_text("a finished")
        yield

    follow(node_0())
    assert took == ["one", "two"]


def test_its_part_of_a_training_that_breaks_off_is_one_line(
    tmp_path: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("in process 1 of 2: RuntimeError: Connection closed by peer")

    monkeypatch.setattr(ranks, "run", broken)
    folder = Store(tmp_path).unfinished("simplenamespace", "identity-of-one") / ranks.FOLDER
    folder.mkdir(parents=True)
    (folder / ranks.JOB).write_text("a job")
    with pytest.raises(ZeloError, match=r"one: this node's part failed \(in process 1 of 2.*The output of node 0"):
        follow(iter(range(100)))


@pytest.mark.parametrize("fails", [False, True])
def test_node_0_shows_that_it_works_and_how_it_ended(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    monkeypatch.setattr(ranks, "write", lambda *args: None)
    seen: set[str] = set()

    def work(tables: object, out: Path) -> dict[str, Any]:
        end = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < end:
            seen.add(path.read_text())
        if fails:
            raise ZeloError("no")
        return {}

    before = threading.active_count()
    steps = [training("one", work)]
    store = Store(tmp_path)
    path = nodes.pulse(steps, store)
    watch = heartbeat.Watch(path)
    if fails:
        with pytest.raises(ZeloError):
            list(run_stages(steps, store))
    else:
        list(run_stages(steps, store))
    assert len(seen) == 3
    assert watch.ended() == ("failed" if fails else "finished")
    assert threading.active_count() == before
