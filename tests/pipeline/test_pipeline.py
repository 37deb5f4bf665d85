"""The pipeline: refuses before it works, reuses what is there."""

import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from toy_training import ONE

from zelo.errors import BadInput
from zelo.pipeline import plan, run
from zelo.pipeline.run import Result, Step, assemble, run_stages
from zelo.places import config_folder
from zelo.store.store import Store
from zelo.store.table import Table
from zelo.training.hardware import Hardware


def step(name: str, ran: list[str], inputs: dict[str, str], **fields: object) -> Step:
    stage = SimpleNamespace(run=lambda tables, out: ran.append(f"{name}({', '.join(tables)})") or {"rows": 1}, **fields)
    return Step(name, stage, f"identity-of-{name}", inputs)


def test_stages_run_once_and_see_their_inputs(tmp_path) -> None:
    ran: list[str] = []
    steps = [step("a", ran, {}), step("b", ran, {"from": "a"})]
    first = [(name, result.facts[name]["status"]) for result, name in run_stages(steps, Store(tmp_path))]
    again = [(name, result.facts[name]["status"]) for result, name in run_stages(steps, Store(tmp_path))]
    assert first == [("a", "computed"), ("b", "computed")]
    assert again == [("a", "cached"), ("b", "cached")]
    assert ran == ["a()", "b(from)"]


def test_what_is_made_of_a_part_is_made_again_of_the_whole(tmp_path) -> None:
    ran: list[str] = []
    answers = iter([{"rows": 1, "partial": True}, {"rows": 2}])
    judge = Step("judge", SimpleNamespace(run=lambda tables, out: next(answers)), "identity-of-judge", {})
    steps = [judge, step("rate", ran, {"outcomes": "judge"}), step("target", ran, {"ratings": "rate"})]

    def states() -> list[str]:
        return [result.facts[name]["status"] for result, name in run_stages(steps, Store(tmp_path))]

    assert states() == ["partial"] * 3
    assert states() == ["computed"] * 3
    assert states() == ["cached"] * 3
    assert ran == ["rate(outcomes)", "target(ratings)", "rate(outcomes, partial)", "target(ratings, partial)"]


def test_a_plan_times_units_by_what_the_same_stage_took_on_other_data(tmp_path) -> None:
    def spread(identity: str, count: int, recipe: str = "same") -> Step:
        stage = SimpleNamespace(
            spreads=True, units=lambda tables, above: count, run=lambda tables, out, executor: {"rows": 1}
        )
        return Step("rate", stage, identity, {}, recipe=recipe)

    def planned(other: Step, workers: int = 1) -> dict[str, float]:
        return plan.seconds([other], store, plan.units([other], store), workers)

    store = Store(tmp_path)
    one, several = spread("small", 1), spread("known", 4)
    assert planned(several) == {}
    list(run_stages([one], store))
    assert planned(several) == {}  # that unit may have been of a few queries
    table = list(run_stages([several], store))[-1][0].tables["rate"]
    took = table.manifest["seconds"]
    assert planned(spread("new", 12)) == {"rate": pytest.approx(3 * took)}
    assert planned(spread("new", 12), workers=5) == {"rate": pytest.approx(3 / 4 * took)}  # in three rounds
    assert planned(spread("new", 12, recipe="another")) == {}


SEEN: list[weakref.ref] = []


class Heavy:
    """A stage that keeps what it has loaded."""

    loaded = None

    def run(self, tables, out) -> dict[str, int]:
        self.loaded = [self]  # a circle, as Lightning makes them
        SEEN.append(weakref.ref(self))
        return {"rows": 1}


def test_what_a_stage_loads_goes_when_it_ends(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run, "LONG", 0)
    steps = [Step("heavy", Heavy(), "identity-of-heavy", {})]
    list(run_stages(steps, Store(tmp_path)))
    assert steps[0].stage.loaded is None
    assert [seen() for seen in SEEN] == [None]


def test_a_gpu_that_is_not_there_is_said_before_anything_runs(tmp_path, monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran: list[str] = []
    steps = [step("a", ran, {}), step("b", ran, {}, check=Hardware(**{**ONE, "accelerator": "gpu"}).check)]
    with pytest.raises(BadInput, match="asks for a GPU and torch sees none"):
        list(run_stages(steps, Store(tmp_path)))
    assert ran == []


def test_peak_memory_of_a_stage_is_its_own(tmp_path) -> None:
    def large(tables, out) -> dict[str, int]:
        return {"rows": int(np.ones(40_000_000).sum())}  # 320 MB

    steps = [
        Step("large", SimpleNamespace(run=large), "identity-of-large", {}),
        step("small", [], {}),
    ]
    result = [result for result, _ in run_stages(steps, Store(tmp_path))][-1]
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux can forget the peak of an earlier stage")
    assert result.facts["large"]["peak_memory_mb"] > result.facts["small"]["peak_memory_mb"] + 250


@pytest.mark.parametrize(
    ("overrides", "read"),
    [
        (["graph=staged"], True),
        (["graph=cycles"], False),  # one round
        (["graph=staged", "judge=chat", "judge.model=m"], False),  # known items cannot be asked
        (["graph=staged", "judge=lexical"], False),  # a single judge
    ],
)
def test_weights_are_read_where_a_round_follows_another(overrides: list[str], read: bool) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        steps = assemble(compose("config", ["pipeline=annotate", "until=judge", *overrides]))
    judge = steps[-1]
    assert judge.name == "judge"
    assert ("weights" in judge.inputs) == read
    assert ("known_items" in [step.name for step in steps]) == read, "nothing is made that nobody reads"


def test_a_result_follows_inputs_and_not_classes() -> None:
    def step(name: str, **inputs: str) -> Step:
        return Step(name, None, name, inputs)

    steps = [step("judge"), step("rate", outcomes="judge"), step("calibrate", ratings="rate")]
    steps += [step("judge_2"), step("rate_2", outcomes="judge_2"), step("calibrate_2", ratings="rate_2")]
    ended = {one.name: Table("kind", one.name, Path(), {}) for one in steps[:-1]}
    result = Result(steps, ended)
    assert result.upstream("rate_2", "outcomes") == "judge_2"
    assert result.upstream("calibrate_2", "ratings", "outcomes") == "judge_2"
    assert result.upstream("rate", "weights") is None
    assert result.upstream("rate", "weights", "data") is None
    assert result.downstream("rate", "ratings") == "calibrate"
    assert result.downstream("rate_2", "ratings") is None, "it has not ended: the first pass's is of other ratings"
