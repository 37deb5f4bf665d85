"""The plan of a sweep: what all jobs would compute and pay together, each shared stage counted once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zelo.budget.plan import clock, together
from zelo.reporting.terminal import console
from zelo.store.store import Store

if TYPE_CHECKING:
    from zelo.budget.plan import Plan
    from zelo.pipeline.run import Step


@dataclass(frozen=True)
class Planned:
    """A job that has been planned. priced, unpriced: of its stages that ask and cost, by name."""

    steps: "list[Step]"
    priced: "dict[str, list[Plan]]" = field(default_factory=dict)
    unpriced: dict[str, list[str]] = field(default_factory=dict)


def print_total(jobs: Sequence[Planned], store: Store) -> None:
    """One line for each stage, and the sum."""
    lines, took = console(), _last_seconds(store)
    found: dict[str, dict[tuple[str, str], Step]] = {}
    for step in (step for job in jobs for step in job.steps):
        found.setdefault(step.name, {}).setdefault((step.kind, step.identity), step)
    asked = sum(len(job.steps) for job in jobs)
    total, unknown, to_compute = 0.0, list[str](), 0
    lines.print(f"\n{'stage':<20} {'tables':>7} {'to compute':>11} {'each took':>10}")
    for name, tables in found.items():
        missing = [step for step in tables.values() if store.find(step.kind, step.identity) is None]
        seconds = took.get(name)
        to_compute += len(missing)
        if missing and seconds is None:
            unknown.append(name)
        total += len(missing) * (seconds or 0.0)
        each = "" if seconds is None else clock(seconds)
        lines.print(f"{name:<20} {len(tables):>7,} {len(missing):>11,} {each:>10}".rstrip(), soft_wrap=True)
    distinct = sum(map(len, found.values()))
    lines.print(
        f"{len(jobs)} jobs have {asked:,} stages, {distinct:,} of them different: {to_compute:,} to compute in {store.root}.",
        soft_wrap=True,
    )
    never = f" and what {', '.join(unknown)} take, which has not run yet" if unknown else ""
    lines.print(f"Time, as stages of these names took last: {clock(total)}{never}.", soft_wrap=True)
    _print_cost(jobs)


def _print_cost(jobs: Sequence[Planned]) -> None:
    """Of each stage that costs once, however many jobs share it."""
    lines = console()
    stages = [(job, step) for job in jobs for step in job.steps if step.name in job.priced]
    paid = {(step.kind, step.identity): job.priced[step.name] for job, step in stages}
    waiting = {name: first for job in jobs for name, first in job.unpriced.items()}
    if paid:
        several = "; requests that several of them send alike are paid once" * (len(paid) > 1)
        words = together([one for plans in paid.values() for one in plans])
        lines.print(f"Judges and other models: {words}{several}.", soft_wrap=True)
    for name, first in waiting.items():
        lines.print(f"What {name} costs is not known before these have run: {', '.join(first)}.", soft_wrap=True)
    if not paid and not waiting:
        lines.print("No stage costs money.", soft_wrap=True)


def _last_seconds(store: Store) -> dict[str, float]:
    """Stage -> seconds that its latest table took."""
    latest = sorted((table.manifest for table in store.tables()), key=lambda manifest: manifest.get("made", 0.0))
    return {
        manifest["stage"]: manifest["seconds"] for manifest in latest if "stage" in manifest and "seconds" in manifest
    }
