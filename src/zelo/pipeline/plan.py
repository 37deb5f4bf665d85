"""What a run would ask and pay, before it does."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from zelo.budget.plan import Plan
from zelo.pipeline.order import ancestors
from zelo.pipeline.run import RECIPE, UNITS, Step, falls_away, run_stages
from zelo.protocols import NOTHING_TO_DO, CheapStage, PaidStage, SometimesCheapStage, SpreadStage
from zelo.store.store import Store


def remaining(steps: list[Step], store: Store) -> list[Step]:
    """The stages but for those that a table in the store leaves out."""
    left_out: set[str] = set()
    kept: list[Step] = []
    for step in steps:
        table = store.find(step.kind, step.identity)
        if falls_away(step, left_out):
            left_out.add(step.name)
            continue
        left_out |= {step.name} if table and table.manifest.get(NOTHING_TO_DO) else set()
        kept.append(step)
    return kept


def units(steps: list[Step], store: Store) -> dict[str, int]:
    """Stage -> how many units it has, of those where that is known before they run."""
    places = {step.name: (step.kind, step.identity) for step in steps}
    found: dict[str, int] = {}
    for step in steps:
        if isinstance(step.stage, SpreadStage):
            made = {role: store.find(*places[source]) for role, source in step.inputs.items() if source in places}
            above = {role: found[source] for role, source in step.inputs.items() if source in found}
            count = step.stage.units({role: table for role, table in made.items() if table}, above)
            found |= {} if count is None else {step.name: count}
    return found


def seconds(steps: list[Step], store: Store, units: Mapping[str, int], workers: int) -> dict[str, float]:
    """Stage -> about how long its units take, where the store has a table that the same stage made of other data.

    units: as of `units`. A table of one unit is no measure for several: that unit may be small.
    """
    found: dict[str, float] = {}
    for step in steps if workers else []:
        earlier = [
            table
            for table in store.tables(step.kind)
            if table.manifest.get(RECIPE) == step.recipe and not table.partial
        ]
        timed = [table.manifest for table in earlier if UNITS in table.manifest]
        if timed and (count := units.get(step.name)):
            largest = max(timed, key=lambda manifest: (manifest[UNITS]["count"], manifest["made"]))
            known = largest[UNITS]["count"]
            if known > 1 or count == 1:
                rounds = -(-count // workers) / -(-known // largest[UNITS]["workers"])
                found[step.name] = largest["seconds"] * rounds
    return found


def priced(steps: list[Step], store: Store) -> Iterator[tuple[str, list[Plan]]]:
    """(stage, what it would ask and pay) for each stage that costs money, is still to be made and can be counted now.

    What such a stage reads is made first, where that is cheap: the questions depend on it. No other stage runs.
    """
    unknown = unpriced(steps, store)
    graph = {step.name: set(step.inputs.values()) for step in steps}
    for step in _to_pay(steps, store):
        if step.name not in unknown:
            above = ancestors(graph, step.name)
            made = list(run_stages([other for other in steps if other.name in above], store))[-1][0].tables
            with store.active():
                found = step.stage.plan({role: made[source] for role, source in step.inputs.items()})
            yield step.name, [replace(plan, key=step.key_of(plan.key)) for plan in found]


def unpriced(steps: list[Step], store: Store) -> dict[str, list[str]]:
    """Each stage that costs money and cannot be counted yet -> the stages that must run first: they judge, train or cost."""
    graph = {step.name: set(step.inputs.values()) for step in steps}
    costly = [step.name for step in steps if not (_cheap(step.stage) or store.find(step.kind, step.identity))]
    found: dict[str, list[str]] = {}
    for step in _to_pay(steps, store):
        above = ancestors(graph, step.name)
        if first := [name for name in costly if name in above]:
            found[step.name] = first
    return found


def _cheap(stage: object) -> bool:
    return stage.cheap if isinstance(stage, SometimesCheapStage) else isinstance(stage, CheapStage)


def _to_pay(steps: list[Step], store: Store) -> list[Step]:
    """Those that ask judges who cost money and are still to be made."""
    return [
        step
        for step in steps
        if isinstance(step.stage, PaidStage) and step.stage.paid and not store.find(step.kind, step.identity)
    ]
